//! How one CA follows another without a moment in which a leaf is not trusted: publish, switch, retire.
//!
//! Published beside the current CA, the next one is trusted before anything is signed by it; switched, the previous one
//! stays trusted for one leaf life, since a replica may serve a leaf of it for so long. Each step is one write of the
//! Secret, and what the next one is follows from the Secret alone: any replica takes it, after any crash.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::authority::{Authority, CaCertificate};
use super::bundle::bundle_pem;

/// The lives and waits.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    pub ca_life: Duration,
    pub leaf_life: Duration,
    /// From the moment when the bundle with the next CA was read back to the signing by it: API servers hear of a changed
    /// configuration by a watch.
    pub publish_wait: Duration,
    /// Everything is looked at again after so long by the wall clock, whatever was told.
    pub level_check: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            ca_life: Duration::from_secs(365 * 24 * 60 * 60),
            leaf_life: Duration::from_secs(7 * 24 * 60 * 60),
            publish_wait: Duration::from_secs(60),
            level_check: Duration::from_secs(60),
        }
    }
}

/// What the Secret holds.
#[derive(Debug, Clone)]
pub(super) struct Authorities {
    /// Signs.
    pub(super) current: Arc<Authority>,
    /// Is trusted already, and will sign.
    pub(super) next: Option<Next>,
    /// Is still trusted, and signs no more.
    pub(super) previous: Option<Previous>,
}

/// The CA that will sign next.
#[derive(Debug, Clone)]
pub(super) struct Next {
    pub(super) authority: Arc<Authority>,
    /// When the bundle with it was first read back from each configuration.
    pub(super) published: Option<Timestamp>,
}

/// The CA that signed before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Previous {
    pub(super) certificate: CaCertificate,
    /// When it signed last.
    pub(super) switched: Timestamp,
}

/// The step that a rotation takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Put a new CA beside the current one.
    Publish,
    /// Note that the next one is trusted from now on.
    Note,
    /// Sign by the next one.
    Switch,
    /// Trust the previous one no longer.
    Retire,
    /// The current one has expired, with none to follow: begin anew, without an overlap.
    StartOver,
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plan {
    Do(Step),
    /// Nothing before that time, unless something changes.
    Rest(Timestamp),
}

/// Decides by what the Secret holds. `is_read_back`: each configuration that exists was read with all of it in its bundle.
pub(super) fn plan(held: &Authorities, is_read_back: bool, times: &Times, now: Timestamp) -> Plan {
    if held.current.certificate().has_expired(now) {
        let follows = held.next.as_ref().is_some_and(|next| !next.authority.certificate().has_expired(now));
        return Plan::Do(if follows { Step::Switch } else { Step::StartOver });
    }
    let rotation = match &held.next {
        Some(next) => switching(next, is_read_back, times, now),
        None => at(Step::Publish, held.current.certificate().renewal(), now),
    };
    let retiring =
        held.previous.as_ref().map(|previous| at(Step::Retire, after(previous.switched, times.leaf_life), now));
    match (rotation, retiring) {
        (Plan::Rest(_), Some(step @ Plan::Do(_))) | (step @ Plan::Do(_), _) | (step, None) => step,
        (Plan::Rest(one), Some(Plan::Rest(other))) => Plan::Rest(one.min(other)),
    }
}

fn switching(next: &Next, is_read_back: bool, times: &Times, now: Timestamp) -> Plan {
    match next.published {
        // A time that has not come yet was not noted by any of us.
        Some(published) if published <= now && is_read_back => {
            at(Step::Switch, after(published, times.publish_wait), now)
        }
        _ if is_read_back => Plan::Do(Step::Note),
        // Whoever keeps the bundle tells when it stands.
        _ => Plan::Rest(after(now, times.level_check)),
    }
}

fn at(step: Step, due: Timestamp, now: Timestamp) -> Plan {
    if due <= now { Plan::Do(step) } else { Plan::Rest(due) }
}

fn after(from: Timestamp, wait: Duration) -> Timestamp {
    from.saturating_add(wait).unwrap_or(Timestamp::MAX)
}

impl Authorities {
    /// One CA that nothing follows yet.
    pub(super) fn alone(current: Authority) -> Self {
        Self { current: Arc::new(current), next: None, previous: None }
    }

    /// All that is to be trusted, as a `caBundle`.
    pub(super) fn bundle(&self) -> String {
        let next = self.next.iter().map(|next| next.authority.certificate());
        let previous = self.previous.iter().map(|previous| &previous.certificate);
        bundle_pem([self.current.certificate()].into_iter().chain(next).chain(previous).map(CaCertificate::pem))
    }

    /// With a CA to follow that nobody is known to trust yet.
    pub(super) fn published(&self, next: Authority) -> Self {
        Self { next: Some(Next { authority: Arc::new(next), published: None }), ..self.clone() }
    }

    /// With the time from which the next one is trusted.
    pub(super) fn noted(&self, now: Timestamp) -> Self {
        let next = self.next.as_ref().map(|next| Next { authority: next.authority.clone(), published: Some(now) });
        Self { next, ..self.clone() }
    }

    /// With the next one as the current one.
    pub(super) fn switched(&self, now: Timestamp) -> Self {
        let Some(next) = &self.next else { return self.clone() };
        let previous = Previous { certificate: self.current.certificate().clone(), switched: now };
        Self { current: next.authority.clone(), next: None, previous: Some(previous) }
    }

