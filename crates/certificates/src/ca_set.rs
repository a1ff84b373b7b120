//! What the Secret holds: the CA that signs, the one that will, and those that did and may be served by still.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::ca_bundle::join_certificates;
use super::certificate_authority::{CaCertificate, CertificateAuthority};

/// More CAs of the past are not kept: a bundle that grows with each rotation would not fit into an object one day. A
/// rotation waits then, see [`plan`](super::rotation::plan).
pub(super) const MOST_PREVIOUS: usize = 8;

#[derive(Debug, Clone)]
pub(super) struct CaSet {
    /// Signs.
    pub(super) current: Arc<CertificateAuthority>,
    /// Is trusted already, and will sign.
    pub(super) next: Option<NextCa>,
    /// Are still trusted, and sign no more; the last one first. A replica that is cut off from the API server may serve
    /// by one of them for a leaf's life, however many rotations there were since. For longer it is not waited for: it would
    /// have to be called by an API server that it can't reach itself.
    pub(super) previous: Vec<PreviousCa>,
}

/// The CA that will sign next.
#[derive(Debug, Clone)]
pub(super) struct NextCa {
    pub(super) authority: Arc<CertificateAuthority>,
    /// When the bundle with it was first read back from each configuration.
    pub(super) published: Option<Timestamp>,
}

/// A CA that signed before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PreviousCa {
    pub(super) certificate: CaCertificate,
    /// When it signed last.
    pub(super) switched: Timestamp,
}

/// What to do about a Secret that holds this, with that in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Take it for what is.
    Follow,
    /// Put back what is in use.
    PutBack,
    /// It is a later CA, to which no rotation leads: let it follow the one in use, as any next one.
    Queue,
}

impl PreviousCa {
    /// When nothing of it is served any more: a leaf of it was last made when another signed.
    pub(super) fn ends(&self, leaf_life: Duration) -> Timestamp {
        let last = self.switched.saturating_add(leaf_life).unwrap_or(Timestamp::MAX);
        last.min(self.certificate.not_after())
    }
}

impl CaSet {
    /// One CA that nothing follows yet.
    pub(super) fn alone(current: CertificateAuthority) -> Self {
        Self { current: Arc::new(current), next: None, previous: Vec::new() }
    }

    /// All that is to be trusted, as a `caBundle`; without `overlap` just what signs.
    pub(super) fn bundle(&self, overlap: bool) -> String {
        if !overlap {
            return join_certificates([self.current.certificate().pem()]);
        }
        let next = self.next.iter().map(|next| next.authority.certificate());
        let previous = self.previous.iter().map(|previous| &previous.certificate);
        join_certificates([self.current.certificate()].into_iter().chain(next).chain(previous).map(CaCertificate::pem))
    }

    /// With a CA to follow that nobody is known to trust yet.
    pub(super) fn published(&self, next: CertificateAuthority) -> Self {
        Self { next: Some(NextCa { authority: Arc::new(next), published: None }), ..self.clone() }
    }

    /// With the time from which the next one is trusted.
    pub(super) fn noted(&self, now: Timestamp) -> Self {
        let next = self.next.as_ref().map(|next| NextCa { authority: next.authority.clone(), published: Some(now) });
        Self { next, ..self.clone() }
    }

    /// With the next one as the current one.
    pub(super) fn switched(&self, now: Timestamp) -> Self {
        let Some(next) = &self.next else { return self.clone() };
        let mut previous = self.previous.clone();
        // Nobody trusts what has expired.
        if !self.current.certificate().has_expired(now) {
            previous.insert(0, PreviousCa { certificate: self.current.certificate().clone(), switched: now });
        }
        Self { current: next.authority.clone(), next: None, previous }
    }

    /// Without the previous ones of which nothing is served any more.
    pub(super) fn retired(&self, leaf_life: Duration, now: Timestamp) -> Self {
        let mut retired = self.clone();
        retired.previous.retain(|previous| previous.ends(leaf_life) > now);
        retired
    }

    /// With a CA in the place of one that has expired. What was signed before that is trusted on as long as it is valid.
    pub(super) fn restarted(&self, successor: CertificateAuthority, now: Timestamp) -> Self {
        let mut previous = self.previous.clone();
        previous.retain(|previous| !previous.certificate.has_expired(now));
        Self { current: Arc::new(successor), next: None, previous }
    }

    /// What to do about this in the Secret, with `held` in use.
    pub(super) fn judged(&self, held: &Self, now: Timestamp) -> Verdict {
        let (found, in_use) = (self.current.certificate(), held.current.certificate());
        if found == in_use || !in_use.is_valid(now) {
            return Verdict::Follow;
        }
        if !found.is_valid(now) {
            return Verdict::PutBack;
        }
        let comes_before = self.previous.iter().any(|previous| previous.certificate == *in_use);
        // Somebody else was served by an earlier one, and let what is in use here follow it.
        let comes_next = self.next.as_ref().is_some_and(|next| next.authority.certificate() == in_use);
        // Of one generation, by a rule that all replicas share, so that of any two one gives way.
        let rank = |certificate: &CaCertificate| (certificate.generation(), certificate.pem().to_owned());
        // Others may sign by the next one already.
        let next = held.next.iter().map(|next| next.authority.certificate()).filter(|next| next.is_valid(now));
        let is_later = rank(found) > rank(in_use) && next.into_iter().all(|next| rank(found) >= rank(next));
        if comes_before || comes_next {
            Verdict::Follow
        } else if is_later {
            Verdict::Queue
        } else {
            Verdict::PutBack
        }
    }

