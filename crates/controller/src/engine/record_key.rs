//! The key of a Checkpoint in the engine: its namespace and name.

use std::fmt;
use std::sync::Arc;

use kube::ResourceExt as _;

use snapwatcher_api::checkpoint::Checkpoint;

/// `namespace/name`. Names hold no `/`, so different Checkpoints have different keys. Cloning is cheap.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RecordKey(Arc<str>);

impl RecordKey {
    pub(crate) fn new(namespace: &str, name: &str) -> Self {
        Self(format!("{namespace}/{name}").into())
    }

    pub(crate) fn of(checkpoint: &Checkpoint) -> Self {
        Self::new(checkpoint.metadata.namespace.as_deref().unwrap_or_default(), &checkpoint.name_any())
    }

    pub(crate) fn namespace(&self) -> &str {
        self.0.split_once('/').map_or("", |(namespace, _)| namespace)
    }

    pub(crate) fn name(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, name)| name)
    }
}

impl fmt::Display for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
