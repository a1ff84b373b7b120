//! A circuit breaker for each address that is asked: one kubelet that is away holds up no other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::circuit_breaker::{Breaker, Shown};

/// An address that was away and that nobody has wanted to ask for this much longer is forgotten. Long, since a revision
/// takes its nodes in turn by what is known of them.
const FORGET_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// One that was away counts as such until nobody has wanted to ask it for twice the longest wait, and this: whoever waits
/// for it would have, so its node may be gone.
const OF_CONCERN: SignedDuration = SignedDuration::from_secs(10);

/// The breakers of all addresses. Cloning gives another handle to the same.
#[derive(Clone, Default)]
pub struct Breakers(Arc<Mutex<HashMap<String, Breaker>>>);

/// How well an attempt at an address would go, as far as is known; the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Nothing speaks against it.
    Well,
    /// A record tells that it was away, and nothing more is known.
    WasAway,
    /// It was away the last time, and may be asked again since then.
    MayBeBack(Timestamp),
    /// It is away and not to be asked before then.
    Away(Timestamp),
    /// It was away, and somebody is asking it.
    Probed,
}

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

    /// How an attempt at that address stands, for whoever has this turn.
    pub fn standing(&self, address: Option<&str>, turn: &Turn, now: Timestamp) -> Standing {
        let Some(address) = address else { return Standing::Well };
        let is_mine = turn.is_probe && turn.address.as_deref() == Some(address);
        match self.lock().get(address) {
            None | Some(Breaker::Closed) => Standing::Well,
            Some(Breaker::Open { until, .. }) if *until <= now => Standing::MayBeBack(*until),
            Some(Breaker::Open { until, .. }) => Standing::Away(*until),
            Some(Breaker::Probing { .. }) if is_mine => Standing::MayBeBack(now),
            Some(Breaker::Probing { .. }) => Standing::Probed,
        }
    }

    /// How many addresses are away, those left out that nobody wants to ask any more. `longest` is the longest wait.
    pub fn away(&self, longest: Duration, now: Timestamp) -> usize {
        self.lock().values().filter(|breaker| is_of_concern(breaker, longest, now)).count()
    }

    /// When the next of them is left out, if nobody asks it.
    pub fn next_left_out(&self, longest: Duration, now: Timestamp) -> Option<Timestamp> {
        self.lock().values().filter_map(|breaker| of_concern_until(breaker, longest)).filter(|at| *at > now).min()
    }

    /// Whether no address is away, but perhaps the one that this attempt was made at.
    pub fn is_none_away_but(&self, turn: &Turn, longest: Duration, now: Timestamp) -> bool {
        let breakers = self.lock();
        let mut others = breakers.iter().filter(|(address, _)| turn.address.as_ref() != Some(address));
        others.all(|(_, breaker)| !is_of_concern(breaker, longest, now))
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

fn is_of_concern(breaker: &Breaker, longest: Duration, now: Timestamp) -> bool {
    of_concern_until(breaker, longest).is_none_or(|until| until > now)
}

/// `None`: it is being asked.
fn of_concern_until(breaker: &Breaker, longest: Duration) -> Option<Timestamp> {
    let longer =
        SignedDuration::try_from(longest.saturating_mul(2)).unwrap_or(SignedDuration::MAX).saturating_add(OF_CONCERN);
    breaker.opens_at().map(|at| at.saturating_add(longer).unwrap_or(Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AWAY: Shown = Shown::Away { retry_after: None };
    const LONGEST: Duration = Duration::from_secs(300);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn end(breakers: &Breakers, turn: &Turn, shown: Shown, now: Timestamp) {
        breakers.end(turn, shown, LONGEST, 0.5, now);
    }

    #[test]
    fn an_address_that_is_away_holds_up_no_other() {
        let breakers = Breakers::default();
        end(&breakers, &breakers.begin(Some("n1")), AWAY, at(0));
        assert!(!breakers.allows(Some("n1"), at(1)) && breakers.allows(Some("n2"), at(1)));
        assert!(breakers.allows(None, at(1)), "which one it is shows later");
        assert_eq!((breakers.away(LONGEST, at(1)), breakers.next_open(at(1))), (1, Some(at(2))));
        let (probe, other) = (breakers.begin(Some("n1")), breakers.begin(Some("n2")));
        let is_none_away_but = |turn| breakers.is_none_away_but(turn, LONGEST, at(2));
        assert!(is_none_away_but(&probe) && !is_none_away_but(&other));
        assert!(!breakers.allows(Some("n1"), at(9)), "the probe is under way");
        end(&breakers, &probe, Shown::Reached, at(9));
        assert!(breakers.allows(Some("n1"), at(9)));
        assert_eq!((breakers.away(LONGEST, at(9)), breakers.next_open(at(9))), (0, None));
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
        assert_eq!(breakers.away(LONGEST, at(2)), 1);
    }

    #[test]
    fn an_address_that_nobody_wants_to_ask_any_more_is_no_concern() {
        let breakers = Breakers::default();
        end(&breakers, &breakers.begin(Some("gone")), AWAY, at(0));
        let is_away = |now| (breakers.away(LONGEST, now), breakers.next_left_out(LONGEST, now));
        assert_eq!(is_away(at(611)), (1, Some(at(612))));
        assert_eq!(is_away(at(612)), (0, None));
        assert!(breakers.is_none_away_but(&Turn::default(), LONGEST, at(612)));
        let probe = breakers.begin(Some("gone"));
        assert_eq!(is_away(at(613)), (1, None), "somebody asks it after all");
        end(&breakers, &probe, AWAY, at(613));
        assert_eq!(is_away(at(613)), (1, Some(at(1227))));
    }

    #[test]
    fn an_address_is_forgotten_in_the_end() {
        let breakers = Breakers::default();
        end(&breakers, &breakers.begin(Some("gone")), AWAY, at(0));
        for (second, is_known) in [(86_402, true), (86_403, false)] {
            end(&breakers, &breakers.begin(Some("n2")), Shown::Reached, at(second));
            let standing = breakers.standing(Some("gone"), &Turn::default(), at(second));
            assert_eq!(standing != Standing::Well, is_known, "{standing:?}");
        }
    }

    #[test]
    fn an_address_stands_as_its_last_attempt_showed() {
        let (breakers, nobody) = (Breakers::default(), Turn::default());
        let standing = |turn: &Turn, now| breakers.standing(Some("n1"), turn, now);
        assert_eq!(standing(&nobody, at(0)), Standing::Well);
        end(&breakers, &breakers.begin(Some("n1")), AWAY, at(0));
        assert_eq!(standing(&nobody, at(1)), Standing::Away(at(2)));
        assert_eq!(standing(&nobody, at(3)), Standing::MayBeBack(at(2)));
        let probe = breakers.begin(Some("n1"));
        assert_eq!((standing(&nobody, at(4)), standing(&probe, at(4))), (Standing::Probed, Standing::MayBeBack(at(4))));
        end(&breakers, &probe, Shown::Reached, at(5));
        assert_eq!(standing(&nobody, at(5)), Standing::Well);
        assert_eq!(breakers.standing(None, &nobody, at(5)), Standing::Well);
    }
}
