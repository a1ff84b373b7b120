//! How one CA follows another without a moment in which a serving certificate is not trusted: publish, switch, retire.
//!
//! The next CA is published beside the current one, so that it is trusted before it signs. After the switch the previous CA
//! stays trusted for the life of a serving certificate, since a replica may serve by it for so long. Each step is one write
//! of the Secret and follows from the Secret and the API server's clock, so that any replica can take it after any crash.

use std::time::Duration;

use jiff::Timestamp;

use super::ca_set::{CaSet, MAX_PREVIOUS, NextCa};

/// How long certificates live, and how long the controllers wait.
#[derive(Debug, Clone, Copy)]
pub struct CertificateTimings {
    pub ca_life: Duration,
    pub serving_life: Duration,
    /// From the moment at which the next CA was read back from the caBundle to the switch: API servers learn of a changed
    /// configuration by a watch.
    pub publish_wait: Duration,
    /// How often everything is read again without a watch event.
    pub level_check: Duration,
}

/// A step of a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RotationStep {
    /// Add a next CA beside the current one.
    Publish,
    /// Record that the next CA was read back from every caBundle.
    MarkPublished,
    /// Sign by the next CA.
    Switch,
    /// Remove the previous CA.
    Retire,
    /// Replace a CA that has expired and that no other one follows.
    Restart,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RotationPlan {
    Take(RotationStep),
    /// Nothing before this time, unless the Secret or a caBundle changes.
    WaitUntil(Timestamp),
}

/// Plans by the Secret's CAs. `is_published` says whether every caBundle was read back with all of them.
///
/// [`next_step`](super::decision::next_step) may delay a planned `Switch`.
pub(super) fn plan(set: &CaSet, is_published: bool, timings: &CertificateTimings, now: Timestamp) -> RotationPlan {
    let next = set.next.as_ref().map(|next| (next, next.authority.certificate()));
    if set.current.certificate().has_expired(now) {
        let can_sign = next.is_some_and(|(_, next)| next.is_valid(now));
        return RotationPlan::Take(if can_sign { RotationStep::Switch } else { RotationStep::Restart });
    }
    let retires_at = set.previous.iter().map(|previous| previous.retires_at(timings.serving_life)).min();
    let rotation = match next {
        // A wrong clock made it, or no caBundle ever contained it. It has signed nothing, so another one replaces it.
        Some((_, certificate)) if !certificate.is_valid(now) => RotationPlan::Take(RotationStep::Publish),
        Some((next, _)) => match plan_switch(next, is_published, timings, now) {
            RotationPlan::Take(RotationStep::Switch) if set.previous.len() >= MAX_PREVIOUS => {
                RotationPlan::WaitUntil(retires_at.unwrap_or(now))
            }
            planned => planned,
        },
        None => take_at(RotationStep::Publish, set.current.certificate().renewal(), now),
    };
    let retirement = retires_at.map(|due| take_at(RotationStep::Retire, due, now));
    match (rotation, retirement) {
        (RotationPlan::WaitUntil(_), Some(step @ RotationPlan::Take(_)))
        | (step @ RotationPlan::Take(_), _)
        | (step, None) => step,
        (RotationPlan::WaitUntil(one), Some(RotationPlan::WaitUntil(other))) => RotationPlan::WaitUntil(one.min(other)),
    }
}

fn plan_switch(next: &NextCa, is_published: bool, timings: &CertificateTimings, now: Timestamp) -> RotationPlan {
    match next.published {
        // No replica has written a time in the future.
        Some(published) if published <= now && is_published => {
            take_at(RotationStep::Switch, after(published, timings.publish_wait), now)
        }
        _ if is_published => RotationPlan::Take(RotationStep::MarkPublished),
        // A change of the bundle status ends this wait.
        _ => RotationPlan::WaitUntil(after(now, timings.level_check)),
    }
}

fn take_at(step: RotationStep, due: Timestamp, now: Timestamp) -> RotationPlan {
    if due <= now { RotationPlan::Take(step) } else { RotationPlan::WaitUntil(due) }
}

fn after(from: Timestamp, wait: Duration) -> Timestamp {
    from.saturating_add(wait).unwrap_or(Timestamp::MAX)
}

impl RotationStep {
    pub const ALL: [Self; 5] = [Self::Publish, Self::MarkPublished, Self::Switch, Self::Retire, Self::Restart];

    /// The value of the metric's label `step`.
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

