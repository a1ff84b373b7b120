//! Who has to leave when all places are taken.
//!
//! Time-outs let go of clients that do nothing, but not of one that fills all places and asks for something just often
//! enough. So a client that comes when all are taken gets the place of the one that has asked for nothing for the
//! longest. An API server asks and is answered within milliseconds, so it is the last to be among those, and one whose
//! idle connection was closed opens another.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;

/// All that are connected. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Crowd(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// By the turn in which each came.
    seats: Mutex<HashMap<u64, Arc<Seat>>>,
    /// Counts what members do: all that is to be known is who did something before whom.
    turns: AtomicU64,
}

/// One that is connected; leaves the crowd when dropped.
#[derive(Debug)]
pub(super) struct Member {
    number: u64,
    seat: Arc<Seat>,
    crowd: Crowd,
}

/// What the crowd knows of a member, and how it tells it to leave.
#[derive(Debug, Default)]
pub(super) struct Seat {
    /// The turn in which it last asked for something, or came.
    active: AtomicU64,
    has_to_leave: AtomicBool,
    reader: AtomicWaker,
}

impl Crowd {
    pub(super) fn enter(&self) -> Member {
        let number = self.turn();
        let seat = Arc::new(Seat { active: number.into(), ..Seat::default() });
        self.seats().insert(number, Arc::clone(&seat));
        Member { number, seat, crowd: self.clone() }
    }

    /// Tells the one that has asked for nothing for the longest to leave; it takes a moment to do so. Tells whether
    /// there is one that was not told yet.
    pub(super) fn make_room(&self) -> bool {
        let seats = self.seats();
        let staying = seats.values().filter(|seat| !seat.has_to_leave.load(Ordering::Relaxed));
        let Some(seat) = staying.min_by_key(|seat| seat.active.load(Ordering::Relaxed)) else { return false };
        seat.has_to_leave.store(true, Ordering::Release);
        seat.reader.wake();
        true
    }

    fn turn(&self) -> u64 {
        self.0.turns.fetch_add(1, Ordering::Relaxed)
    }

    fn seats(&self) -> MutexGuard<'_, HashMap<u64, Arc<Seat>>> {
        self.0.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Member {
    pub(super) fn asks(&self) {
        self.seat.active.store(self.crowd.turn(), Ordering::Relaxed);
    }

    pub(super) fn seat(&self) -> Arc<Seat> {
        Arc::clone(&self.seat)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.crowd.seats().remove(&self.number);
    }
}

impl Seat {
    /// Turns waiting for the client into an error once the member has to leave; until then its task is woken for that.
    pub(super) fn bounded<T>(&self, context: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            return polled;
        }
        // Registered first: told in between, it would wait for ever.
        self.reader.register(context.waker());
        if self.has_to_leave.load(Ordering::Acquire) {
            Poll::Ready(Err(ErrorKind::ConnectionAborted.into()))
        } else {
            Poll::Pending
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has_to_leave(member: &Member) -> bool {
        member.seat.has_to_leave.load(Ordering::Relaxed)
    }

    #[test]
    fn the_one_that_asked_for_nothing_for_the_longest_has_to_leave() {
        let crowd = Crowd::default();
        let members = [crowd.enter(), crowd.enter(), crowd.enter()];
        members[0].asks();
        let left = |crowd: &Crowd| (crowd.make_room(), members.each_ref().map(has_to_leave));
        assert_eq!(left(&crowd), (true, [false, true, false]));
        assert_eq!(left(&crowd), (true, [false, true, true]), "nobody is told twice");
        assert_eq!(left(&crowd), (true, [true, true, true]));
        assert_eq!(left(&crowd), (false, [true, true, true]));
    }

    #[test]
    fn who_has_left_is_not_told() {
        let crowd = Crowd::default();
        drop(crowd.enter());
        assert!(!crowd.make_room());
    }

    #[tokio::test]
    async fn whoever_waits_is_woken_to_leave() {
        let crowd = Crowd::default();
        let member = crowd.enter();
        let seat = member.seat();
        let waiting = std::future::poll_fn(|context| seat.bounded(context, Poll::<io::Result<()>>::Pending));
        let (left, made) = tokio::join!(waiting, async { crowd.make_room() });
        assert_eq!((left.unwrap_err().kind(), made), (ErrorKind::ConnectionAborted, true));
    }
}
