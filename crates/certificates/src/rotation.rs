//! How one CA follows another without a moment in which a leaf is not trusted: publish, switch, retire.
//!
//! Published beside the current CA, the next one is trusted before anything is signed by it; switched, the previous one
//! stays trusted for one leaf life, since a replica may serve a leaf of it for so long. Each step is one write of the
//! Secret, and what the next one is follows from the Secret and the API server's clock: any replica takes it, after any
//! crash.

use std::time::Duration;

use jiff::Timestamp;

use super::ca_set::{CaSet, MOST_PREVIOUS, NextCa};

/// The lives and waits.
#[derive(Debug, Clone, Copy)]
pub struct CertificateTimings {
    pub ca_life: Duration,
    pub leaf_life: Duration,
    /// From the moment when the bundle with the next CA was read back to the signing by it: API servers hear of a changed
    /// configuration by a watch.
    pub publish_wait: Duration,
    /// Everything is looked at again after so long by the wall clock, whatever was told.
    pub level_check: Duration,
    /// Whether the bundle holds more than the CA that signs. No flag leads here: it is off in one program of the tests,
    /// which shows that they would see what is lost without it.
    pub overlap: bool,
}

impl Default for CertificateTimings {
    fn default() -> Self {
        Self {
            ca_life: Duration::from_secs(365 * 24 * 60 * 60),
            leaf_life: Duration::from_secs(7 * 24 * 60 * 60),
            publish_wait: Duration::from_secs(60),
            level_check: Duration::from_secs(60),
            overlap: true,
        }
    }
}

/// The step that a rotation takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RotationStep {
    /// Put a new CA beside the current one.
    Publish,
    /// MarkPublished that the next one is trusted from now on.
    MarkPublished,
    /// Sign by the next one.
    Switch,
    /// ConfigurationTrust the previous one no longer.
    Retire,
    /// The current one has expired, with none to follow: begin anew, without an overlap.
    Restart,
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RotationPlan {
    Do(RotationStep),
    /// Nothing before that time, unless something changes.
    Rest(Timestamp),
}

/// Decides by what the Secret holds. `is_read_back`: each configuration that exists was read with all of it in its bundle.
pub(super) fn plan(held: &CaSet, is_read_back: bool, times: &CertificateTimings, now: Timestamp) -> RotationPlan {
    let next = held.next.as_ref().map(|next| (next, next.authority.certificate()));
    if held.current.certificate().has_expired(now) {
        let follows = next.is_some_and(|(_, next)| next.is_valid(now));
        return RotationPlan::Do(if follows { RotationStep::Switch } else { RotationStep::Restart });
    }
    let retires = held.previous.iter().map(|previous| previous.ends(times.leaf_life)).min();
    let rotation = match next {
        // It was made by a clock that was off, or nobody ever trusted it. Nothing was signed by it: another will do.
        Some((_, certificate)) if !certificate.is_valid(now) => RotationPlan::Do(RotationStep::Publish),
        Some((next, _)) => match switching(next, is_read_back, times, now) {
            RotationPlan::Do(RotationStep::Switch) if held.previous.len() >= MOST_PREVIOUS => {
                RotationPlan::Rest(retires.unwrap_or(now))
            }
            switching => switching,
        },
        None => at(RotationStep::Publish, held.current.certificate().renewal(), now),
    };
    let retiring = retires.map(|due| at(RotationStep::Retire, due, now));
    match (rotation, retiring) {
        (RotationPlan::Rest(_), Some(step @ RotationPlan::Do(_))) | (step @ RotationPlan::Do(_), _) | (step, None) => {
            step
        }
        (RotationPlan::Rest(one), Some(RotationPlan::Rest(other))) => RotationPlan::Rest(one.min(other)),
    }
}

fn switching(next: &NextCa, is_read_back: bool, times: &CertificateTimings, now: Timestamp) -> RotationPlan {
    match next.published {
        // A time that has not come yet was not noted by any of us.
        Some(published) if published <= now && is_read_back => {
            at(RotationStep::Switch, after(published, times.publish_wait), now)
        }
        _ if is_read_back => RotationPlan::Do(RotationStep::MarkPublished),
        // Whoever keeps the bundle tells when it stands.
        _ => RotationPlan::Rest(after(now, times.level_check)),
    }
}

fn at(step: RotationStep, due: Timestamp, now: Timestamp) -> RotationPlan {
    if due <= now { RotationPlan::Do(step) } else { RotationPlan::Rest(due) }
}

fn after(from: Timestamp, wait: Duration) -> Timestamp {
    from.saturating_add(wait).unwrap_or(Timestamp::MAX)
}

impl RotationStep {
    pub const ALL: [Self; 5] = [Self::Publish, Self::MarkPublished, Self::Switch, Self::Retire, Self::Restart];

    /// One word, for logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::MarkPublished => "mark-published",
            Self::Switch => "switch",
            Self::Retire => "retire",
            Self::Restart => "restart",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::certificate_authority::CertificateAuthority;
    use super::*;

