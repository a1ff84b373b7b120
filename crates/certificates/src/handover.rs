//! How one CA from a file follows another: trusted beside the old one first, then served by, then alone.
//!
//! Each replica reads the files in its own time, as its node hears of them. So both CAs are trusted from the first who
//! read them until long after the last, whether certificate and CA changed at once or not. One that starts meanwhile has
//! read the new ones only, and leaves it at what it finds trusted.

use std::time::Duration;

use tokio::time::Instant;

use super::ca_bundle::join_certificates;

/// How many level checks the bundle has been read back before the new certificate is served: the other replicas read
/// their files meanwhile, and until they have they put their bundle back.
const SERVED_AFTER: u32 = 3;
/// The most level checks that it waits, for a bundle that never stands there.
const PATIENCE: u32 = 5;
/// How many level checks after that the old CA is trusted still.
const DROPPED_AFTER: u32 = 10;

/// How many level checks a handover lasts at most, with one for its beginning.
pub(super) const LONGEST: u32 = PATIENCE + DROPPED_AFTER + 1;

/// A CA that is taking the place of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Handover {
    /// Both.
    pub(super) bundle: String,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The old certificate is served.
    Publishing { begun: Instant, read_back: Option<Instant> },
    /// The new one is.
    Served { since: Instant },
}

/// What to do about a handover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Move {
    Wait,
    /// Serve with the new certificate.
    Serve,
    /// ConfigurationTrust the new CA alone.
    Drop,
}

impl Handover {
    /// From what is trusted to what was read.
    pub(super) fn begun(trusted: &str, read: &str, now: Instant) -> Self {
        let phase = Phase::Publishing { begun: now, read_back: None };
        Self { bundle: join_certificates([trusted, read]), phase }
    }

    /// Whether the old certificate is served still.
    pub(super) fn is_publishing(&self) -> bool {
        matches!(self.phase, Phase::Publishing { .. })
    }

    /// What is to be done now. `is_read_back`: the bundle stands in each configuration. `is_over`: what is served now has
    /// expired.
    pub(super) fn go_on(&mut self, is_read_back: bool, is_over: bool, level_check: Duration, now: Instant) -> Move {
        match &mut self.phase {
            Phase::Publishing { begun, read_back } => {
                *read_back = read_back.filter(|_| is_read_back).or(is_read_back.then_some(now));
                let stands = read_back.is_some_and(|since| now - since >= SERVED_AFTER * level_check);
                if is_over || stands || now - *begun >= PATIENCE * level_check {
                    self.phase = Phase::Served { since: now };
                    Move::Serve
                } else {
                    Move::Wait
                }
            }
            Phase::Served { since } if now - *since >= DROPPED_AFTER * level_check => Move::Drop,
            Phase::Served { .. } => Move::Wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEVEL_CHECK: Duration = Duration::from_secs(60);

    fn certificate(content: &str) -> String {
        format!("-----BEGIN CERTIFICATE-----\n{content}\n-----END CERTIFICATE-----\n")
    }

    #[test]
    fn both_are_trusted_while_one_follows_the_other() {
        let (old, new) = (certificate("AAAA"), certificate("BBBB"));
        let handover = Handover::begun(&old, &new, Instant::now());
        assert!(handover.is_publishing() && handover.bundle == format!("{old}{new}"));
    }

    #[test]
    fn the_new_certificate_is_served_when_it_is_trusted_or_nothing_better_can_be_done() {
        for (case, looks, expected) in [
            ("it stands there", &[(0, true, false), (179, true, false)][..], Move::Wait),
            ("it has stood there for three level checks", &[(0, true, false), (180, true, false)], Move::Serve),
            ("somebody took it out meanwhile", &[(0, true, false), (90, false, false), (180, true, false)], Move::Wait),
            ("it never stands there", &[(0, false, false), (299, false, false)], Move::Wait),
            ("it never stands there, for long", &[(0, false, false), (300, false, false)], Move::Serve),
            ("what is served has expired", &[(0, false, true)], Move::Serve),
        ] {
            let begun = Instant::now();
            let mut handover = Handover::begun("", "", begun);
            let moves = looks.iter().map(|(second, is_read_back, is_over)| {
                handover.go_on(*is_read_back, *is_over, LEVEL_CHECK, begun + Duration::from_secs(*second))
            });
            assert_eq!(moves.last(), Some(expected), "{case}");
        }
    }

    #[test]
    fn the_old_authority_is_dropped_long_after() {
        let begun = Instant::now();
        let mut handover = Handover::begun("", "", begun);
        assert_eq!(handover.go_on(false, true, LEVEL_CHECK, begun), Move::Serve);
        assert!(!handover.is_publishing());
        for (second, expected) in [(0, Move::Wait), (599, Move::Wait), (600, Move::Drop)] {
            let now = begun + Duration::from_secs(second);
            assert_eq!(handover.go_on(true, false, LEVEL_CHECK, now), expected, "after {second} s");
        }
    }
}
