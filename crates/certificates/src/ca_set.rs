//! The CAs that the replicas share: the one that signs, the next one, and the previous ones that are still trusted.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::certificate_authority::{CaCertificate, CertificateAuthority};
use super::error::CertificateError;
use super::pem::join_certificates;

/// The most previous CAs, so that a caBundle stays small. While there are so many, a rotation waits with its switch.
pub(super) const MAX_PREVIOUS: usize = 8;

/// What the Secret contains.
#[derive(Debug, Clone)]
pub(super) struct CaSet {
    /// Signs serving certificates.
    pub(super) current: Arc<CertificateAuthority>,
    /// Is already trusted and will sign.
    pub(super) next: Option<NextCa>,
    /// Signed before and are still trusted, the latest first. A replica without a connection to the API server may serve
    /// by one of them for the life of a serving certificate, whatever was rotated since.
    pub(super) previous: Vec<PreviousCa>,
    /// CAs up to this generation are revoked, and never trusted again. 0 if none is.
    pub(super) revoked: u64,
}

/// The CA that will sign next.
#[derive(Debug, Clone)]
pub(super) struct NextCa {
    pub(super) authority: Arc<CertificateAuthority>,
    /// When it was first read back from every caBundle.
    pub(super) published: Option<Timestamp>,
}

/// A CA that signed before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PreviousCa {
    pub(super) certificate: CaCertificate,
    /// When it signed last.
    pub(super) switched: Timestamp,
}

impl PreviousCa {
    /// When the last serving certificate of it expires.
    pub(super) fn retires_at(&self, serving_life: Duration) -> Timestamp {
        let last = self.switched.saturating_add(serving_life).unwrap_or(Timestamp::MAX);
        last.min(self.certificate.not_after())
    }
}

impl CaSet {
    /// One CA without others.
    pub(super) fn of(current: CertificateAuthority) -> Self {
        Self { current: Arc::new(current), next: None, previous: Vec::new(), revoked: 0 }
    }

    /// All CAs, as a `caBundle`.
    pub(super) fn bundle(&self) -> String {
        join_certificates(self.certificates().map(CaCertificate::pem))
    }

    /// Whether this CA is the current, the next or a previous one.
    pub(super) fn contains(&self, certificate: &CaCertificate) -> bool {
        self.certificates().any(|other| other == certificate)
    }

    /// The highest generation of its valid CAs.
    pub(super) fn latest_generation(&self, now: Timestamp) -> u64 {
        self.certificates().filter(|ca| ca.is_valid(now)).map(CaCertificate::generation).max().unwrap_or(0)
    }

    fn certificates(&self) -> impl Iterator<Item = &CaCertificate> {
        let next = self.next.iter().map(|next| next.authority.certificate());
        [self.current.certificate()].into_iter().chain(next).chain(self.previous.iter().map(|ca| &ca.certificate))
    }

    /// With this next CA, which is not published yet.
    pub(super) fn with_next(&self, next: CertificateAuthority) -> Self {
        Self { next: Some(NextCa { authority: Arc::new(next), published: None }), ..self.clone() }
    }

    /// With the time at which the next CA was read back.
    pub(super) fn with_next_published(&self, now: Timestamp) -> Self {
        let next = self.next.as_ref().map(|next| NextCa { authority: next.authority.clone(), published: Some(now) });
        Self { next, ..self.clone() }
    }

    /// With the next CA as the current one.
    pub(super) fn switched(&self, now: Timestamp) -> Self {
        let Some(next) = &self.next else { return self.clone() };
        let mut previous = self.previous.clone();
        if !self.current.certificate().has_expired(now) {
            previous.insert(0, PreviousCa { certificate: self.current.certificate().clone(), switched: now });
        }
        Self { current: next.authority.clone(), next: None, previous, revoked: self.revoked }
    }

    /// Without the previous CAs whose serving certificates have all expired.
    pub(super) fn retired(&self, serving_life: Duration, now: Timestamp) -> Self {
        let mut retired = self.clone();
        retired.previous.retain(|previous| previous.retires_at(serving_life) > now);
        retired
    }

    /// With a new CA in place of one that has expired. Previous CAs stay while they are valid.
    pub(super) fn restarted(&self, successor: CertificateAuthority, now: Timestamp) -> Self {
        let mut previous = self.previous.clone();
        previous.retain(|previous| !previous.certificate.has_expired(now));
        Self { current: Arc::new(successor), next: None, previous, revoked: self.revoked }
    }

    /// A new CA alone, by which all CAs of this set are revoked, and with them all earlier ones.
    pub(super) fn revoke(&self, life: Duration, now: Timestamp) -> Result<Self, CertificateError> {
        let latest = self.certificates().map(CaCertificate::generation).max().unwrap_or(0).max(self.revoked);
        let successor = CertificateAuthority::make(latest.saturating_add(1), life, now)?;
        Ok(Self { revoked: latest, ..Self::of(successor) })
    }

    /// Whether one of its CAs is revoked, if those up to this generation are.
    pub(super) fn has_revoked(&self, revoked: u64) -> bool {
        self.certificates().any(|ca| ca.generation() <= revoked)
    }

