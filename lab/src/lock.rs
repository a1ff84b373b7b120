//! Locks that ignore poisoning.
//!
//! A test that panics while it holds a lock has left nothing half-written, so other tests can continue.

use std::sync::{Mutex, MutexGuard, PoisonError};

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
