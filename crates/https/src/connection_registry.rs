//! All open connections, and the commands by which the listener ends them.
//!
//! Timeouts close the connections of silent clients, but not those of a client that opens as many as there may be and
//! sends a request just often enough. When one more client connects, the listener therefore evicts the connection whose
//! last request is the longest ago. An API server sends requests all the time, so its connections are the last to be
//! evicted. When an idle one is, the API server opens another.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;

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
    command: AtomicU8,
    task: AtomicWaker,
}

/// What the listener demands of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Command {
    /// Answer the request that is open and close.
    Finish = 1,
    /// Close at once: another client needs the slot.
    Evict = 2,
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
            entry.send(Command::Evict);
            self.0.metrics.evicted();
        }
        true
    }

    /// Sends [`Command::Finish`] to all connections.
    pub(crate) fn finish_all(&self) {
        for entry in self.entries().values() {
            entry.send(Command::Finish);
        }
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

    /// Waits for the next command.
    pub(crate) async fn command(&self) -> Command {
        poll_fn(|context| self.entry.poll_command(context)).await
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.registry.entries().remove(&self.number);
        self.registry.0.metrics.closed();
    }
}

impl Entry {
    fn send(&self, command: Command) {
        self.command.store(command as u8, Ordering::Release);
        self.task.wake();
    }

    /// Only the task of the connection calls this.
    fn poll_command(&self, context: &mut Context<'_>) -> Poll<Command> {
        // Register first: a command sent between a look and the registration would wake no task.
        self.task.register(context.waker());
        let command = match self.command.load(Ordering::Acquire) {
            0 => return Poll::Pending,
            command if command == Command::Finish as u8 => Command::Finish,
            _ => Command::Evict,
        };
        // A later command may have replaced this one; then it stays for the next call.
        let _ = self.command.compare_exchange(command as u8, 0, Ordering::AcqRel, Ordering::Relaxed);
        Poll::Ready(command)
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
        let evict = || (registry.evict_idlest(), slots.each_ref().map(|slot| slot.command().now_or_never()));
        let evicted = Some(Command::Evict);
        assert_eq!(evict(), (true, [None, evicted, None]));
        assert_eq!(evict(), (true, [None, None, evicted]), "no connection is evicted twice");
        assert_eq!(evict(), (true, [evicted, None, None]));
        assert_eq!(evict(), (false, [None, None, None]));
    }

    #[test]
    fn a_closed_connection_is_not_evicted() {
        let registry = ConnectionRegistry::default();
        drop(registry.open());
        assert!(!registry.evict_idlest());
    }

    #[test]
    fn all_connections_are_to_finish_once_and_can_be_evicted_after_it() {
        let registry = ConnectionRegistry::default();
        let slots = [registry.open(), registry.open()];
        let commands = || slots.each_ref().map(|slot| slot.command().now_or_never());
        registry.finish_all();
        assert_eq!(commands(), [Some(Command::Finish); 2]);
        assert_eq!(commands(), [None; 2]);
        registry.evict_idlest();
        assert_eq!(commands(), [Some(Command::Evict), None]);
    }

    #[tokio::test]
    async fn a_waiting_connection_is_woken() {
        let registry = ConnectionRegistry::default();
        let slot = registry.open();
        let (command, evicted) = tokio::join!(slot.command(), async { registry.evict_idlest() });
        assert_eq!((command, evicted), (Command::Evict, true));
    }
}