    /// With at least these revocations. A program of an earlier version does not write them.
    pub(super) fn with_revoked(&self, revoked: u64) -> Self {
        Self { revoked: self.revoked.max(revoked), ..self.clone() }
    }

    /// With the current CA of `other` as the next one. All other CAs of both sets stay trusted as previous ones, since a
    /// replica may already serve by any of them.
    pub(super) fn with_next_from(&self, other: &Self, now: Timestamp) -> Self {
        let mut joined = self.clone();
        joined.next = Some(NextCa { authority: other.current.clone(), published: None });
        let may_sign = |set: &Self| set.next.as_ref().map(|next| next.authority.certificate().clone());
        let signing = may_sign(self).into_iter().chain(may_sign(other));
        let signing = signing.map(|certificate| PreviousCa { certificate, switched: now });
        for previous in signing.chain(other.previous.iter().cloned()) {
            if !joined.contains(&previous.certificate) && joined.previous.len() < MAX_PREVIOUS {
                joined.previous.push(previous);
            }
        }
        joined
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_secs(30);
    const SERVING_LIFE: Duration = Duration::from_secs(10);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn first() -> CaSet {
        CaSet::of(CertificateAuthority::generate(LIFE, at(0)).unwrap())
    }

    /// With a successor made then.
    fn published(before: &CaSet, now: i64) -> CaSet {
        before.with_next(before.current.successor(LIFE, at(now)).unwrap())
    }

    fn rotated(before: &CaSet, now: i64) -> CaSet {
        published(before, now).with_next_published(at(now)).switched(at(now))
    }

    fn count(set: &CaSet) -> usize {
        set.bundle().matches("BEGIN CERTIFICATE").count()
    }

    #[test]
    fn each_step_trusts_all_cas_by_which_a_replica_may_serve() {
        let first = first();
        let published = published(&first, 20);
        let switched = published.with_next_published(at(21)).switched(at(24));
        let retired = switched.retired(SERVING_LIFE, at(34));
        assert_eq!([&first, &published, &switched, &retired].map(count), [1, 2, 2, 1]);
        assert_eq!(published.bundle(), switched.bundle(), "a switch changes no configuration");
    }

    #[test]
    fn two_rotations_in_a_row_trust_both_previous_cas() {
        let first = first();
        let third = rotated(&rotated(&first, 1), 2);
        assert_eq!(count(&third), 3);
        assert!(third.bundle().contains(first.current.certificate().pem()));
        assert_eq!(count(&third.retired(SERVING_LIFE, at(11))), 2, "each is retired at its own time");
        assert_eq!(count(&third.retired(SERVING_LIFE, at(12))), 1);
    }

    #[test]
    fn an_expired_ca_is_not_trusted() {
        let late = published(&first(), 20).switched(at(30));
        assert!(late.previous.is_empty());
        let shortly_before = rotated(&first(), 29);
        assert_eq!(count(&shortly_before.retired(SERVING_LIFE, at(30))), 1, "its serving certificates end with it");
    }

    #[test]
    fn a_restart_keeps_previous_cas_that_are_valid() {
        let long = CaSet::of(CertificateAuthority::generate(2 * LIFE, at(0)).unwrap());
        let short = long.with_next(long.current.successor(LIFE, at(1)).unwrap()).switched(at(2));
        for (now, expected) in [(31, 2), (60, 1)] {
            let restarted = short.restarted(short.current.successor(LIFE, at(now)).unwrap(), at(now));
            assert_eq!(count(&restarted), expected, "at {now}");
        }
    }

    #[test]
    fn a_revocation_leaves_a_new_ca_alone_and_stays_in_all_later_sets() {
        let rotating = published(&rotated(&first(), 1), 2);
        let revoked = rotating.revoke(LIFE, at(3)).unwrap();
        let signs = revoked.current.certificate();
        assert_eq!((count(&revoked), revoked.revoked, signs.generation()), (1, 3, 4), "the next CA is revoked too");
        assert!(rotating.has_revoked(3) && !revoked.has_revoked(3));
        let again = revoked.revoke(LIFE, at(4)).unwrap();
        assert_eq!((again.revoked, again.current.certificate().generation()), (4, 5));
        let restarted = rotated(&again, 5).restarted(again.current.successor(LIFE, at(6)).unwrap(), at(6));
        let later = restarted.retired(SERVING_LIFE, at(20)).with_next_from(&first(), at(21));
        assert_eq!(later.revoked, 4);
        assert_eq!((later.with_revoked(3).revoked, later.with_revoked(7).revoked), (4, 7));
    }

    #[test]
    fn a_next_ca_from_another_set_leaves_all_cas_of_both_trusted() {
        let (held, other) = (rotated(&first(), 1), rotated(&rotated(&first(), 1), 2));
        let joined = held.with_next_from(&other, at(3));
        assert_eq!(joined.current.certificate(), held.current.certificate());
        assert_eq!(joined.next.as_ref().unwrap().authority.certificate(), other.current.certificate());
        assert_eq!(count(&joined), 5, "both, with the previous ones of each");
        let both_rotating = published(&held, 3).with_next_from(&published(&other, 3), at(4));
        assert_eq!(count(&both_rotating), 7, "and the next ones, by which other replicas may already serve");
    }
}
