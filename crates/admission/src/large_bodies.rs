//! The permits to read large bodies: few for all clients, and fewer for one of them.
//!
//! A client that announces large bodies and does not send them holds its own permits and no more, so that an API server at
//! another address still gets one.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many large bodies are held at the same time.
const MAX_LARGE_BODIES: usize = 8;
/// How many of them are of one client. An API server sends 7 MiB in some 50 ms.
const MAX_OF_CLIENT: usize = 2;

/// The permits.
#[derive(Debug)]
pub(super) struct LargeBodies {
    all: Arc<Semaphore>,
    max_of_client: usize,
    /// Of clients that hold a permit or wait for one: at most as many as there are connections.
    of_client: Mutex<HashMap<IpAddr, Arc<Semaphore>>>,
}

/// The right to hold one large body, until it is dropped.
#[derive(Debug)]
pub(super) struct LargeBodyPermit {
    _of_client: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Default for LargeBodies {
    fn default() -> Self {
        Self::new(MAX_LARGE_BODIES, MAX_OF_CLIENT)
    }
}

impl LargeBodies {
    pub(super) fn new(all: usize, max_of_client: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), max_of_client, of_client: Mutex::default() }
    }

    /// Waits for a permit. The client waits for one of its own first, and so only as many as it may hold are in the queue of
    /// all clients. `None`: there are no permits any more.
    pub(super) async fn acquire(&self, client: IpAddr) -> Option<LargeBodyPermit> {
        let of_client = self.semaphore_of(client).acquire_owned().await.ok()?;
        let of_all = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(LargeBodyPermit { _of_client: of_client, _of_all: of_all })
    }

    fn semaphore_of(&self, client: IpAddr) -> Arc<Semaphore> {
        let mut of_client = self.of_client.lock().unwrap_or_else(PoisonError::into_inner);
        // A permit, and a client that waits for one, hold the semaphore too.
        of_client.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
        let semaphore = of_client.entry(client.to_canonical());
        Arc::clone(semaphore.or_insert_with(|| Arc::new(Semaphore::new(self.max_of_client))))
    }

    /// Whether the client holds all the permits that it may have.
    #[cfg(test)]
    pub(super) fn is_exhausted(&self, client: IpAddr) -> bool {
        self.semaphore_of(client).available_permits() == 0
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use futures::FutureExt as _;

    use super::*;

    fn client(number: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, number).into()
    }

    #[test]
    fn one_client_does_not_hold_the_permits_of_another() {
        let bodies = LargeBodies::new(3, 2);
        let acquired = |number| bodies.acquire(client(number)).now_or_never().flatten();
        let mut held = vec![acquired(1).unwrap(), acquired(1).unwrap()];
        assert!(acquired(1).is_none(), "its own are taken");
        held.push(acquired(2).unwrap());
        assert!(acquired(3).is_none(), "all are taken");
        held.clear();
        assert!(acquired(3).is_some());
    }

    #[test]
    fn a_client_has_one_address_in_both_notations() {
        let bodies = LargeBodies::new(3, 1);
        let _held = bodies.acquire(client(1)).now_or_never().flatten().unwrap();
        let mapped = IpAddr::from(Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped());
        assert!(bodies.acquire(mapped).now_or_never().is_none());
    }

    #[test]
    fn a_client_without_a_permit_is_forgotten() {
        let bodies = LargeBodies::default();
        for number in 0..=255 {
            assert!(bodies.acquire(client(number)).now_or_never().flatten().is_some());
        }
        assert_eq!(bodies.of_client.lock().unwrap().len(), 1);
    }
}
