//! UIDs of the pods in the watch cache. A hit saves a GET; a miss must be confirmed by a live read.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// UIDs of the watched pods, written by the pod watch alone. Cloning gives another handle to the same set.
#[derive(Clone, Default)]
pub(crate) struct KnownPods(Arc<Mutex<HashSet<Box<str>>>>);

impl KnownPods {
    pub(crate) fn insert(&self, uid: &str) {
        self.lock().insert(uid.into());
    }

    pub(crate) fn remove(&self, uid: &str) {
        self.lock().remove(uid);
    }

    pub(crate) fn contains(&self, uid: &str) -> bool {
        self.lock().contains(uid)
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Box<str>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
