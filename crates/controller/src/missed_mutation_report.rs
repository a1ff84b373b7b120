//! Reports and counts missed mutations: once for each pod, at its claim. The log names one pod of each workload within an hour.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::Api;

use snapwatcher_api::pod::PodFacts;
use snapwatcher_daemon::telemetry::{RepeatedMessages, error_chain};
use snapwatcher_kubernetes::cluster::{CallError, call};
use snapwatcher_kubernetes::events::NOT_MUTATED;

use super::missed_mutation::{MutationCheck, check_mutation};
use crate::context::ControllerContext;
use crate::reporter::controller_name;

/// Checks pods against the live configuration, which is read only for a pod without the label `mutated`.
pub(crate) struct MissedMutations {
    context: ControllerContext,
    /// Name of the `MutatingWebhookConfiguration`. Without it nothing is checked.
    configuration: Option<String>,
    undecidable_logged: AtomicBool,
    /// By namespace and controller of the pod.
    missed: RepeatedMessages,
    /// Of configurations that cannot be read, by error: they are not about a namespace.
    unreadable: RepeatedMessages,
}

impl MissedMutations {
    pub(crate) fn new(context: &ControllerContext, configuration: Option<String>) -> Self {
        Self {
            context: context.clone(),
            configuration,
            undecidable_logged: AtomicBool::new(false),
            missed: RepeatedMessages::default(),
            unreadable: RepeatedMessages::default(),
        }
    }

    /// Checks a pod that was just claimed.
    pub(crate) async fn check(&self, pod: &PodFacts) {
        let (Some(configuration), None) = (&self.configuration, &pod.mutated) else { return };
        let api: Api<MutatingWebhookConfiguration> = Api::all(self.context.cluster.calls.clone());
        let what = format!("read MutatingWebhookConfiguration `{configuration}`");
        match call(what, api.get_opt(configuration)).await {
            Ok(None) => {}
            Ok(Some(live)) => self.report(check_mutation(&live, pod), pod, configuration),
            Err(error) => self.report_unreadable(&error, pod),
        }
    }

    fn report_unreadable(&self, error: &CallError, pod: &PodFacts) {
        let cause = error_chain(error);
        if self.unreadable.should_log("", &cause, Instant::now()) {
            tracing::warn!(
                "Missed mutation of pod `{}` cannot be detected: {cause}. Check the rights with `snapwatcher check`",
                pod.name
            );
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
                if self.missed.should_log(namespace, controller_name(pod), Instant::now()) {
                    tracing::warn!(
                        namespace,
                        pod = name,
                        "Pod `{namespace}/{name}` was created without the mutated label: the webhook was unavailable, or \
                         the snap label was added later. The pod is still checkpointed. To test the webhook, run \
                         `snapwatcher check`"
                    );
                }
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

#[cfg(test)]
mod tests {
    use snapwatcher_api::fixtures;
    use snapwatcher_daemon::telemetry::capture::capture;
    use snapwatcher_daemon::telemetry::{LogFormat, LogLevel};

    use super::*;

    fn missed_mutations() -> MissedMutations {
        MissedMutations::new(&ControllerContext::without_api_server(), Some("snapwatcher".to_owned()))
    }

    /// The number of lines about these pods, each as namespace, name and controller.
    fn lines(missed_mutations: &MissedMutations, pods: impl Iterator<Item = (&'static str, String, String)>) -> usize {
        let written = capture(LogLevel::Info, LogFormat::Text, || {
            for (namespace, name, controller) in pods {
                let pod = fixtures::pod(&name).namespace(namespace).controlled_by("apps/v1", "ReplicaSet", &controller);
                missed_mutations.report(MutationCheck::Missed, &pod.facts(), "snapwatcher");
            }
        });
        written.lines().count()
    }

    #[tokio::test]
    async fn missed_mutations_of_one_namespace_do_not_fill_the_log() {
        let missed = missed_mutations();
        let of_workload = (0..500).map(|number| ("loud", format!("web-{number}"), "web".to_owned()));
        assert_eq!(lines(&missed, of_workload), 1);
        let of_others = (0..500).map(|number| ("loud", format!("pod-{number}"), format!("set-{number}")));
        assert_eq!(lines(&missed, of_others), 9);
        assert_eq!(lines(&missed, [("quiet", "web".to_owned(), "web".to_owned())].into_iter()), 1);
    }

    #[tokio::test]
    async fn a_configuration_that_cannot_be_read_is_not_logged_for_each_pod() {
        let missed = missed_mutations();
        let error = CallError::TimedOut { what: "read it".to_owned() };
        let written = capture(LogLevel::Info, LogFormat::Text, || {
            for number in 0..500 {
                missed.report_unreadable(&error, &fixtures::pod(&format!("web-{number}")).facts());
            }
        });
        assert_eq!(written.lines().count(), 1, "{written}");
    }
}
