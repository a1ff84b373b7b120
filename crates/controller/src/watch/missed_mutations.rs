//! Tells and counts slips: once a pod, when it is claimed.

use std::sync::atomic::{AtomicBool, Ordering};

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::{Api, Client};

use crate::watch::mutation_check::{Judgement, judge};
use snapwatcher_api::pod::PodFacts;
use snapwatcher_daemon::telemetry::error_chain;
use snapwatcher_kubernetes::cluster::call;
use snapwatcher_kubernetes::events::{Events, NOT_MUTATED};

use super::metrics::WatchMetrics;

/// Judges pods by the live configuration, which is read only for a pod that lacks the label: a rare one.
pub struct MissedMutations {
    client: Client,
    /// Name of our `MutatingWebhookConfiguration`; none: admission is nobody's promise, so nothing slips.
    configuration: Option<String>,
    metrics: WatchMetrics,
    events: Events,
    told_off: AtomicBool,
}

impl MissedMutations {
    pub fn new(client: Client, configuration: Option<String>, metrics: WatchMetrics, events: Events) -> Self {
        Self { client, configuration, metrics, events, told_off: AtomicBool::new(false) }
    }

    /// Looks whether this pod, just claimed, slipped by.
    pub async fn look(&self, pod: &PodFacts) {
        let (Some(name), None) = (&self.configuration, &pod.mutated) else { return };
        let api: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        let what = format!("read MutatingWebhookConfiguration `{name}` to tell whether pod {} slipped by", pod.name);
        match call(what, api.get_opt(name)).await {
            Ok(None) => {}
            Ok(Some(configuration)) => self.tell(judge(&configuration, pod), pod, name),
            Err(error) => tracing::warn!("{}", error_chain(&error)),
        }
    }

    fn tell(&self, judgement: Judgement, pod: &PodFacts, configuration: &str) {
        match judgement {
            Judgement::NotOurs => {}
            Judgement::Slip => {
                self.metrics.slipped();
                let words = "was not labelled at its admission, so the webhook was away or failed; or the label \
                             snap.weaversoft.io/snap was put on later. It is checkpointed all the same";
                self.events.warn(pod, NOT_MUTATED, format!("the pod {words}"));
                tracing::warn!(namespace = pod.name.namespace, pod = pod.name.name, "Pod {} {words}", pod.name);
            }
            Judgement::CannotTell => {
                if !self.told_off.swap(true, Ordering::Relaxed) {
                    tracing::info!(
                        "MissedMutations are not counted: MutatingWebhookConfiguration `{configuration}` selects by labels other \
                         than the namespace's name"
                    );
                }
            }
        }
    }
}
