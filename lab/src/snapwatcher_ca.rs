//! CAs like those that SnapWatcher makes, of any generation and validity.

use std::io;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose};

/// A certificate and its key, in PEM form.
#[derive(Clone, Debug)]
pub struct SnapwatcherCa {
    pub certificate: String,
    pub key: String,
}

impl SnapwatcherCa {
    /// Makes a CA of this generation. `from` and `until` are relative to `now`.
    pub fn new(generation: u64, now: Timestamp, from: SignedDuration, until: SignedDuration) -> io::Result<Self> {
        let mut params = CertificateParams::default();
        let date = |after: SignedDuration| {
            let second = now.as_second().saturating_add(after.as_secs());
            rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(second).unwrap_or_default())
        };
        (params.not_before, params.not_after) = (date(from), date(until));
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, format!("snapwatcher CA {generation}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let certificate = params.self_signed(&key).map_err(io::Error::other)?;
        Ok(Self { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}
