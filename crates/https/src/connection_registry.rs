//! All open connections, and which of them to evict.
//!
//! Timeouts close the connections of silent clients, but not those of a client that opens as many as there may be and
//! sends a request just often enough. When one more client connects, the listener therefore evicts the connection whose
//! last request is the longest ago. An API server sends requests all the time, so its connections are the last to be
//! evicted. When an idle one is, the API server opens another.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::metrics::HttpsMetrics;

/// The open connections. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct ConnectionRegistry(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    metrics: HttpsMetrics,
    entries: Mutex<HashMap<u64, Arc<Entry>>>,
    /// Numbers connections and requests in their order.
    sequence: AtomicU64,
}

/// The registration of one connection. The connection counts as open until its slot is dropped.
#[derive(Debug)]
pub(crate) struct ConnectionSlot {
    number: u64,
    entry: Arc<Entry>,
    registry: ConnectionRegistry,
}

#[derive(Debug, Default)]
struct Entry {
    /// The number of the last request, or of the connection before its first request.
    last_request: AtomicU64,
    evicted: Notify,
}

impl ConnectionRegistry {
    pub(crate) fn new(metrics: HttpsMetrics) -> Self {
        Self(Arc::new(Inner { metrics, ..Inner::default() }))
    }

    pub(crate) fn open(&self) -> ConnectionSlot {
        let number = self.next_number();
        let entry = Arc::new(Entry { last_request: number.into(), ..Entry::default() });
        self.entries().insert(number, Arc::clone(&entry));
        self.0.metrics.opened();
        ConnectionSlot { number, entry, registry: self.clone() }
    }

    /// Evicts the connection whose last request is the longest ago; false when each connection is evicted already.
    ///
    /// The connection closes when its task runs next.
    pub(crate) fn evict_idlest(&self) -> bool {
        let mut entries = self.entries();
        let idlest = entries.iter().min_by_key(|(_, entry)| entry.last_request.load(Ordering::Relaxed));
        let Some(number) = idlest.map(|(number, _)| *number) else { return false };
        if let Some(entry) = entries.remove(&number) {
            entry.evicted.notify_one();
            self.0.metrics.evicted();
        }
        true
    }

    fn next_number(&self) -> u64 {
        self.0.sequence.fetch_add(1, Ordering::Relaxed)
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<u64, Arc<Entry>>> {
        self.0.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectionSlot {
    pub(crate) fn request_started(&self) {
        self.entry.last_request.store(self.registry.next_number(), Ordering::Relaxed);
    }

    /// Waits until the connection has to close for another one.
    pub(crate) async fn evicted(&self) {
        self.entry.evicted.notified().await;
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.registry.entries().remove(&self.number);
        self.registry.0.metrics.closed();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn the_connection_whose_last_request_is_the_longest_ago_is_evicted() {
        let registry = ConnectionRegistry::default();
        let slots = [registry.open(), registry.open(), registry.open()];
        slots[0].request_started();
        let evict = || (registry.evict_idlest(), slots.each_ref().map(|slot| slot.evicted().now_or_never().is_some()));
        assert_eq!(evict(), (true, [false, true, false]));
        assert_eq!(evict(), (true, [false, false, true]), "no connection is evicted twice");
        assert_eq!(evict(), (true, [true, false, false]));
        assert_eq!(evict(), (false, [false, false, false]));
    }

    #[test]
    fn a_closed_connection_is_not_evicted() {
        let registry = ConnectionRegistry::default();
        drop(registry.open());
        assert!(!registry.evict_idlest());
    }

    #[tokio::test]
    async fn a_waiting_connection_is_woken() {
        let registry = ConnectionRegistry::default();
        let slot = registry.open();
        let ((), evicted) = tokio::join!(slot.evicted(), async { registry.evict_idlest() });
        assert!(evicted);
    }
}
