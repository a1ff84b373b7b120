//! The nodes of the back-end kubelet: versions that can't do it, and whether each kubelet would take a checkpoint.

mod look;

use std::collections::BTreeMap;

use super::finding::{Finding, State, Topic};
use super::runtime::{Ability, Runtime, kubelet_checkpoints};
use snapwatcher_backends::kubelet::{KubeletProbe, KubeletReadiness};

pub(super) use look::look;

/// A node as the API server tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) name: String,
    /// Version of its kubelet.
    pub(super) kubelet: String,
    pub(super) runtime: Runtime,
    pub(super) is_windows: bool,
    pub(super) is_ready: bool,
}

/// What came of asking its kubelet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    Probed(KubeletProbe),
    /// No answer in the time that one may take.
    Silent,
    /// Nobody was asked, for this reason.
    Skipped(&'static str),
}

/// Judges one node by its versions and by what its kubelet said. A node that is not Ready is no fault of the set-up where
/// others are.
pub(super) fn verdict(node: &Node, asked: &Asked, others_are_ready: bool) -> Finding {
    let what = format!("node `{}`, kubelet {}, {}", node.name, node.kubelet, node.runtime);
    let failed = |seen: &str, remedy: &str| Finding::failed(Topic::Node, &what, seen, remedy.to_owned());
    for (ability, remedy) in [
        (kubelet_checkpoints(&node.kubelet), "use a newer kubelet"),
        (node.runtime.checkpoints(), "use containerd 2.0 or later, or CRI-O"),
    ] {
        if let Ability::Unable(words) = ability {
            return failed(words, remedy);
        }
    }
    if node.is_windows {
        return failed(
            "Windows takes no checkpoints of containers",
            "take the label off its pods, or run them on Linux",
        );
    }
    let away = |seen: &str| {
        if !node.is_ready && others_are_ready {
            let remedy = "see why the node is not Ready: until it is, its pods wait".to_owned();
            return Finding::warning(Topic::Node, &what, seen, remedy);
        }
        failed(seen, UNREACHABLE)
    };
    let probed = match asked {
        Asked::Probed(probed) => probed,
        Asked::Silent => return away("its kubelet does not answer"),
        Asked::Skipped(why) => return Finding::skipped(Topic::Node, what, format!("not asked: {why}")),
    };
    let message = probed.message.to_string();
    match probed.readiness {
        KubeletReadiness::Ready => Finding::ok(Topic::Node, what, message),
        KubeletReadiness::ApiDisabled => {
            let gate = "turn on the feature gate ContainerCheckpoint in the kubelet's configuration (featureGates), and \
                        enableDebuggingHandlers if it is off";
            let seen = match kubelet_checkpoints(&node.kubelet) {
                Ability::BySetting(words) => format!("{message}; it takes {words}"),
                _ => message,
            };
            failed(&seen, gate)
        }
        KubeletReadiness::Forbidden => failed(&message, "grant the right that is named, see docs/running.md"),
        KubeletReadiness::Untrusted => failed(
            &message,
            "give the CA of the kubelets by --kubelet-ca-file, or have their certificates signed by the cluster \
             (serverTLSBootstrap)",
        ),
        KubeletReadiness::Unreachable => away(&message),
        KubeletReadiness::DiskPressure => {
            Finding::warning(Topic::Node, what, message, "free its disk: until then its pods wait".to_owned())
        }
        KubeletReadiness::Busy => {
            let remedy =
                "nothing, if it passes: its pods are asked for again; else look at the kubelet and its runtime";
            Finding::warning(Topic::Node, what, message, remedy.to_owned())
        }
        KubeletReadiness::Unexpected => failed(&message, "see who answers at the kubelet's address and port"),
    }
}

const UNREACHABLE: &str = "see that the node is Ready and that its kubelet's port can be reached from here";

/// Which runtimes start containers again from what is taken; one finding a version, since all nodes of it are alike.
pub(super) fn restores(nodes: &[Node]) -> Vec<Finding> {
    let mut alike: BTreeMap<&Runtime, usize> = BTreeMap::new();
    for node in nodes.iter().filter(|node| !node.is_windows) {
        *alike.entry(&node.runtime).or_default() += 1;
    }
    alike.into_iter().map(|(runtime, count)| restoring(runtime, count)).collect()
}