    /// What is in use, with the current one of `later` to follow. What may be served by is trusted on: by either, and by
    /// the next one, which others may sign by already.
    pub(super) fn queued(&self, later: &Self, now: Timestamp) -> Self {
        let mut queued = self.clone();
        queued.next = Some(NextCa { authority: later.current.clone(), published: None });
        let next = self.next.iter().map(|next| next.authority.certificate().clone());
        let next = next.filter(|next| next != later.current.certificate());
        let next = next.map(|certificate| PreviousCa { certificate, switched: now });
        for previous in next.chain(later.previous.iter().cloned()) {
            let is_known = queued.previous.iter().any(|known| known.certificate == previous.certificate);
            if !is_known && queued.previous.len() < MOST_PREVIOUS {
                queued.previous.push(previous);
            }
        }
        queued
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_secs(30);
    const LEAF_LIFE: Duration = Duration::from_secs(10);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn first() -> CaSet {
        CaSet::alone(CertificateAuthority::generate(LIFE, at(0)).unwrap())
    }

    /// With a successor made then.
    fn published(before: &CaSet, now: i64) -> CaSet {
        before.published(before.current.successor(LIFE, at(now)).unwrap())
    }

    fn followed(before: &CaSet, now: i64) -> CaSet {
        published(before, now).noted(at(now)).switched(at(now))
    }

    fn count(held: &CaSet) -> usize {
        held.bundle(true).matches("BEGIN CERTIFICATE").count()
    }

    #[test]
    fn all_that_may_be_served_with_is_trusted_at_each_step() {
        let first = first();
        let published = published(&first, 20);
        let switched = published.noted(at(21)).switched(at(24));
        let retired = switched.retired(LEAF_LIFE, at(34));
        assert_eq!([&first, &published, &switched, &retired].map(count), [1, 2, 2, 1]);
        assert_eq!(published.bundle(true), switched.bundle(true), "a switch changes no configuration");
    }

    #[test]
    fn rotations_in_quick_succession_trust_all_that_may_be_served_with() {
        let first = first();
        let third = followed(&followed(&first, 1), 2);
        assert_eq!(count(&third), 3);
        assert!(third.bundle(true).contains(first.current.certificate().pem()));
        assert_eq!(count(&third.retired(LEAF_LIFE, at(11))), 2, "each is dropped in its own time");
        assert_eq!(count(&third.retired(LEAF_LIFE, at(12))), 1);
    }

    #[test]
    fn what_has_expired_is_not_trusted_on() {
        let late = published(&first(), 20).switched(at(30));
        assert!(late.previous.is_empty());
        let shortly_before = followed(&first(), 29);
        assert_eq!(count(&shortly_before.retired(LEAF_LIFE, at(30))), 1, "its leaves end with it");
    }

    #[test]
    fn a_new_start_keeps_what_is_valid_still() {
        let later = CaSet::alone(CertificateAuthority::generate(2 * LIFE, at(0)).unwrap());
        let short = later.published(later.current.successor(LIFE, at(1)).unwrap()).switched(at(2));
        for (now, expected) in [(31, 2), (60, 1)] {
            let over = short.restarted(short.current.successor(LIFE, at(now)).unwrap(), at(now));
            assert_eq!(count(&over), expected, "at {now}");
        }
    }

    #[test]
    fn what_is_found_is_followed_put_back_or_queued() {
        let held = followed(&first(), 1);
        let [lower, higher] = [first(), followed(&followed(&first(), 1), 2).retired(Duration::ZERO, at(2))];
        let expired = CaSet::alone(held.current.successor(Duration::from_secs(1), at(1)).unwrap());
        let future = CaSet::alone(held.current.successor(LIFE, at(2 * 60 * 60)).unwrap());
        let rotated = followed(&held, 3);
        let queued = lower.queued(&held, at(1));
        let fourth = followed(&followed(&followed(&held, 1), 1), 1);
        let followed_by_a_fourth = held.queued(&fourth, at(1));
        for (case, found, held, expected) in [
            ("the same", &held, &held, Verdict::Follow),
            ("what is in use was rotated", &rotated, &held, Verdict::Follow),
            ("the rotation is taken back", &held, &rotated, Verdict::PutBack),
            ("an earlier one", &lower, &held, Verdict::PutBack),
            ("a later one", &higher, &held, Verdict::Queue),
            ("one before the next one, by which others may sign", &higher, &followed_by_a_fourth, Verdict::PutBack),
            ("a later one that has expired", &expired, &held, Verdict::PutBack),
            ("a later one that is not valid yet", &future, &held, Verdict::PutBack),
            ("an earlier one in use elsewhere, which lets this follow", &queued, &held, Verdict::Follow),
            ("what is in use has expired", &lower, &expired, Verdict::Follow),
            ("what is in use is not valid yet", &lower, &future, Verdict::Follow),
        ] {
            assert_eq!(found.judged(held, at(10)), expected, "{case}");
        }
    }

    #[test]
    fn of_two_of_one_generation_one_gives_way() {
        let (one, other) = (first(), first());
        let verdicts = [one.judged(&other, at(1)), other.judged(&one, at(1))];
        assert!(verdicts.contains(&Verdict::Queue) && verdicts.contains(&Verdict::PutBack), "{verdicts:?}");
    }

    #[test]
    fn what_is_queued_follows_without_a_gap() {
        let (held, later) = (followed(&first(), 1), followed(&followed(&first(), 1), 2));
        let queued = held.queued(&later, at(3));
        assert_eq!(queued.current.certificate(), held.current.certificate());
        assert_eq!(count(&queued), 5, "both, with what came before each");
        assert_eq!(queued.judged(&held, at(3)), Verdict::Follow);
        let switching = published(&held, 3).queued(&later, at(4));
        assert_eq!(count(&switching), 6, "the next one too, by which others may sign");
        assert_eq!(queued.noted(at(3)).switched(at(6)).judged(&held, at(6)), Verdict::Follow);
    }
}
