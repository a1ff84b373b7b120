//! The permits to read large bodies: few for all clients, and fewer for one of them.
//!
//! A client that announces large bodies and does not send them holds its own permits and no more, so that an API server at
//! another address still gets one. All clients whose bodies did not arrive lately have the permits of one client together, so that
//! many such addresses hold no more than one does.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

/// How many large bodies are held at the same time.
const MAX_LARGE_BODIES: usize = 8;
/// How many of them are of one client. An API server sends 7 MiB in some 50 ms.
const MAX_OF_CLIENT: usize = 2;
/// How long a client is slow after one of its bodies did not arrive in time.
pub(super) const SLOW_FOR: Duration = Duration::from_secs(60);

/// The permits.
#[derive(Debug)]
pub(super) struct LargeBodies {
    all: Arc<Semaphore>,
    max_of_client: usize,
    clients: Mutex<Clients>,
    /// How many bodies of clients that are not slow wait although their clients hold fewer permits than they may.
    waiting: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct Clients {
    /// Of shares that hold a permit or wait for one: at most as many as there are connections.
    of_share: HashMap<Share, Arc<Semaphore>>,
    /// Until when a client is slow. Each entry is of a body that held a permit until its time was over, so the number of permits limits
    /// how many are added in 60 s.
    slow: HashMap<IpAddr, Instant>,
}

/// Who has the permits of one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Share {
    Client(IpAddr),
    /// All clients of which a body did not arrive in time.
    SlowClients,
}

/// The right to hold one large body, until it is dropped.
#[derive(Debug)]
pub(super) struct LargeBodyPermit {
    _of_share: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

/// A body that waits, until it is dropped.
struct Waiting<'b>(&'b watch::Sender<usize>);

impl Default for LargeBodies {
    fn default() -> Self {
        Self::new(MAX_LARGE_BODIES, MAX_OF_CLIENT)
    }
}

impl LargeBodies {
    pub(super) fn new(all: usize, max_of_client: usize) -> Self {
        let (clients, waiting) = (Mutex::default(), watch::Sender::default());
        Self { all: Arc::new(Semaphore::new(all)), max_of_client, clients, waiting }
    }

    /// Waits for a permit. The client waits for one of its own first, and so only as many as it may hold are in the queue of
    /// all clients. `None`: there are no permits any more.
    pub(super) async fn acquire(&self, client: IpAddr) -> Option<LargeBodyPermit> {
        let (share, of_share) = loop {
            let (share, semaphore) = self.semaphore_of(client);
            let of_share = semaphore.acquire_owned().await.ok()?;
            // Another body of the client may have made it slow meanwhile.
            if self.clients().share_of(client) == share {
                break (share, of_share);
            }
        };
        // Only clients that are not slow make others hurry.
        let counts = share != Share::SlowClients && self.all.available_permits() == 0;
        let _waiting = counts.then(|| Waiting::new(&self.waiting));
        let of_all = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(LargeBodyPermit { _of_share: of_share, _of_all: of_all })
    }

    /// Waits until all permits are held and a client that is not slow waits for one.
    pub(super) async fn are_awaited(&self) {
        // The sender lives as long as `self`.
        let _ = self.waiting.subscribe().wait_for(|waiting| *waiting > 0).await;
    }

    /// A body of the client held a permit and did not arrive in time.
    pub(super) fn timed_out(&self, client: IpAddr) {
        let now = Instant::now();
        let mut clients = self.clients();
        clients.slow.retain(|_, until| *until > now);
        clients.slow.insert(client.to_canonical(), now + SLOW_FOR);
    }

    fn semaphore_of(&self, client: IpAddr) -> (Share, Arc<Semaphore>) {
        let mut clients = self.clients();
        // A permit, and a client that waits for one, hold the semaphore too.
        clients.of_share.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
        let share = clients.share_of(client);
        let semaphore = clients.of_share.entry(share);
        (share, Arc::clone(semaphore.or_insert_with(|| Arc::new(Semaphore::new(self.max_of_client)))))
    }

    fn clients(&self) -> MutexGuard<'_, Clients> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the client holds all the permits that it may have.
    #[cfg(test)]
    pub(super) fn is_exhausted(&self, client: IpAddr) -> bool {
        self.semaphore_of(client).1.available_permits() == 0
    }
}

impl Clients {
    fn share_of(&self, client: IpAddr) -> Share {
        let client = client.to_canonical();
        let is_slow = self.slow.get(&client).is_some_and(|until| *until > Instant::now());
        if is_slow { Share::SlowClients } else { Share::Client(client) }
    }
}

impl<'b> Waiting<'b> {
    fn new(number: &'b watch::Sender<usize>) -> Self {
        number.send_modify(|number| *number += 1);
        Self(number)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|number| *number -= 1);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use futures::FutureExt as _;
    use tokio::time::advance;

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
        assert_eq!(bodies.clients().of_share.len(), 1);
    }
    #[tokio::test(start_paused = true)]
    async fn clients_whose_bodies_do_not_arrive_share_the_permits_of_one_for_a_minute() {
        let bodies = LargeBodies::new(8, 2);
        let acquired = |number| bodies.acquire(client(number)).now_or_never().flatten();
        for number in 1..=20 {
            bodies.timed_out(client(number));
        }
        let held: Vec<_> = (1..=20).filter_map(acquired).collect();
        assert_eq!(held.len(), 2);
        let honest = [acquired(30).unwrap(), acquired(30).unwrap(), acquired(31).unwrap()];
        drop((held, honest));

        advance(SLOW_FOR).await;
        assert_eq!((1..=20).filter_map(acquired).collect::<Vec<_>>().len(), 8, "each has its own permits again");
        bodies.timed_out(client(30));
        assert_eq!(bodies.clients().slow.len(), 1, "the others are forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_waits_while_its_client_becomes_slow_counts_as_one_of_a_slow_client() {
        let bodies = LargeBodies::new(8, 1);
        bodies.timed_out(client(1));
        let _held = bodies.acquire(client(1)).await.unwrap();
        let first = bodies.acquire(client(2)).await.unwrap();
        let mut second = Box::pin(bodies.acquire(client(2)));
        assert!((&mut second).now_or_never().is_none());
        bodies.timed_out(client(2));
        drop(first);
        assert!((&mut second).now_or_never().is_none(), "client 1 holds the permit of slow clients");
    }

    #[tokio::test]
    async fn permits_are_awaited_only_while_a_client_that_is_not_slow_could_have_one() {
        let bodies = LargeBodies::new(1, 1);
        let are_awaited = || bodies.are_awaited().now_or_never().is_some();
        let held = bodies.acquire(client(1)).await.unwrap();
        bodies.timed_out(client(2));
        let mut more_of_client = Box::pin(bodies.acquire(client(1)));
        let mut of_slow_client = Box::pin(bodies.acquire(client(2)));
        assert!((&mut more_of_client).now_or_never().is_none() && (&mut of_slow_client).now_or_never().is_none());
        assert!(!are_awaited());
        drop(of_slow_client);

        let mut other = Box::pin(bodies.acquire(client(3)));
        assert!((&mut other).now_or_never().is_none() && are_awaited());
        drop(held);
        assert!((&mut other).now_or_never().is_some() && !are_awaited());
    }
}
