//! Tests the nodes of back-end `kubelet`: their versions, and whether each kubelet accepts checkpoint requests.

mod probes;

use std::collections::BTreeMap;

use super::finding::{Finding, State, Topic};
use super::runtime_support::{Runtime, Support, kubelet_checkpoints};
use snapwatcher_backends::kubelet::{KubeletProbe, KubeletReadiness};

pub(super) use probes::check;

/// The facts of a Node object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) name: String,
    /// Version of its kubelet.
    pub(super) kubelet: String,
    pub(super) runtime: Runtime,
    pub(super) is_windows: bool,
    pub(super) is_ready: bool,
}

/// The result of a probe of the node's kubelet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ProbeResult {
    Responded(KubeletProbe),
    /// No response within the time limit.
    TimedOut,
    /// No request was sent, for this reason.
    Skipped(&'static str),
}

/// Evaluates one node by its versions and by the response of its kubelet. If other nodes are Ready, an unreachable node that is
/// not Ready is only a warning.
pub(super) fn evaluate(node: &Node, result: &ProbeResult, others_are_ready: bool) -> Finding {
    let what = format!("node `{}`, kubelet {}, {}", node.name, node.kubelet, node.runtime);
    let failed = |seen: &str, remedy: &str| Finding::failed(Topic::Node, &what, seen, remedy.to_owned());
    for (support, remedy) in [
        (kubelet_checkpoints(&node.kubelet), "use a newer kubelet"),
        (node.runtime.checkpoints(), "use containerd 2.0 or later, or CRI-O"),
    ] {
        if let Support::No(reason) = support {
            return failed(reason, remedy);
        }
    }
    if node.is_windows {
        return failed(
            "checkpoints are not possible on Windows",
            "remove the label from its pods, or run them on Linux",
        );
    }
    let unreachable = |seen: &str| {
        if !node.is_ready && others_are_ready {
            let remedy = "see why the node is not Ready. Until it is Ready, its pods are not checkpointed".to_owned();
            return Finding::warning(Topic::Node, &what, seen, remedy);
        }
        failed(seen, UNREACHABLE)
    };
    let probed = match result {
        ProbeResult::Responded(probed) => probed,
        ProbeResult::TimedOut => return unreachable("its kubelet does not respond"),
        ProbeResult::Skipped(why) => return Finding::skipped(Topic::Node, what, format!("not tested: {why}")),
    };
    let message = probed.message.to_string();
    match probed.readiness {
        KubeletReadiness::Ready => {
            Finding::ok(Topic::Node, what, format!("{message}; only a checkpoint tests its CRIU"))
        }
        KubeletReadiness::ApiDisabled => {
            let gate = "enable the feature gate ContainerCheckpoint (featureGates) and enableDebuggingHandlers in the kubelet's \
                        configuration";
            let seen = match kubelet_checkpoints(&node.kubelet) {
                Support::WithSetting(setting) => format!("{message}; it requires {setting}"),
                _ => message,
            };
            failed(&seen, gate)
        }
        KubeletReadiness::Forbidden => failed(&message, "grant the right that the message names, see docs/running.md"),
        KubeletReadiness::Untrusted => {
            failed(&message, "set the flag, or replace the certificate, as the message says")
        }
        KubeletReadiness::Unreachable => unreachable(&message),
        KubeletReadiness::DiskPressure => Finding::warning(
            Topic::Node,
            what,
            message,
            "free space on its disk. Until then its pods are not checkpointed".to_owned(),
        ),
        KubeletReadiness::Busy => {
            let remedy =
                "nothing, if it passes: SnapWatcher tries again. Otherwise read the logs of kubelet and runtime";
            Finding::warning(Topic::Node, what, message, remedy.to_owned())
        }
        KubeletReadiness::Unexpected => failed(&message, "see which server listens on the kubelet's address and port"),
    }
}

const UNREACHABLE: &str = "see that the node is Ready and that its kubelet's port can be reached from here";

/// Whether the container runtimes can start containers from checkpoints: one finding for each version.
pub(super) fn restores(nodes: &[Node]) -> Vec<Finding> {
    let mut nodes_of: BTreeMap<&Runtime, usize> = BTreeMap::new();
    for node in nodes.iter().filter(|node| !node.is_windows) {
        *nodes_of.entry(&node.runtime).or_default() += 1;
    }
    nodes_of.into_iter().map(|(runtime, count)| restore_of(runtime, count)).collect()
}

