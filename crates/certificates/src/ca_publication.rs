//! Since when each CA has been in the `caBundle` of every configuration.
//!
//! An API server learns of a changed `caBundle` by a watch. So a CA signs only after it has been in every `caBundle` for the
//! publish wait, counted from the moment at which this process read it back, or from the last change of a configuration.

use std::collections::HashMap;

use std::time::Duration;

use tokio::time::Instant;

use super::bundle_status::BundleStatus;
use super::certificate_authority::CaCertificate;
use super::pem::split_certificates;

#[derive(Debug, Default)]
pub(super) struct CaPublication {
    /// By PEM text. Empty while a configuration is without the expected bundle.
    since: HashMap<String, Instant>,
    /// Of the configurations at the last observation. A change shows that the bundle may have been missing in between.
    generations: [Option<i64>; 2],
    is_in_sync: bool,
}

impl CaPublication {
    /// Takes in what was read of the configurations. `bundle` is what they have to contain.
    pub(super) fn observe(&mut self, bundle: &str, status: &BundleStatus, now: Instant) {
        let generations = status.generations();
        self.is_in_sync = status.is_in_sync_with(bundle);
        if !self.is_in_sync || std::mem::replace(&mut self.generations, generations) != generations {
            self.since.clear();
        }
        if self.is_in_sync {
            let certificates = split_certificates(bundle);
            self.since.retain(|certificate, _| certificates.contains(certificate));
            for certificate in certificates {
                self.since.entry(certificate).or_insert(now);
            }
        }
    }

    /// Whether every configuration that exists has the expected bundle.
    pub(super) fn is_in_sync(&self) -> bool {
        self.is_in_sync
    }

    /// How long the CA has been in every bundle; `None` if it is not in there.
    pub(super) fn age(&self, ca: &CaCertificate, now: Instant) -> Option<Duration> {
        self.since.get(ca.pem()).map(|since| now.saturating_duration_since(*since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle_status::{BundleState, ConfigurationTrust};
    use crate::certificate_authority::CertificateAuthority;
    use crate::pem::join_certificates;
    use snapwatcher_daemon::clock;

    fn ca() -> CaCertificate {
        CertificateAuthority::generate(Duration::from_secs(60), clock::now()).unwrap().certificate().clone()
    }

    fn status(bundle: &str, generation: i64) -> BundleStatus {
        let trust =
            ConfigurationTrust { ca_bundle: bundle.into(), server_names: Vec::new(), generation: Some(generation) };
        BundleStatus { mutating: Some(BundleState::InSync(trust)), validating: None }
    }

    #[test]
    fn the_age_of_a_ca_starts_again_after_each_change_of_a_configuration() {
        let (one, other) = (ca(), ca());
        let both = join_certificates([one.pem(), other.pem()]);
        let alone = join_certificates([one.pem()]);
        let started = Instant::now();
        let at = |second: u64| started + Duration::from_secs(second);
        let mut publication = CaPublication::default();
        for (case, second, bundle, status, expected) in [
            ("not written yet", 0, &alone, status("", 1), [None, None]),
            ("written", 1, &alone, status(&alone, 2), [Some(0), None]),
            ("as before", 5, &alone, status(&alone, 2), [Some(4), None]),
            ("the other one is added to the bundle", 6, &both, status(&alone, 2), [None, None]),
            ("and is read back", 7, &both, status(&both, 3), [Some(0), Some(0)]),
            ("as before", 9, &both, status(&both, 3), [Some(2), Some(2)]),
            ("removed and written again in between", 10, &both, status(&both, 5), [Some(0), Some(0)]),
            ("removed", 12, &both, status("", 6), [None, None]),
        ] {
            publication.observe(bundle, &status, at(second));
            let ages = [&one, &other].map(|ca| publication.age(ca, at(second)).map(|age| age.as_secs()));
            assert_eq!(ages, expected, "{case}");
        }
    }
}
