//! Prints what happened to each pod of the demo and checks the result.

use std::process::Command;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::Value;

use super::{Demo, DemoError, DemoResult, EXPECTED_PODS, NAMESPACE};
use crate::terminal::print_result;
use crate::text_log;
use crate::webhooks::{ADMISSION, MUTATED};

/// The stages of a pod's timeline, in order.
const STAGES: [&str; 6] = ["admitted", "seen", "ready", "claimed", "requested", "finished"];

impl Demo {
    /// Prints what happened to each pod and `kubectl get ckpt -A`, and returns the result.
    pub(super) async fn print_summary(&self, pods: &[Pod]) -> Result<DemoResult, DemoError> {
        let timelines = self.watcher.pod_timelines().await?;
        let log = self.watcher.log();
        let mut wrong = Vec::new();
        for pod in pods {
            self.print_pod(pod, &log, &timelines, &mut wrong);
        }
        self.print_checkpoints();

        let requests = self.snaphook.requests().len();
        if requests != EXPECTED_PODS {
            wrong.push(format!("SnapHook received {requests} requests, not {EXPECTED_PODS}"));
        }
        wrong.extend(
            self.snaphook
                .violations()
                .into_iter()
                .map(|violation| format!("SnapHook received a wrong request: {violation}")),
        );
        if wrong.is_empty() {
            print_result(&format!("SnapHook received exactly one request for each of the {EXPECTED_PODS} pods."));
            return Ok(DemoResult::AllRequestedOnce);
        }
        for problem in wrong {
            print_result(&format!("WRONG: {problem}"));
        }
        Ok(DemoResult::Wrong)
    }

    fn print_pod(&self, pod: &Pod, log: &str, timelines: &Value, wrong: &mut Vec<String>) {
        let name = pod.name_any();
        print_result(&format!("=== pod {NAMESPACE}/{name}"));
        if pod.labels().get(MUTATED).map(String::as_str) != Some("false") {
            wrong.push(format!("pod `{name}` does not have the label {MUTATED}: \"false\""));
        }

        print_result("Patch of the webhook:");
        match pod.annotations().get(ADMISSION).and_then(|admission| text_log::patch(log, admission)) {
            Some(Value::Array(operations)) => {
                for operation in operations {
                    print_result(&format!("  {operation}"));
                }
            }
            _ => wrong.push(format!("SnapWatcher's log has no patch of pod `{name}`")),
        }

        print_result("Log of SnapWatcher:");
        let blocks = text_log::blocks(log, NAMESPACE, &name);
        for line in blocks.iter().flat_map(|block| block.lines()) {
            print_result(&format!("  {line}"));
        }
        if blocks.len() != 1 {
            wrong.push(format!("SnapWatcher's log has {} blocks of pod `{name}`", blocks.len()));
        }

        print_result("Requests that SnapHook received:");
        let requests = self.snaphook.requests_for(NAMESPACE, &name);
        for request in &requests {
            print_result(&format!("  POST {} {}", request.path, request.body));
        }
        if requests.len() != 1 {
            wrong.push(format!("SnapHook received {} requests for pod `{name}`", requests.len()));
        }

        print_result("Timeline:");
        let stages = stages_of(timelines, &pod.uid().unwrap_or_default());
        for (stage, at) in &stages {
            print_result(&format!("  {stage:<9} {at}"));
        }
        print_result("");
        if stages.len() != STAGES.len() {
            wrong.push(format!("the timeline of pod `{name}` has {} of {} stages", stages.len(), STAGES.len()));
        }
    }

    /// Prints what kubectl shows, because users look there.
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

/// The stages that a pod has reached, with their times.
fn stages_of(timelines: &Value, uid: &str) -> Vec<(&'static str, String)> {
    let all = timelines["pods"].as_array();
    let timeline = all.into_iter().flatten().find(|timeline| timeline["uid"] == uid);
    let time = |stage: &str| timeline?["stages"][stage].as_str().map(str::to_owned);
    STAGES.into_iter().filter_map(|stage| Some((stage, time(stage)?))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_stages_of_a_pod_are_in_order() {
        let timelines = json!({"pods": [
            {"uid": "u-0", "stages": {"seen": "s0"}},
            {"uid": "u-1", "stages": {"seen": "s1", "admitted": "a1", "finished": "f1"}},
        ]});
        let expected =
            [("admitted", "a1"), ("seen", "s1"), ("finished", "f1")].map(|(stage, at)| (stage, at.to_owned()));
        assert_eq!(stages_of(&timelines, "u-1"), expected);
        assert!(stages_of(&timelines, "u-2").is_empty());
    }
}
