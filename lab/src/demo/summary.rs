//! What the demo tells of each pod, and its verdict.

use std::process::Command;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::Value;

use super::{DemoError, EXPECTED_PODS, NAMESPACE, Stage, Verdict};
use crate::terminal::print_result;
use crate::text_log;
use crate::webhooks::{ADMISSION, MUTATED};

/// The stages of a journey, in order.
const STAGES: [&str; 6] = ["admitted", "seen", "ready", "claimed", "asked", "done"];

impl Stage {
    /// Prints each pod's way and `kubectl get ckpt -A`, and judges.
    pub(super) async fn print_summary(&self, pods: &[Pod]) -> Result<Verdict, DemoError> {
        let journeys = self.watcher.journeys().await?;
        let log = self.watcher.log();
        let mut wrong = Vec::new();
        for pod in pods {
            self.print_pod(pod, &log, &journeys, &mut wrong);
        }
        self.print_checkpoints();

        let requests = self.snaphook.requests().len();
        if requests != EXPECTED_PODS {
            wrong.push(format!("SnapHook was asked {requests} times in all, not {EXPECTED_PODS}"));
        }
        wrong.extend(self.snaphook.violations().into_iter().map(|violation| format!("a wrong request: {violation}")));
        if wrong.is_empty() {
            print_result(&format!("Each of the {EXPECTED_PODS} pods was asked for exactly once."));
            return Ok(Verdict::AskedOnce);
        }
        for problem in wrong {
            print_result(&format!("WRONG: {problem}"));
        }
        Ok(Verdict::Wrong)
    }

    fn print_pod(&self, pod: &Pod, log: &str, journeys: &Value, wrong: &mut Vec<String>) {
        let name = pod.name_any();
        print_result(&format!("=== pod {NAMESPACE}/{name}"));
        if pod.labels().get(MUTATED).map(String::as_str) != Some("false") {
            wrong.push(format!("pod `{name}` does not have the label {MUTATED}: \"false\""));
        }

        print_result("the webhook's patch:");
        match pod.annotations().get(ADMISSION).and_then(|admission| text_log::patch(log, admission)) {
            Some(Value::Array(operations)) => {
                operations.iter().for_each(|operation| print_result(&format!("  {operation}")))
            }
            _ => wrong.push(format!("SnapWatcher's log has no patch of pod `{name}`")),
        }

        print_result("SnapWatcher's log:");
        let blocks = text_log::blocks(log, NAMESPACE, &name);
        blocks.iter().flat_map(|block| block.lines()).for_each(|line| print_result(&format!("  {line}")));
        if blocks.len() != 1 {
            wrong.push(format!("SnapWatcher's log has {} blocks of pod `{name}`", blocks.len()));
        }

        print_result("what SnapHook received:");
        let requests = self.snaphook.requests_for(NAMESPACE, &name);
        for request in &requests {
            print_result(&format!("  POST {} {}", request.path, request.body));
        }
        if requests.len() != 1 {
            wrong.push(format!("pod `{name}` was asked for {} times", requests.len()));
        }

        print_result("its journey:");
        let stages = stages_of(journeys, &pod.uid().unwrap_or_default());
        for (stage, at) in &stages {
            print_result(&format!("  {stage:<9} {at}"));
        }
        print_result("");
        if stages.len() != STAGES.len() {
            wrong.push(format!("the journey of pod `{name}` has {} of {} stages", stages.len(), STAGES.len()));
        }
    }

    /// Prints what kubectl shows, since that is what a user will look at.
    fn print_checkpoints(&self) {
        let kubectl = self.cluster.kubectl();
        let kubeconfig = self.cluster.kubeconfig();
        print_result("$ kubectl get ckpt -A");
        let shown = Command::new(kubectl).arg("--kubeconfig").arg(kubeconfig).args(["get", "ckpt", "-A"]).output();
        match shown {
            Ok(output) => {
                print_result(String::from_utf8_lossy(&output.stdout).trim_end());
                print_result(String::from_utf8_lossy(&output.stderr).trim_end());
            }
            Err(error) => print_result(&format!("kubectl could not be run: {error}")),
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
