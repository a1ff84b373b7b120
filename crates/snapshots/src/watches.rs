//! The watches of Checkpoints and Snapshots, one of each in each scope.

use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use kube::runtime::watcher::{self, Event};

use snapwatcher_api::checkpoint::WatchedCheckpoint;
use snapwatcher_api::snapshot::WatchedSnapshot;
use snapwatcher_daemon::telemetry::error_chain;
use snapwatcher_kubernetes::cluster::{Cluster, Scope, WatchStreamError, watch};

use crate::shared::Shared;

/// An item of a watch. That of Snapshots has the number of its scope.
pub(crate) enum WatchItem {
    Checkpoint(Result<Box<Event<WatchedCheckpoint>>, WatchStreamError>),
    Snapshot(usize, Result<Box<Event<WatchedSnapshot>>, WatchStreamError>),
}

/// All watches as one stream.
pub(crate) fn watches(cluster: &Cluster, scopes: &[Scope]) -> BoxStream<'static, WatchItem> {
    let watches = scopes.iter().enumerate().flat_map(|(number, scope)| {
        let (client, timeout, config) = (&cluster.watches, cluster.watch_timeout, watcher::Config::default);
        let checkpoints = watch::<WatchedCheckpoint, _>(client, scope, timeout, config(), || ());
        let snapshots = watch::<WatchedSnapshot, _>(client, scope, timeout, config(), || ());
        [
            checkpoints.map(|item| WatchItem::Checkpoint(item.map(Box::new))).boxed(),
            snapshots.map(move |item| WatchItem::Snapshot(number, item.map(Box::new))).boxed(),
        ]
    });
    stream::select_all(watches.collect::<Vec<_>>()).boxed()
}

/// The controller reports faults of its own watch of Checkpoints too, so each text appears once an hour here.
pub(crate) fn report_fault(shared: &Shared, objects: &str, fault: &WatchStreamError) {
    let fault = error_chain(fault);
    shared.metrics.failed();
    if shared.may_warn("", &format!("{objects}: {fault}")) {
        tracing::warn!("Watch of {objects} for saving: {fault}. The watch continues");
    }
}
