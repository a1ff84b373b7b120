//! Reports and counts missed mutations: once for each pod, at its claim.

use std::sync::atomic::{AtomicBool, Ordering};

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::Api;

use snapwatcher_api::pod::PodFacts;
use snapwatcher_daemon::telemetry::error_chain;
use snapwatcher_kubernetes::cluster::call;
use snapwatcher_kubernetes::events::NOT_MUTATED;

use super::missed_mutation::{MutationCheck, check_mutation};
use crate::context::ControllerContext;

/// Checks pods against the live configuration, which is read only for a pod without the label `mutated`.
pub(crate) struct MissedMutations {
    context: ControllerContext,
    /// Name of the `MutatingWebhookConfiguration`. Without it nothing is checked.
    configuration: Option<String>,
    undecidable_logged: AtomicBool,
}

impl MissedMutations {
    pub(crate) fn new(context: &ControllerContext, configuration: Option<String>) -> Self {
        Self { context: context.clone(), configuration, undecidable_logged: AtomicBool::new(false) }
    }

    /// Checks a pod that was just claimed.
    pub(crate) async fn check(&self, pod: &PodFacts) {
        let (Some(configuration), None) = (&self.configuration, &pod.mutated) else { return };
        let api: Api<MutatingWebhookConfiguration> = Api::all(self.context.cluster.calls.clone());
        let what = format!("read MutatingWebhookConfiguration `{configuration}`");
        match call(what, api.get_opt(configuration)).await {
            Ok(None) => {}
            Ok(Some(live)) => self.report(check_mutation(&live, pod), pod, configuration),
            Err(error) => tracing::warn!(
                "Missed mutation of pod `{}` cannot be detected: {}. Check the rights with `snapwatcher check`",
                pod.name,
                error_chain(&error)
            ),
        }
    }

    fn report(&self, result: MutationCheck, pod: &PodFacts, configuration: &str) {
        match result {
            MutationCheck::NotMissed => {}
            MutationCheck::Missed => {
                self.context.watch_metrics.mutation_missed();
                let note = "Created without the mutated label: the webhook was unavailable, or the snap label was added \
                            later. The pod is still checkpointed. To test the webhook, run `snapwatcher check`";
                self.context.events.warn(pod, NOT_MUTATED, note.to_owned());
                let (namespace, name) = (&*pod.name.namespace, &*pod.name.name);
                tracing::warn!(
                    namespace,
                    pod = name,
                    "Pod `{namespace}/{name}` was created without the mutated label: the webhook was unavailable, or the \
                     snap label was added later. The pod is still checkpointed. To test the webhook, run `snapwatcher check`"
                );
            }
            MutationCheck::Undecidable => {
                if !self.undecidable_logged.swap(true, Ordering::Relaxed) {
                    tracing::info!(
                        "Missed mutations are not detected: MutatingWebhookConfiguration `{configuration}` selects \
                         namespaces or pods by other labels than the namespace's name"
                    );
                }
            }
        }
    }
}
