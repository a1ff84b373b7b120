//! Tests what saving needs: the Snapshot resource, the Secret with the keys, the registry, and an agent on each node with an archive.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use kube::{Api, Client};

use super::finding::{Finding, Topic};
use crate::config::RunArgs;
use snapwatcher_api::snapshot::{NodeCopyState, Snapshot, SnapshotPhase, WatchedSnapshot};
use snapwatcher_daemon::clock;
use snapwatcher_daemon::telemetry::error_chain;
use snapwatcher_kubernetes::cluster::{CallError, Cluster, Pages, Scope, call, limit_pages};
use snapwatcher_registry::{ErrorKind, Registry, RegistryError, RegistrySettings};

/// How long an agent may take until it reports on a Snapshot.
const PATIENCE: Duration = Duration::from_secs(600);
/// How many nodes a finding names.
const NAMED: usize = 10;
const PAGE: u32 = 100;

const APPLY: &str = "run `snapwatcher crd | kubectl apply --server-side -f -`";

/// What the Snapshots show about the agents.
#[derive(Debug, Default, PartialEq, Eq)]
struct Agents {
    snapshots: usize,
    saved: usize,
    rejected: usize,
    /// Nodes whose agent has not reported on a Snapshot in time.
    silent: BTreeSet<String>,
    /// Nodes whose agent waits, with the reason.
    waiting: BTreeMap<String, String>,
}

impl Agents {
    fn look(&mut self, snapshot: &Snapshot, now: Timestamp) {
        self.snapshots += 1;
        match snapshot.phase() {
            SnapshotPhase::Saved | SnapshotPhase::Local => self.saved += 1,
            SnapshotPhase::Rejected => self.rejected += 1,
            SnapshotPhase::Pending | SnapshotPhase::Expired => {}
        }
        if snapshot.phase() != SnapshotPhase::Pending {
            return;
        }
        let node = &snapshot.spec.origin.node;
        let created = snapshot.metadata.creation_timestamp.as_ref().map_or(now, |created| created.0);
        match snapshot.node(node) {
            None if now.duration_since(created).unsigned_abs() > PATIENCE => drop(self.silent.insert(node.clone())),
            Some(entry) if entry.state == NodeCopyState::Waiting => {
                let reason = entry.reason.clone().unwrap_or_else(|| "no reason".to_owned());
                self.waiting.insert(node.clone(), reason);
            }
            _ => {}
        }
    }

    fn finding(&self) -> Finding {
        let what = "agents, by the Snapshots";
        let Self { snapshots, saved, rejected, silent, waiting } = self;
        let seen = format!("{snapshots} Snapshots, {saved} saved, {rejected} rejected");
        if !silent.is_empty() {
            let nodes = named(silent.iter().cloned());
            let remedy =
                "see that an agent runs on these nodes (a DaemonSet of the chart), and read its log".to_owned();
            return Finding::failed(Topic::Snapshot, what, format!("{seen}; no agent reports on node {nodes}"), remedy);
        }
        if !waiting.is_empty() {
            let nodes = named(waiting.iter().map(|(node, reason)| format!("{node} ({reason})")));
            let remedy = "docs/saving.md says what each reason means".to_owned();
            return Finding::warning(Topic::Snapshot, what, format!("{seen}; waiting are {nodes}"), remedy);
        }
        Finding::ok(Topic::Snapshot, what, seen)
    }
}

fn named(nodes: impl ExactSizeIterator<Item = String>) -> String {
    let others = nodes.len().saturating_sub(NAMED);
    let names = nodes.take(NAMED).collect::<Vec<_>>().join(", ");
    if others == 0 { names } else { format!("{names} and {others} others") }
}

pub(super) async fn check(cluster: &Cluster, args: &RunArgs) -> Vec<Finding> {
    let mut findings = vec![agents(cluster, &Scope::of(&args.watch.namespaces())).await];
    if let Some(secret) = args.save.keys_secret() {
        findings.push(keys(&cluster.calls, &args.certificate.ca.service_namespace, secret).await);
    }
    findings.push(if let Some(settings) = args.registry.settings() {
        registry(&settings).await
    } else {
        let seen = "--registry-repository is not set: Snapshots stay on their nodes";
        Finding::skipped(Topic::Snapshot, "registry", seen)
    });
    findings
}

async fn agents(cluster: &Cluster, scopes: &[Scope]) -> Finding {
    let (client, now) = (limit_pages(&cluster.calls), clock::now());
    let mut agents = Agents::default();
    for scope in scopes {
        let mut pages = Pages::<WatchedSnapshot>::new(scope.api(&client), ListParams::default().limit(PAGE));
        loop {
            match pages.next("list Snapshots").await {
                Ok(Some(page)) => page.into_iter().for_each(|snapshot| agents.look(&snapshot.into(), now)),
                Ok(None) => break,
                Err(error) => return unlisted(&error),
            }
        }
    }
    agents.finding()
}

