//! What to do about the CA Secret, decided by plain values: without I/O, clock or key generation.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::ca_publication::CaPublication;
use super::ca_set::CaSet;
use super::certificate_authority::CertificateAuthority;
use super::error::UnusableCa;
use super::rotation::{CertificateTimings, RotationPlan, RotationStep, plan};

/// One moment by the API server's clock, and by the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) time: Timestamp,
    pub(super) instant: Instant,
}

/// What the Secret contains.
#[derive(Debug)]
pub(super) enum Contents {
    /// Nothing, as when it was created.
    Empty,
    Usable(CaSet),
    /// With the reason why it can't be used.
    Unusable(UnusableCa),
}

/// What to do about the contents.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Use the CAs in the Secret and take the next step of a rotation.
    Follow,
    /// Write the first CA into the empty Secret.
    Fill,
    /// Write the Secret again.
    Correct { cause: Cause, correction: Correction },
}

/// What is wrong with the Secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cause {
    Emptied,
    Unusable(UnusableCa),
    /// Another CA, which is earlier than the one in use, has expired or is not valid yet.
    UnexpectedCa,
    /// A later CA that is valid.
    LaterCa,
    /// A CA that is revoked, for example from a backup.
    RevokedCa,
}

/// How to write the Secret again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Correction {
    PutBack,
    /// The Secret's CA becomes the next one.
    TakeAsNext,
    /// No CA is in use, or it has expired.
    NewCa,
    /// No CA is in use that is not revoked, so a new one replaces that of the Secret.
    Revoke,
}

/// Decides by what the Secret contains and the CAs that this process uses.
pub(super) fn decide(contents: &Contents, in_use: Option<&CaSet>, now: Timestamp) -> Decision {
    let restoration = match in_use {
        Some(in_use) if !in_use.current.certificate().has_expired(now) => Correction::PutBack,
        _ => Correction::NewCa,
    };
    let known_revoked = in_use.map_or(0, |in_use| in_use.revoked);
    let correct = |cause, correction| Decision::Correct { cause, correction };
    match (contents, in_use) {
        (Contents::Empty, None) => Decision::Fill,
        (Contents::Empty, Some(_)) => correct(Cause::Emptied, restoration),
        (Contents::Unusable(why), _) => correct(Cause::Unusable(why.clone()), restoration),
        (Contents::Usable(found), _) if found.has_revoked(found.revoked.max(known_revoked)) => {
            // Otherwise the CAs in use may be those that the Secret revokes.
            let knows_of_all = known_revoked >= found.revoked && in_use.is_some();
            correct(Cause::RevokedCa, if knows_of_all { restoration } else { Correction::Revoke })
        }
        (Contents::Usable(_), None) => Decision::Follow,
        // Without an overlap: a CA that is revoked must not stay trusted.
        (Contents::Usable(found), Some(_)) if found.revoked > known_revoked => Decision::Follow,
        (Contents::Usable(found), Some(in_use)) => match compare(found, in_use, now) {
            Comparison::SameOrSuccessor => Decision::Follow,
            Comparison::Later => correct(Cause::LaterCa, Correction::TakeAsNext),
            Comparison::Unexpected => correct(Cause::UnexpectedCa, Correction::PutBack),
        },
    }
}

enum Comparison {
    SameOrSuccessor,
    Later,
    Unexpected,
}

/// Compares the Secret's CAs with those in use, by the latest generation of each. Next and previous CAs count, since other
/// replicas may sign by them. CAs of one generation count as later, so that two processes with different ones join them
/// instead of overwriting each other.
fn compare(found: &CaSet, in_use: &CaSet, now: Timestamp) -> Comparison {
    let (new, current) = (found.current.certificate(), in_use.current.certificate());
    if new == current || !current.is_valid(now) {
        Comparison::SameOrSuccessor
    } else if !new.is_valid(now) {
        // Even if it lists the CA in use as previous or next: nothing may be signed by this one.
        Comparison::Unexpected
    } else if found.contains(current) {
        Comparison::SameOrSuccessor
    } else if found.latest_generation(now) >= in_use.latest_generation(now) {
        Comparison::Later
    } else {
        Comparison::Unexpected
    }
}

/// Plans the next step of a rotation. A switch waits until the next CA has been in every caBundle for the publish wait: it
/// may have been missing since the Secret recorded its publication.
pub(super) fn next_step(
    set: &CaSet,
    is_published: bool,
    publication: &CaPublication,
    timings: &CertificateTimings,
    now: Moment,
) -> RotationPlan {
    let planned = plan(set, is_published, timings, now.time);
    let (RotationPlan::Take(RotationStep::Switch), Some(next)) = (planned, &set.next) else { return planned };
    let age = publication.age(next.authority.certificate(), now.instant);
    match age.map(|age| timings.publish_wait.saturating_sub(age)) {
        Some(left) if !left.is_zero() && !set.current.certificate().has_expired(now.time) => {
            RotationPlan::WaitUntil(now.time.saturating_add(left).unwrap_or(Timestamp::MAX))
        }
        _ => planned,
    }
}

/// The CA that signs the serving certificate: that of the Secret, as soon as API servers trust it.
pub(super) fn signing_ca(
    set: &CaSet,
    signing: Option<&Arc<CertificateAuthority>>,
    publication: &CaPublication,
    publish_wait: Duration,
    now: Moment,
) -> Arc<CertificateAuthority> {
    match signing.filter(|signing| !signing.certificate().has_expired(now.time)) {
        Some(signing) if !is_trusted(set, signing, publication, publish_wait, now.instant) => signing.clone(),
        _ => set.current.clone(),
    }
}

/// Whether API servers trust the current CA of the Secret. After a switch they do, since the switch waited for it.
/// Otherwise the publish wait has to pass first, unless the caBundle does not contain the CA that has signed so far.
fn is_trusted(
    set: &CaSet,
    signing: &CertificateAuthority,
    publication: &CaPublication,
    publish_wait: Duration,
    now: Instant,
) -> bool {
    let was_switched = || set.previous.iter().any(|previous| previous.certificate == *signing.certificate());
    let is_left_out = || publication.age(signing.certificate(), now).is_none();
    let has_waited = || publication.age(set.current.certificate(), now).is_some_and(|age| age >= publish_wait);
    publication.is_in_sync() && (was_switched() || is_left_out() || has_waited())
}

impl fmt::Display for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Emptied => formatter.write_str("it was empty"),
            Self::Unusable(why) => why.fmt(formatter),
            Self::UnexpectedCa => formatter.write_str("it contained an unexpected CA: an earlier or invalid one"),
            Self::LaterCa => formatter.write_str("it contained a later CA than the one in use"),
            Self::RevokedCa => formatter.write_str("it contained a revoked CA"),
        }
    }
}

impl fmt::Display for Correction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::PutBack => "restored the CA in use",
            Self::TakeAsNext => "that CA becomes the next one",
            Self::NewCa | Self::Revoke => "created a new CA",
        })
    }
}

#[cfg(test)]
mod tests;