fn restore_of(runtime: &Runtime, count: usize) -> Finding {
    let nodes = if count == 1 { "one node".to_owned() } else { format!("{count} nodes") };
    let what = format!("restore from an archive, {runtime} on {nodes}");
    let (state, seen, remedy) = match runtime.restores() {
        Support::Yes => (State::Ok, "starts a container from an image that contains the archive".to_owned(), None),
        Support::WithSetting(setting) => {
            let seen = "starts a container from an image that contains the archive only with a setting".to_owned();
            let remedy = format!("to restore on these nodes, set {setting}, if only trusted people create pods");
            (State::Warning, seen, Some(remedy))
        }
        Support::No(reason) => {
            let remedy = "archives can be created and inspected. Restore them on nodes with another runtime";
            (State::Warning, reason.to_owned(), Some(remedy.to_owned()))
        }
        Support::Unknown => (State::Skipped, "unknown for this runtime".to_owned(), None),
    };
    Finding::new(Topic::Restore, what, state, seen, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapwatcher_api::outcome::Redacted;

    fn node(kubelet: &str, runtime: &str) -> Node {
        let (name, kubelet, runtime) = ("n1".to_owned(), kubelet.to_owned(), Runtime::of(runtime));
        Node { name, kubelet, runtime, is_windows: false, is_ready: true }
    }

    fn probed(readiness: KubeletReadiness) -> ProbeResult {
        ProbeResult::Responded(KubeletProbe { readiness, message: Redacted::own("message") })
    }

    #[test]
    fn a_node_is_evaluated_by_the_response_of_its_kubelet() {
        let node = node("v1.37.2", "containerd://2.1.9");
        for (result, state) in [
            (probed(KubeletReadiness::Ready), State::Ok),
            (probed(KubeletReadiness::ApiDisabled), State::Failed),
            (probed(KubeletReadiness::Forbidden), State::Failed),
            (probed(KubeletReadiness::Untrusted), State::Failed),
            (probed(KubeletReadiness::Unreachable), State::Failed),
            (probed(KubeletReadiness::DiskPressure), State::Warning),
            (probed(KubeletReadiness::Busy), State::Warning),
            (probed(KubeletReadiness::Unexpected), State::Failed),
            (ProbeResult::TimedOut, State::Failed),
            (ProbeResult::Skipped("no token"), State::Skipped),
        ] {
            let finding = evaluate(&node, &result, true);
            assert_eq!(finding.state, state, "{finding:?}");
            assert_eq!(finding.what, "node `n1`, kubelet v1.37.2, containerd 2.1.9");
            assert_eq!(finding.remedy.is_some(), matches!(state, State::Failed | State::Warning), "{finding:?}");
        }
    }

    #[test]
    fn an_unreachable_node_that_is_not_ready_fails_only_if_no_other_node_is_ready() {
        let ready = node("v1.37.2", "containerd://2.1.9");
        let not_ready = Node { is_ready: false, ..ready.clone() };
        for (node, result, others_are_ready, state) in [
            (&not_ready, probed(KubeletReadiness::Unreachable), true, State::Warning),
            (&not_ready, ProbeResult::TimedOut, true, State::Warning),
            (&not_ready, probed(KubeletReadiness::Unreachable), false, State::Failed),
            (&not_ready, probed(KubeletReadiness::ApiDisabled), true, State::Failed),
            (&ready, probed(KubeletReadiness::Unreachable), true, State::Failed),
        ] {
            let finding = evaluate(node, &result, others_are_ready);
            assert_eq!(finding.state, state, "{finding:?}");
        }
    }

    #[test]
    fn a_windows_node_fails_whatever_its_kubelet_responds() {
        let windows = Node { is_windows: true, ..node("v1.37.2", "containerd://2.1.9") };
        let finding = evaluate(&windows, &probed(KubeletReadiness::Ready), true);
        assert!(finding.state == State::Failed && finding.seen.contains("Windows"), "{finding:?}");
        assert_eq!(restores(&[windows]), []);
    }

    #[test]
    fn an_unsupported_version_fails_whatever_the_kubelet_responds() {
        for (kubelet, runtime, words) in [
            ("v1.24.1", "containerd://2.1.9", "since 1.25"),
            ("v1.37.2", "containerd://1.7.24", "since 2.0"),
            ("v1.37.2", "docker://27.0.1", "Docker"),
        ] {
            let finding = evaluate(&node(kubelet, runtime), &probed(KubeletReadiness::Ready), true);
            assert!(finding.state == State::Failed && finding.seen.contains(words), "{finding:?}");
        }
        let alpha = evaluate(&node("v1.29.9", "containerd://2.1.9"), &probed(KubeletReadiness::ApiDisabled), true);
        assert!(alpha.seen.contains("off by default before 1.30"), "{alpha:?}");
        let turned_on = evaluate(&node("v1.29.9", "containerd://2.1.9"), &probed(KubeletReadiness::Ready), true);
        assert_eq!(turned_on.state, State::Ok);
    }

    #[test]
    fn nodes_of_one_runtime_version_share_a_finding() {
        let of = |runtime| node("v1.37.2", runtime);
        let nodes = [
            of("containerd://2.4.0"),
            of("containerd://2.1.9"),
            of("containerd://2.4.0"),
            of("containerd://2.3.4"),
            of("kwok://1"),
        ];
        let found: Vec<_> = restores(&nodes).into_iter().map(|finding| (finding.what, finding.state)).collect();
        let what = |on: &str| format!("restore from an archive, {on}");
        assert_eq!(
            found,
            [
                (what("containerd 2.1.9 on one node"), State::Ok),
                (what("containerd 2.3.4 on one node"), State::Warning),
                (what("containerd 2.4.0 on 2 nodes"), State::Warning),
                (what("kwok 1 on one node"), State::Skipped),
            ]
        );
    }
}