fn unlisted(error: &CallError) -> Finding {
    let what = "Snapshot resource";
    if error.is_not_found() {
        return Finding::failed(Topic::Snapshot, what, "not installed", APPLY.to_owned());
    }
    let remedy = "grant the right to list Snapshots, see above".to_owned();
    Finding::failed(Topic::Snapshot, what, error_chain(error), remedy)
}

async fn keys(client: &Client, namespace: &str, name: &str) -> Finding {
    let what = format!("Secret `{namespace}/{name}` with the keys of Snapshots");
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    match call(format!("read Secret `{namespace}/{name}`"), secrets.get_opt(name)).await {
        Ok(Some(secret)) => {
            let keys = secret.data.map_or(0, |data| data.len());
            Finding::ok(Topic::Snapshot, what, format!("it has keys of {keys} namespaces"))
        }
        Ok(None) => {
            let remedy = format!("run `kubectl create secret generic {name} -n {namespace}`, or `helm upgrade`");
            Finding::failed(Topic::Snapshot, what, "it does not exist, so nothing is saved", remedy)
        }
        Err(error) => {
            let remedy = "grant the right to get it, see above".to_owned();
            Finding::failed(Topic::Snapshot, what, error_chain(&error), remedy)
        }
    }
}

/// Begins an upload and cancels it.
async fn registry(settings: &RegistrySettings) -> Finding {
    let what = format!("registry, {}", settings.repository);
    let registry = match Registry::new(settings) {
        Ok(registry) => registry,
        Err(error) => {
            let remedy = "correct the flags --registry-...".to_owned();
            return Finding::failed(Topic::Snapshot, what, error_chain(&error), remedy);
        }
    };
    evaluate(what, registry.base().check_writable().await.as_ref().err())
}

fn evaluate(what: String, error: Option<&RegistryError>) -> Finding {
    let Some(error) = error else {
        return Finding::ok(Topic::Snapshot, what, "reachable, and it accepts uploads from here");
    };
    let remedy = match error.kind() {
        ErrorKind::RetryLater => "see that the registry runs, and that this machine may connect to it",
        ErrorKind::Credentials => "renew the file of --registry-credentials-file, and let it push to the repository",
        _ => "compare --registry-repository with the registry, and read its log",
    };
    Finding::failed(Topic::Snapshot, what, error_chain(error), remedy.to_owned())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use snapwatcher_api::snapshot::{NodeCopy, SnapshotSpec, SnapshotStatus};

    use super::super::finding::State;
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn snapshot(age: Duration, phase: SnapshotPhase, entry: Option<NodeCopyState>) -> Snapshot {
        let mut spec = SnapshotSpec::default();
        "n1".clone_into(&mut spec.origin.node);
        let entry = entry.map(|state| NodeCopy { name: "n1".to_owned(), state, ..NodeCopy::default() });
        let status =
            SnapshotStatus { phase: Some(phase), nodes: entry.into_iter().collect(), ..SnapshotStatus::default() };
        let mut snapshot = Snapshot { status: Some(status), ..Snapshot::new("web", spec) };
        snapshot.metadata.creation_timestamp = Some(Time(NOW - age));
        snapshot
    }

    #[test]
    fn a_node_without_an_agent_is_named() {
        use SnapshotPhase::{Pending, Saved};
        let (young, old) = (Duration::from_secs(60), Duration::from_secs(601));
        for (case, snapshot, state, words) in [
            ("saved", snapshot(old, Saved, Some(NodeCopyState::Held)), State::Ok, "1 Snapshots, 1 saved"),
            ("new", snapshot(young, Pending, None), State::Ok, "1 Snapshots, 0 saved"),
            ("silent", snapshot(old, Pending, None), State::Failed, "no agent reports on node n1"),
            (
                "waiting",
                snapshot(old, Pending, Some(NodeCopyState::Waiting)),
                State::Warning,
                "waiting are n1 (no reason)",
            ),
        ] {
            let mut agents = Agents::default();
            agents.look(&snapshot, NOW);
            let finding = agents.finding();
            assert_eq!(finding.state, state, "{case}: {finding:?}");
            assert!(finding.seen.contains(words), "{case}: {finding:?}");
        }
    }

    #[test]
    fn of_many_nodes_ten_are_named() {
        let nodes: Vec<String> = (0..12).map(|number| format!("n{number}")).collect();
        assert!(named(nodes.into_iter()).ends_with("n9 and 2 others"));
    }
}