    /// For the log.
    pub(super) const fn description(self) -> &'static str {
        match self {
            Self::Publish => "the next CA is trusted beside the current one",
            Self::MarkPublished => "next CA is present in all caBundles",
            Self::Switch => "the next CA signs from now on",
            Self::Retire => "the previous CA is no longer trusted",
            Self::Restart => "the CA had expired; a new one replaces it without an overlap",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::certificate_authority::CertificateAuthority;
    use super::*;

    const TIMINGS: CertificateTimings = CertificateTimings {
        ca_life: Duration::from_secs(30),
        serving_life: Duration::from_secs(10),
        publish_wait: Duration::from_secs(3),
        level_check: Duration::from_secs(2),
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn first() -> CaSet {
        CaSet::of(CertificateAuthority::generate(TIMINGS.ca_life, at(0)).unwrap())
    }

    /// With a successor made then.
    fn with_next(before: &CaSet, now: i64) -> CaSet {
        before.with_next(before.current.successor(TIMINGS.ca_life, at(now)).unwrap())
    }

    fn published(now: i64) -> CaSet {
        with_next(&first(), now)
    }

    #[test]
    fn a_rotation_takes_one_step_after_the_other() {
        let first = first();
        assert_eq!(plan(&first, true, &TIMINGS, at(5)), RotationPlan::WaitUntil(at(20)));
        assert_eq!(plan(&first, true, &TIMINGS, at(20)), RotationPlan::Take(RotationStep::Publish));

        let published = published(20);
        assert_eq!(
            plan(&published, false, &TIMINGS, at(21)),
            RotationPlan::WaitUntil(at(23)),
            "not before it is read back"
        );
        assert_eq!(plan(&published, true, &TIMINGS, at(21)), RotationPlan::Take(RotationStep::MarkPublished));

        let marked = published.with_next_published(at(21));
        assert_eq!(plan(&marked, true, &TIMINGS, at(22)), RotationPlan::WaitUntil(at(24)));
        assert_eq!(plan(&marked, true, &TIMINGS, at(24)), RotationPlan::Take(RotationStep::Switch));
        assert_eq!(
            plan(&marked, false, &TIMINGS, at(24)),
            RotationPlan::WaitUntil(at(26)),
            "not while the bundle is missing"
        );

        let switched = marked.switched(at(24));
        assert_eq!(
            plan(&switched, true, &TIMINGS, at(25)),
            RotationPlan::WaitUntil(at(30)),
            "its serving certificates end with it"
        );
        assert_eq!(plan(&switched, true, &TIMINGS, at(30)), RotationPlan::Take(RotationStep::Retire));
        assert_eq!(
            plan(&switched.retired(TIMINGS.serving_life, at(30)), true, &TIMINGS, at(30)),
            RotationPlan::WaitUntil(at(40))
        );
    }

    #[test]
    fn the_previous_authority_is_retired_a_serving_life_after_the_switch() {
        let switched = published(5).with_next_published(at(6)).switched(at(9));
        assert_eq!(plan(&switched, true, &TIMINGS, at(10)), RotationPlan::WaitUntil(at(19)));
        assert_eq!(plan(&switched, true, &TIMINGS, at(19)), RotationPlan::Take(RotationStep::Retire));
    }

    #[test]
    fn a_publication_time_in_the_future_is_recorded_again() {
        assert_eq!(
            plan(&published(20).with_next_published(at(900)), true, &TIMINGS, at(21)),
            RotationPlan::Take(RotationStep::MarkPublished)
        );
    }

    /// A clock that was ahead for a moment, by more than the hour for which certificates date back.
    const AHEAD: i64 = 2 * 60 * 60;

    #[test]
    fn a_ca_that_is_not_valid_signs_nothing() {
        let future = with_next(&first(), AHEAD).with_next_published(at(2));
        let past = first()
            .with_next(first().current.successor(TIMINGS.publish_wait, at(0)).unwrap())
            .with_next_published(at(1));
        for (case, held, now, expected) in [
            ("the next one is not valid yet", &future, 10, RotationStep::Publish),
            ("the next one has expired", &past, 10, RotationStep::Publish),
            ("the current one has expired, and the next one not valid yet", &future, 30, RotationStep::Restart),
        ] {
            for is_read_back in [true, false] {
                assert_eq!(plan(held, is_read_back, &TIMINGS, at(now)), RotationPlan::Take(expected), "{case}");
            }
        }
        assert_eq!(
            plan(&with_next(&future, 10), true, &TIMINGS, at(11)),
            RotationPlan::Take(RotationStep::MarkPublished),
            "the new next CA takes its steps"
        );
    }

    #[test]
    fn an_expired_ca_is_replaced_at_once() {
        assert_eq!(plan(&first(), true, &TIMINGS, at(30)), RotationPlan::Take(RotationStep::Restart));
        assert_eq!(plan(&published(20), false, &TIMINGS, at(30)), RotationPlan::Take(RotationStep::Switch));
        assert_eq!(
            plan(&published(20), false, &TIMINGS, at(90)),
            RotationPlan::Take(RotationStep::Restart),
            "both have expired"
        );
    }

    #[test]
    fn a_rotation_waits_while_there_are_too_many_previous_cas() {
        let mut held = first();
        for now in 1..=8 {
            let next = with_next(&held, now).with_next_published(at(now - 3));
            assert_eq!(
                plan(&next, true, &TIMINGS, at(now)),
                RotationPlan::Take(RotationStep::Switch),
                "rotation {now}"
            );
            held = next.switched(at(now));
        }
        let ninth = with_next(&held, 9).with_next_published(at(6));
        assert_eq!(
            plan(&ninth, true, &TIMINGS, at(9)),
            RotationPlan::WaitUntil(at(11)),
            "when the serving certificates of the first one have expired"
        );
        assert_eq!(plan(&ninth, true, &TIMINGS, at(11)), RotationPlan::Take(RotationStep::Retire));
        let retired = ninth.retired(TIMINGS.serving_life, at(11));
        assert_eq!(plan(&retired, true, &TIMINGS, at(11)), RotationPlan::Take(RotationStep::Switch));
    }
}
