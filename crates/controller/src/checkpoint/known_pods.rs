//! Which pods the watch knows: proof that they are there, at no request. Absence proves nothing, since the watch may be
//! behind and follows labelled pods only.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// UIDs of the watched pods. The watch of pods is its only writer; cloning gives another handle to the same.
#[derive(Clone, Default)]
pub struct KnownPods(Arc<Mutex<HashSet<Box<str>>>>);

impl KnownPods {
    pub fn seen(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(uid.into());
    }

    pub fn gone(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    pub fn contains(&self, uid: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(uid)
    }
}
