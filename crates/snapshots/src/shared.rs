//! What all steps share: access, look-ups, the index, and where is reported what happened.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use snapwatcher_daemon::telemetry::RepeatedMessages;
use snapwatcher_kubernetes::cluster::Cluster;
use snapwatcher_kubernetes::events::Events;
use snapwatcher_kubernetes::workload::WorkloadLookup;
use snapwatcher_registry::Repository;

use crate::access::Access;
use crate::index::Index;
use crate::keys::NamespaceKeys;
use crate::metrics::SnapshotMetrics;
use crate::settings::{Encryption, SnapshotSettings};

pub(crate) struct Shared {
    pub(crate) access: Access,
    pub(crate) workloads: WorkloadLookup,
    /// `None`: what is pushed is not encrypted.
    pub(crate) keys: Option<NamespaceKeys>,
    /// `None`: Snapshots stay on the nodes.
    pub(crate) repository: Option<Repository>,
    pub(crate) settings: SnapshotSettings,
    pub(crate) events: Events,
    pub(crate) metrics: SnapshotMetrics,
    index: Mutex<Index>,
    warnings: RepeatedMessages,
    is_refusal_logged: AtomicBool,
}

impl Shared {
    pub(crate) fn new(cluster: &Cluster, settings: SnapshotSettings, events: Events, metrics: SnapshotMetrics) -> Self {
        let access = Access::new(cluster, settings.revision_labels.clone());
        let keys = match &settings.encryption {
            Encryption::Age { namespace, secret } => {
                Some(NamespaceKeys::new(&access, namespace, secret, metrics.clone()))
            }
            Encryption::None => None,
        };
        Self {
            workloads: WorkloadLookup::new(access.client().clone()),
            keys,
            repository: settings.registry.as_ref().map(snapwatcher_registry::Registry::base),
            access,
            settings,
            events,
            metrics,
            index: Mutex::default(),
            warnings: RepeatedMessages::default(),
            is_refusal_logged: AtomicBool::new(false),
        }
    }

    pub(crate) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a warning about an object may appear: what is wrong with one is often wrong with all of its namespace.
    pub(crate) fn may_warn(&self, namespace: &str, key: &str) -> bool {
        self.warnings.should_log(namespace, key, Instant::now())
    }

    /// Says once that the registry permits no deletions.
    pub(crate) fn deletion_is_refused(&self) {
        if !self.is_refusal_logged.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "The registry permits no deletion of manifests: Snapshots that are deleted stay there. Permit it, or delete them by a \
                 rule of the registry"
            );
        }
    }
}
