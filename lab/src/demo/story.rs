//! What the demo tells of each pod, and its verdict.

use std::process::Command;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::Value;

use super::{DemoError, EXPECTED_PODS, NAMESPACE, Stage, Verdict};
use crate::logbook;
use crate::terminal::say;
use crate::webhooks::{ADMISSION, MUTATED};

/// The stages of a journey, in order.
const STAGES: [&str; 6] = ["admitted", "seen", "ready", "claimed", "asked", "done"];

impl Stage {
    /// Prints each pod's way and `kubectl get ckpt -A`, and judges.
    pub(super) async fn tell(&self, pods: &[Pod]) -> Result<Verdict, DemoError> {
        let journeys = self.watcher.journeys().await?;
        let log = self.watcher.log();
        let mut wrong = Vec::new();
        for pod in pods {
            self.tell_pod(pod, &log, &journeys, &mut wrong);
        }
        self.tell_checkpoints();

        let requests = self.snaphook.requests().len();
        if requests != EXPECTED_PODS {
            wrong.push(format!("SnapHook was asked {requests} times in all, not {EXPECTED_PODS}"));
        }
        wrong.extend(self.snaphook.violations().into_iter().map(|words| format!("a wrong request: {words}")));
        if wrong.is_empty() {
            say(&format!("Each of the {EXPECTED_PODS} pods was asked for exactly once."));
            return Ok(Verdict::AskedOnce);
        }
        for words in wrong {
            say(&format!("WRONG: {words}"));
        }
        Ok(Verdict::Wrong)
    }

    fn tell_pod(&self, pod: &Pod, log: &str, journeys: &Value, wrong: &mut Vec<String>) {
        let name = pod.name_any();
        say(&format!("=== pod {NAMESPACE}/{name}"));
        if pod.labels().get(MUTATED).map(String::as_str) != Some("false") {
            wrong.push(format!("pod `{name}` does not have the label {MUTATED}: \"false\""));
        }

        say("the webhook's patch:");
        match pod.annotations().get(ADMISSION).and_then(|admission| logbook::patch(log, admission)) {
            Some(Value::Array(operations)) => operations.iter().for_each(|operation| say(&format!("  {operation}"))),
            _ => wrong.push(format!("SnapWatcher's log has no patch of pod `{name}`")),
        }

        say("SnapWatcher's log:");
        let blocks = logbook::blocks(log, NAMESPACE, &name);
        blocks.iter().flat_map(|block| block.lines()).for_each(|line| say(&format!("  {line}")));
        if blocks.len() != 1 {
            wrong.push(format!("SnapWatcher's log has {} blocks of pod `{name}`", blocks.len()));
        }

        say("what SnapHook received:");
        let requests = self.snaphook.requests_for(NAMESPACE, &name);
        for request in &requests {
            say(&format!("  POST {} {}", request.path, request.body));
        }
        if requests.len() != 1 {
            wrong.push(format!("pod `{name}` was asked for {} times", requests.len()));
        }

        say("its journey:");
        let stages = stages_of(journeys, &pod.uid().unwrap_or_default());
        for (stage, at) in &stages {
            say(&format!("  {stage:<9} {at}"));
        }
        say("");
        if stages.len() != STAGES.len() {
            wrong.push(format!("the journey of pod `{name}` has {} of {} stages", stages.len(), STAGES.len()));
        }
    }

    /// Prints what kubectl shows, since that is what a user will look at.
    fn tell_checkpoints(&self) {
        let kubectl = self.cluster.kubectl();
        let kubeconfig = self.cluster.kubeconfig();
        say("$ kubectl get ckpt -A");
        let shown = Command::new(kubectl).arg("--kubeconfig").arg(kubeconfig).args(["get", "ckpt", "-A"]).output();
        match shown {
            Ok(output) => {
                say(String::from_utf8_lossy(&output.stdout).trim_end());
                say(String::from_utf8_lossy(&output.stderr).trim_end());
            }
            Err(error) => say(&format!("kubectl could not be run: {error}")),
        }
    }
}

/// The stages that a pod has passed, with their times.
fn stages_of(journeys: &Value, uid: &str) -> Vec<(&'static str, String)> {
    let all = journeys["journeys"].as_array();
    let journey = all.into_iter().flatten().find(|journey| journey["uid"] == uid);
    let time = |stage: &str| journey?["stages"][stage].as_str().map(str::to_owned);
    STAGES.into_iter().filter_map(|stage| Some((stage, time(stage)?))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_stages_of_a_pod_are_told_in_order() {
        let journeys = json!({"journeys": [
            {"uid": "u-0", "stages": {"seen": "s0"}},
            {"uid": "u-1", "stages": {"seen": "s1", "admitted": "a1", "done": "d1"}},
        ]});
        let expected = [("admitted", "a1"), ("seen", "s1"), ("done", "d1")].map(|(stage, at)| (stage, at.to_owned()));
        assert_eq!(stages_of(&journeys, "u-1"), expected);
        assert!(stages_of(&journeys, "u-2").is_empty());
    }
}