    const TIMES: CertificateTimings = CertificateTimings {
        ca_life: Duration::from_secs(30),
        leaf_life: Duration::from_secs(10),
        publish_wait: Duration::from_secs(3),
        level_check: Duration::from_secs(2),
        overlap: true,
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn first() -> CaSet {
        CaSet::alone(CertificateAuthority::generate(TIMES.ca_life, at(0)).unwrap())
    }

    /// With a successor made then.
    fn with_next(before: &CaSet, now: i64) -> CaSet {
        before.published(before.current.successor(TIMES.ca_life, at(now)).unwrap())
    }

    fn published(now: i64) -> CaSet {
        with_next(&first(), now)
    }

    #[test]
    fn a_rotation_goes_its_way_step_by_step() {
        let first = first();
        assert_eq!(plan(&first, true, &TIMES, at(5)), RotationPlan::Rest(at(20)));
        assert_eq!(plan(&first, true, &TIMES, at(20)), RotationPlan::Do(RotationStep::Publish));

        let published = published(20);
        assert_eq!(plan(&published, false, &TIMES, at(21)), RotationPlan::Rest(at(23)), "not before it is read back");
        assert_eq!(plan(&published, true, &TIMES, at(21)), RotationPlan::Do(RotationStep::MarkPublished));

        let noted = published.noted(at(21));
        assert_eq!(plan(&noted, true, &TIMES, at(22)), RotationPlan::Rest(at(24)));
        assert_eq!(plan(&noted, true, &TIMES, at(24)), RotationPlan::Do(RotationStep::Switch));
        assert_eq!(
            plan(&noted, false, &TIMES, at(24)),
            RotationPlan::Rest(at(26)),
            "not while the bundle is taken out"
        );

        let switched = noted.switched(at(24));
        assert_eq!(plan(&switched, true, &TIMES, at(25)), RotationPlan::Rest(at(30)), "its leaves end with it");
        assert_eq!(plan(&switched, true, &TIMES, at(30)), RotationPlan::Do(RotationStep::Retire));
        assert_eq!(plan(&switched.retired(TIMES.leaf_life, at(30)), true, &TIMES, at(30)), RotationPlan::Rest(at(40)));
    }

    #[test]
    fn the_previous_authority_is_retired_a_leaf_life_after_the_switch() {
        let switched = published(5).noted(at(6)).switched(at(9));
        assert_eq!(plan(&switched, true, &TIMES, at(10)), RotationPlan::Rest(at(19)));
        assert_eq!(plan(&switched, true, &TIMES, at(19)), RotationPlan::Do(RotationStep::Retire));
    }

    #[test]
    fn a_time_in_the_future_is_noted_anew() {
        assert_eq!(
            plan(&published(20).noted(at(900)), true, &TIMES, at(21)),
            RotationPlan::Do(RotationStep::MarkPublished)
        );
    }

    /// A clock that was ahead for a moment, by more than the hour for which certificates date back.
    const AHEAD: i64 = 2 * 60 * 60;

    #[test]
    fn nothing_is_signed_by_an_authority_that_is_not_valid() {
        let future = with_next(&first(), AHEAD).noted(at(2));
        let past = first().published(first().current.successor(TIMES.publish_wait, at(0)).unwrap()).noted(at(1));
        for (case, held, now, expected) in [
            ("the next one is not valid yet", &future, 10, RotationStep::Publish),
            ("the next one is over", &past, 10, RotationStep::Publish),
            ("the current one is over, and the next one not valid yet", &future, 30, RotationStep::Restart),
        ] {
            for is_read_back in [true, false] {
                assert_eq!(plan(held, is_read_back, &TIMES, at(now)), RotationPlan::Do(expected), "{case}");
            }
        }
        assert_eq!(
            plan(&with_next(&future, 10), true, &TIMES, at(11)),
            RotationPlan::Do(RotationStep::MarkPublished),
            "it goes its way then"
        );
    }

    #[test]
    fn an_expired_authority_is_followed_at_once() {
        assert_eq!(plan(&first(), true, &TIMES, at(30)), RotationPlan::Do(RotationStep::Restart));
        assert_eq!(plan(&published(20), false, &TIMES, at(30)), RotationPlan::Do(RotationStep::Switch));
        assert_eq!(
            plan(&published(20), false, &TIMES, at(90)),
            RotationPlan::Do(RotationStep::Restart),
            "both are over"
        );
    }

    #[test]
    fn rotations_in_quick_succession_go_on_until_there_are_too_many() {
        let mut held = first();
        for now in 1..=8 {
            let next = with_next(&held, now).noted(at(now - 3));
            assert_eq!(plan(&next, true, &TIMES, at(now)), RotationPlan::Do(RotationStep::Switch), "rotation {now}");
            held = next.switched(at(now));
        }
        let ninth = with_next(&held, 9).noted(at(6));
        assert_eq!(
            plan(&ninth, true, &TIMES, at(9)),
            RotationPlan::Rest(at(11)),
            "when the first one's leaves are over"
        );
        assert_eq!(plan(&ninth, true, &TIMES, at(11)), RotationPlan::Do(RotationStep::Retire));
        let retired = ninth.retired(TIMES.leaf_life, at(11));
        assert_eq!(plan(&retired, true, &TIMES, at(11)), RotationPlan::Do(RotationStep::Switch));
    }
}
