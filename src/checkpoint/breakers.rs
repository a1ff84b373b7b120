//! A circuit breaker for each address that is asked: one kubelet that is away holds up no other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::breaker::{Breaker, Shown};

/// An address that was away and that nobody has wanted to ask for this much longer is forgotten: its node may be gone.
const FORGET_AFTER: SignedDuration = SignedDuration::from_hours(1);

/// The breakers of all addresses. Cloning gives another handle to the same.
#[derive(Clone, Default)]
pub struct Breakers(Arc<Mutex<HashMap<String, Breaker>>>);

/// The right to make one attempt, at one address as far as it is known.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Turn {
    address: Option<String>,
    is_probe: bool,
}

impl Breakers {
    /// Whether an attempt at that address, if it is known yet, may be made now.
    pub fn allows(&self, address: Option<&str>, now: Timestamp) -> bool {
        address.is_none_or(|address| self.lock().get(address).is_none_or(|breaker| breaker.allows(now)))
    }

    /// An attempt begins that was allowed.
    pub fn begin(&self, address: Option<&str>) -> Turn {
        let is_probe = address.is_some_and(|address| self.lock().get_mut(address).is_some_and(Breaker::begin));
        Turn { address: address.map(str::to_owned), is_probe }
    }

    /// Moves an attempt to the address that it turned out to be about; false: that one may not be asked now.
    pub fn move_to(&self, turn: &mut Turn, address: Option<&str>, now: Timestamp) -> bool {
        if turn.address.as_deref() == address {
            return true;
        }
        self.end(&std::mem::take(turn), Shown::Nothing, Duration::ZERO, 0.0, now);
        let may = self.allows(address, now);
        if may {
            *turn = self.begin(address);
        }
        may
    }

    /// An attempt ended. `jitter` is from 0 to 1.
    pub fn end(&self, turn: &Turn, shown: Shown, longest: Duration, jitter: f64, now: Timestamp) {
        let Some(address) = &turn.address else { return };
        let mut breakers = self.lock();
        let breaker = breakers.entry(address.clone()).or_default();
        breaker.end(turn.is_probe, shown, longest, jitter, now);
        breakers.retain(|_, breaker| *breaker != Breaker::Closed && !is_forgotten(breaker, now));
    }

    /// How many addresses are away.
    pub fn away(&self) -> usize {
        self.lock().len()
    }

    /// Whether no address is away, but perhaps the one that this attempt was made at.
    pub fn is_none_away_but(&self, turn: &Turn) -> bool {
        self.lock().keys().all(|address| turn.address.as_ref() == Some(address))
    }

    /// When an address may be asked again, the next one after `now`.
    pub fn next_open(&self, now: Timestamp) -> Option<Timestamp> {
        self.lock().values().filter_map(Breaker::opens_at).filter(|at| *at > now).min()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Breaker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_forgotten(breaker: &Breaker, now: Timestamp) -> bool {
    breaker.opens_at().is_some_and(|at| now.duration_since(at) > FORGET_AFTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AWAY: Shown = Shown::Away { retry_after: None };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn end(breakers: &Breakers, turn: &Turn, shown: Shown, now: Timestamp) {
        breakers.end(turn, shown, Duration::from_secs(300), 0.5, now);
    }

    #[test]
    fn an_address_that_is_away_holds_up_no_other() {
        let breakers = Breakers::default();
        end(&breakers, &breakers.begin(Some("n1")), AWAY, at(0));
        assert!(!breakers.allows(Some("n1"), at(1)) && breakers.allows(Some("n2"), at(1)));
        assert!(breakers.allows(None, at(1)), "which one it is shows later");
        assert_eq!((breakers.away(), breakers.next_open(at(1))), (1, Some(at(2))));
        let (probe, other) = (breakers.begin(Some("n1")), breakers.begin(Some("n2")));
        assert!(breakers.is_none_away_but(&probe) && !breakers.is_none_away_but(&other));
        assert!(!breakers.allows(Some("n1"), at(9)), "the probe is under way");
        end(&breakers, &probe, Shown::Reached, at(9));
        assert!(breakers.allows(Some("n1"), at(9)));
        assert_eq!((breakers.away(), breakers.next_open(at(9))), (0, None));
    }

    #[test]
    fn an_attempt_is_counted_at_the_address_that_it_turns_out_to_be_about() {
        let breakers = Breakers::default();
        let mut turn = breakers.begin(None);
        assert!(breakers.move_to(&mut turn, Some("n1"), at(0)));
        end(&breakers, &turn, AWAY, at(0));
        let mut turn = breakers.begin(None);
        assert!(!breakers.move_to(&mut turn, Some("n1"), at(1)), "it is away");
        assert_eq!(turn, Turn::default());
        end(&breakers, &turn, Shown::Nothing, at(1));
        let mut probe = breakers.begin(Some("n1"));
        assert!(breakers.move_to(&mut probe, Some("n2"), at(2)));
        assert!(breakers.allows(Some("n1"), at(2)), "the probe that went elsewhere has passed its turn on");
        end(&breakers, &probe, Shown::Reached, at(2));
        assert_eq!(breakers.away(), 1);
    }

    #[test]
    fn an_address_that_nobody_wants_to_ask_any_more_is_forgotten() {
        let breakers = Breakers::default();
        end(&breakers, &breakers.begin(Some("gone")), AWAY, at(0));
        end(&breakers, &breakers.begin(Some("n1")), AWAY, at(3600));
        assert_eq!(breakers.away(), 2);
        end(&breakers, &breakers.begin(Some("n2")), Shown::Reached, at(3603));
        assert_eq!(breakers.away(), 1);
    }
}