fn restoring(runtime: &Runtime, count: usize) -> Finding {
    let nodes = if count == 1 { "one node".to_owned() } else { format!("{count} nodes") };
    let what = format!("starting again from an archive, {runtime} on {nodes}");
    let (state, seen, remedy) = match runtime.restores() {
        Ability::Able => (State::Ok, "it starts a container from an image that holds the archive".to_owned(), None),
        Ability::BySetting(setting) => {
            let seen = "it starts none from an image that holds the archive, unless it is set to".to_owned();
            let trusted = "where only trusted people create pods";
            (State::Warning, seen, Some(format!("to start again on these nodes, set {setting}, {trusted}")))
        }
        Ability::Unable(words) => {
            let remedy = "archives can be taken and looked into; start again from them on nodes with another runtime";
            (State::Warning, words.to_owned(), Some(remedy.to_owned()))
        }
        Ability::Unknown => (State::Skipped, "not known of this runtime".to_owned(), None),
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

    fn probed(readiness: KubeletReadiness) -> Asked {
        Asked::Probed(KubeletProbe { readiness, message: Redacted::own("words") })
    }

    #[test]
    fn a_node_is_judged_by_what_its_kubelet_said() {
        let node = node("v1.37.2", "containerd://2.1.9");
        for (asked, state) in [
            (probed(KubeletReadiness::Ready), State::Ok),
            (probed(KubeletReadiness::ApiDisabled), State::Failed),
            (probed(KubeletReadiness::Forbidden), State::Failed),
            (probed(KubeletReadiness::Untrusted), State::Failed),
            (probed(KubeletReadiness::Unreachable), State::Failed),
            (probed(KubeletReadiness::DiskPressure), State::Warning),
            (probed(KubeletReadiness::Busy), State::Warning),
            (probed(KubeletReadiness::Unexpected), State::Failed),
            (Asked::Silent, State::Failed),
            (Asked::Skipped("no token"), State::Skipped),
        ] {
            let finding = verdict(&node, &asked, true);
            assert_eq!(finding.state, state, "{finding:?}");
            assert_eq!(finding.what, "node `n1`, kubelet v1.37.2, containerd 2.1.9");
            assert_eq!(finding.remedy.is_some(), matches!(state, State::Failed | State::Warning), "{finding:?}");
        }
    }

    #[test]
    fn a_node_that_is_not_ready_is_a_fault_only_where_no_other_is() {
        let ready = node("v1.37.2", "containerd://2.1.9");
        let not_ready = Node { is_ready: false, ..ready.clone() };
        for (node, asked, others_are_ready, state) in [
            (&not_ready, probed(KubeletReadiness::Unreachable), true, State::Warning),
            (&not_ready, Asked::Silent, true, State::Warning),
            (&not_ready, probed(KubeletReadiness::Unreachable), false, State::Failed),
            (&not_ready, probed(KubeletReadiness::ApiDisabled), true, State::Failed),
            (&ready, probed(KubeletReadiness::Unreachable), true, State::Failed),
        ] {
            let finding = verdict(node, &asked, others_are_ready);
            assert_eq!(finding.state, state, "{finding:?}");
        }
    }

    #[test]
    fn a_windows_node_can_not_do_it_whatever_its_kubelet_says() {
        let windows = Node { is_windows: true, ..node("v1.37.2", "containerd://2.1.9") };
        let finding = verdict(&windows, &probed(KubeletReadiness::Ready), true);
        assert!(finding.state == State::Failed && finding.seen.contains("Windows"), "{finding:?}");
        assert_eq!(restores(&[windows]), []);
    }

    #[test]
    fn a_version_that_can_not_do_it_is_told_whatever_was_answered() {
        for (kubelet, runtime, words) in [
            ("v1.24.1", "containerd://2.1.9", "since 1.25"),
            ("v1.37.2", "containerd://1.7.24", "since 2.0"),
            ("v1.37.2", "docker://27.0.1", "Docker"),
        ] {
            let finding = verdict(&node(kubelet, runtime), &probed(KubeletReadiness::Ready), true);
            assert!(finding.state == State::Failed && finding.seen.contains(words), "{finding:?}");
        }
        let alpha = verdict(&node("v1.29.9", "containerd://2.1.9"), &probed(KubeletReadiness::ApiDisabled), true);
        assert!(alpha.seen.contains("off by default before 1.30"), "{alpha:?}");
        let turned_on = verdict(&node("v1.29.9", "containerd://2.1.9"), &probed(KubeletReadiness::Ready), true);
        assert_eq!(turned_on.state, State::Ok);
    }

    #[test]
    fn nodes_of_one_runtime_are_told_together() {
        let of = |runtime| node("v1.37.2", runtime);
        let nodes = [
            of("containerd://2.4.0"),
            of("containerd://2.1.9"),
            of("containerd://2.4.0"),
            of("containerd://2.3.4"),
            of("kwok://1"),
        ];
        let found: Vec<_> = restores(&nodes).into_iter().map(|finding| (finding.what, finding.state)).collect();
        let what = |on: &str| format!("starting again from an archive, {on}");
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