    /// Without the previous one.
    pub(super) fn retired(&self) -> Self {
        Self { previous: None, ..self.clone() }
    }

    /// Whether this takes the place of `other`: the later generation, and of one generation by a rule that all replicas
    /// share, so that of any two one gives way.
    pub(super) fn may_follow(&self, other: &Self) -> bool {
        let rank = |held: &Self| {
            let certificate = held.current.certificate();
            (certificate.generation(), certificate.pem().to_owned())
        };
        rank(self) >= rank(other)
    }

    /// Whether a rotation leads from `other` to this, so that what is served now is trusted by both.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        let served = other.current.certificate();
        self.current.certificate() == served
            || self.previous.as_ref().is_some_and(|previous| previous.certificate == *served)
    }

    /// This, trusting what was served before as well.
    pub(super) fn trusting(&self, before: &Self, now: Timestamp) -> Self {
        let previous = Previous { certificate: before.current.certificate().clone(), switched: now };
        Self { previous: Some(previous), ..self.clone() }
    }
}

impl Step {
    pub const ALL: [Self; 5] = [Self::Publish, Self::Note, Self::Switch, Self::Retire, Self::StartOver];

    /// One word, for logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Note => "note",
            Self::Switch => "switch",
            Self::Retire => "retire",
            Self::StartOver => "start-over",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: Times = Times {
        ca_life: Duration::from_secs(30),
        leaf_life: Duration::from_secs(10),
        publish_wait: Duration::from_secs(3),
        level_check: Duration::from_secs(2),
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn first() -> Authorities {
        Authorities::alone(Authority::generate(TIMES.ca_life, at(0)).unwrap())
    }

    fn published(now: i64) -> Authorities {
        let first = first();
        first.published(first.current.successor(TIMES.ca_life, at(now)).unwrap())
    }

    #[test]
    fn a_rotation_goes_its_way_step_by_step() {
        let first = first();
        assert_eq!(plan(&first, true, &TIMES, at(5)), Plan::Rest(at(20)));
        assert_eq!(plan(&first, true, &TIMES, at(20)), Plan::Do(Step::Publish));

        let published = published(20);
        assert_eq!(plan(&published, false, &TIMES, at(21)), Plan::Rest(at(23)), "not before it is read back");
        assert_eq!(plan(&published, true, &TIMES, at(21)), Plan::Do(Step::Note));

        let noted = published.noted(at(21));
        assert_eq!(plan(&noted, true, &TIMES, at(22)), Plan::Rest(at(24)));
        assert_eq!(plan(&noted, true, &TIMES, at(24)), Plan::Do(Step::Switch));
        assert_eq!(plan(&noted, false, &TIMES, at(24)), Plan::Rest(at(26)), "not while the bundle is taken out");

        let switched = noted.switched(at(24));
        assert_eq!(plan(&switched, true, &TIMES, at(30)), Plan::Rest(at(34)));
        assert_eq!(plan(&switched, true, &TIMES, at(34)), Plan::Do(Step::Retire));
        assert_eq!(plan(&switched.retired(), true, &TIMES, at(34)), Plan::Rest(at(40)));
    }

    #[test]
    fn all_that_may_be_served_with_is_trusted_at_each_step() {
        let count = |held: &Authorities| held.bundle().matches("BEGIN CERTIFICATE").count();
        let first = first();
        let published = first.published(first.current.successor(TIMES.ca_life, at(20)).unwrap());
        let switched = published.noted(at(21)).switched(at(24));
        assert_eq!([&first, &published, &switched, &switched.retired()].map(count), [1, 2, 2, 1]);
        assert_eq!(published.bundle(), switched.bundle(), "a switch changes no configuration");
        let again = switched.published(switched.current.successor(TIMES.ca_life, at(40)).unwrap());
        assert_eq!(count(&again), 3);
    }

    #[test]
    fn a_time_in_the_future_is_noted_anew() {
        assert_eq!(plan(&published(20).noted(at(900)), true, &TIMES, at(21)), Plan::Do(Step::Note));
    }

    #[test]
    fn an_expired_authority_is_followed_at_once() {
        assert_eq!(plan(&first(), true, &TIMES, at(30)), Plan::Do(Step::StartOver));
        assert_eq!(plan(&published(20), false, &TIMES, at(30)), Plan::Do(Step::Switch));
        assert_eq!(plan(&published(20), false, &TIMES, at(90)), Plan::Do(Step::StartOver), "both are over");
    }

    #[test]
    fn only_a_later_authority_takes_the_place_of_one() {
        let first = first();
        let later = published(20).noted(at(21)).switched(at(24));
        let other = super::tests::first();
        assert!(first.may_follow(&first) && later.may_follow(&first));
        assert!(!first.may_follow(&later) && !other.may_follow(&later));
        assert_ne!(other.may_follow(&first), first.may_follow(&other), "of two of one generation one gives way");
    }

    #[test]
    fn what_is_served_goes_on_being_trusted_by_whatever_follows() {
        let (first, foreign) = (first(), published(20).noted(at(21)).switched(at(24)));
        assert!(published(20).noted(at(21)).switched(at(24)).retired().previous.is_none());
        assert!(!foreign.overlaps(&first));
        let trusting = foreign.trusting(&first, at(30));
        assert!(trusting.overlaps(&first) && trusting.bundle().contains(first.current.certificate().pem()));
    }
}
