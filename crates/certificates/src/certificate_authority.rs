//! The CA that signs serving certificates: a certificate and its key.
//!
//! P-256, because every TLS library accepts it and its handshakes are cheap. A CA and the certificates that it signs are
//! valid from an hour before the CA was made, so that an API server whose clock is behind accepts them at once. The common
//! name contains the generation: the number of CAs up to this one.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SerialNumber,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::error::{CertificateError, UnusableCa};
use super::pem::split_certificates;
use super::serving_certificate::ServingCertificate;

/// `notBefore` of a CA is this long before it was made.
const CLOCK_SKEW: Duration = Duration::from_secs(60 * 60);
/// The common name without the generation, which follows.
const NAME: &str = "snapwatcher CA ";

/// The certificate of a CA that SnapWatcher made, without its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaCertificate {
    pem: String,
    not_before: Timestamp,
    not_after: Timestamp,
    generation: u64,
    public_key: Vec<u8>,
}

/// A certificate authority: its certificate and the key that signs.
pub struct CertificateAuthority {
    certificate: CaCertificate,
    key_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl CaCertificate {
    /// Reads the certificate of a CA that SnapWatcher made, in PEM form, valid or not.
    pub fn parse(pem: &str) -> Result<Self, UnusableCa> {
        let [pem] = split_certificates(pem).try_into().map_err(|_| UnusableCa::NoCertificate)?;
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| UnusableCa::NoCertificate)?;
        let (_, read) = X509Certificate::from_der(&der).map_err(|_| UnusableCa::NoCertificate)?;
        let is_ca = read.basic_constraints().ok().flatten().is_some_and(|constraints| constraints.value.ca);
        if !is_ca {
            return Err(UnusableCa::NotACa);
        }
        let name = read.subject().iter_common_name().next().and_then(|name| name.as_str().ok()).unwrap_or_default();
        let generation = name.strip_prefix(NAME).and_then(|number| number.parse().ok());
        let generation = generation.ok_or_else(|| UnusableCa::NotOurs { name: name.to_owned() })?;
        let time = |at: i64| Timestamp::from_second(at).map_err(|_| UnusableCa::NoCertificate);
        Ok(Self {
            pem,
            not_before: time(read.validity().not_before.timestamp())?,
            not_after: time(read.validity().not_after.timestamp())?,
            generation,
            public_key: read.public_key().subject_public_key.data.to_vec(),
        })
    }

    /// For the `caBundle` of a webhook configuration.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    #[must_use]
    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Whether it is no longer valid.
    #[must_use]
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.not_after <= now
    }

    /// Whether the API server would accept it in a caBundle.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.not_before <= now && !self.has_expired(now)
    }

    /// The number of CAs up to this one.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// When two thirds of its life have passed, counted from when it was made.
    #[must_use]
    pub fn renewal(&self) -> Timestamp {
        two_thirds(self.not_before.saturating_add(CLOCK_SKEW).unwrap_or(self.not_before), self.not_after)
    }
}

impl CertificateAuthority {
    /// Makes the first CA, valid for `life` from `now` on.
    pub fn generate(life: Duration, now: Timestamp) -> Result<Self, CertificateError> {
        Self::make(1, life, now)
    }

    /// Makes the CA that follows this one.
    pub fn successor(&self, life: Duration, now: Timestamp) -> Result<Self, CertificateError> {
        Self::make(self.certificate.generation.saturating_add(1), life, now)
    }

    /// Makes the CA of this generation.
    pub(super) fn make(generation: u64, life: Duration, now: Timestamp) -> Result<Self, CertificateError> {
        let make = |source| CertificateError::Make { what: "a certificate authority", source };
        let mut params = CertificateParams::default();
        let from = now.saturating_sub(CLOCK_SKEW).unwrap_or(now);
        set_validity(&mut params, from, after(now, life));
        params.distinguished_name = common_name(&format!("{NAME}{generation}"));
        // It may sign serving certificates, but no other CA.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(make)?;
        let certificate = params.self_signed(&key).map_err(make)?;
        Self::load(&certificate.pem(), &key.serialize_pem())
            .map_err(|source| CertificateError::Unusable { source: rustls::Error::General(source.to_string()) })
    }

    /// Reads a CA that SnapWatcher made from PEM texts. The key has to belong to the certificate.
    pub fn load(certificate: &str, key: &str) -> Result<Self, UnusableCa> {
        let certificate = CaCertificate::parse(certificate)?;
        let pair = KeyPair::from_pem(key).map_err(|_| UnusableCa::NoKey)?;
        if pair.public_key_raw() != certificate.public_key {
            return Err(UnusableCa::OtherKey);
        }
        let issuer = Issuer::from_ca_cert_pem(&certificate.pem, pair).map_err(|_| UnusableCa::NoCertificate)?;
        Ok(Self { certificate, key_pem: key.to_owned(), issuer })
    }

    /// Signs a serving certificate for these DNS names and IP addresses, with a new key. It expires with its CA at the latest.
    pub fn issue(
        &self,
        names: &[String],
        life: Duration,
        now: Timestamp,
    ) -> Result<ServingCertificate, CertificateError> {
        let (certificate, key) = self.sign(names, life, now)?;
        let key_der = PrivateKeyDer::try_from(key.serialize_der())
            .map_err(|why| CertificateError::Unusable { source: rustls::Error::General(why.to_owned()) })?;
        let signed = ServingCertificate::new(vec![certificate.into()], key_der);
        let signed = signed.map_err(|source| CertificateError::Unusable { source })?;
        Ok(signed.with_ca_not_after(self.certificate.not_after))
    }

    /// Signs one and returns the certificate and its key in PEM form.
    pub(super) fn issue_pem(
        &self,
        names: &[String],
        life: Duration,
        now: Timestamp,
    ) -> Result<(String, String), CertificateError> {
        let (certificate, key) = self.sign(names, life, now)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }

    fn sign(
        &self,
        names: &[String],
        life: Duration,
        now: Timestamp,
    ) -> Result<(Certificate, KeyPair), CertificateError> {
        let make = |source| CertificateError::Make { what: "a serving certificate", source };
        for name in names {
            CertificateParams::new(vec![name.clone()])
                .map_err(|source| CertificateError::Name { name: name.clone(), source })?;
        }
        let mut params = CertificateParams::new(names).map_err(make)?;
        let end = after(now, life).min(self.certificate.not_after);
        set_validity(&mut params, self.certificate.not_before, end);
        params.distinguished_name = common_name("snapwatcher webhook");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        // CAs may have the same name; the identifier of the key shows a verifier which of them signed.
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(make)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(make)?;
        Ok((certificate, key))
    }

    #[must_use]
    pub fn certificate(&self) -> &CaCertificate {
        &self.certificate
    }

    /// The CA's certificate, for the `caBundle` of a webhook configuration.
    #[must_use]
    pub fn certificate_pem(&self) -> String {
        self.certificate.pem.clone()
    }

    /// The key in PEM form. Only the Secret may contain it.
    pub(super) fn key_pem(&self) -> &str {
        &self.key_pem
    }
}

impl fmt::Debug for CertificateAuthority {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateAuthority").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// The DNS names of a Service.
#[must_use]
pub fn service_names(service: &str, namespace: &str) -> Vec<String> {
    ["", ".svc", ".svc.cluster.local"]
        .iter()
        .map(|suffix| format!("{service}.{namespace}{suffix}"))
        .chain([service.to_owned()])
        .collect()
}

/// When two thirds of the time between two moments have passed.
pub(super) fn two_thirds(from: Timestamp, to: Timestamp) -> Timestamp {
    to.saturating_sub(to.duration_since(from).max(SignedDuration::ZERO) / 3).unwrap_or(to)
}

fn after(now: Timestamp, life: Duration) -> Timestamp {
    now.saturating_add(life).unwrap_or(Timestamp::MAX)
}

/// Sets the validity of a certificate, and a random serial number (RFC 5280, 4.1.2.2).
fn set_validity(params: &mut CertificateParams, from: Timestamp, to: Timestamp) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let since_epoch = |at: Timestamp| Duration::from_secs(u64::try_from(at.as_second()).unwrap_or_default());
    params.not_before = epoch + since_epoch(from);
    params.not_after = epoch + since_epoch(to);
    params.serial_number = Some(SerialNumber::from_slice(uuid::Uuid::new_v4().as_bytes()));
}

fn common_name(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_secs(60 * 60);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    #[test]
    fn a_service_has_four_dns_names() {
        let mut names = service_names("web", "prod");
        names.sort();
        assert_eq!(names, ["web", "web.prod", "web.prod.svc", "web.prod.svc.cluster.local"]);
    }

    #[test]
    fn each_ca_has_its_own_certificate() {
        let [one, two] = [(); 2].map(|()| CertificateAuthority::generate(LIFE, at(0)).unwrap());
        assert!(one.certificate_pem().starts_with("-----BEGIN CERTIFICATE-----\n"));
        assert_ne!(one.certificate_pem(), two.certificate_pem());
    }

    #[test]
    fn a_ca_is_read_back_as_it_was_written() {
        let first = CertificateAuthority::generate(LIFE, at(0)).unwrap();
        let second = first.successor(LIFE, at(10)).unwrap();
        let read = CertificateAuthority::load(&second.certificate_pem(), second.key_pem()).unwrap();
        assert_eq!(read.certificate(), second.certificate());
        assert_eq!((first.certificate().generation(), read.certificate().generation()), (1, 2));
        assert_eq!(read.certificate().not_after(), at(10 + 3600));
        assert_eq!(read.certificate().not_before(), at(10 - 3600));
        assert_eq!(read.certificate().renewal(), at(10 + 2400));
    }

    #[test]
    fn an_unusable_ca_is_rejected_with_the_reason() {
        let ours = CertificateAuthority::generate(LIFE, at(0)).unwrap();
        let other = CertificateAuthority::generate(LIFE, at(0)).unwrap();
        let (certificate, key) = (ours.certificate_pem(), ours.key_pem());
        let foreign = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let named = {
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.distinguished_name = common_name("corporate CA");
            params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
        };
        for (case, certificate, key, expected) in [
            ("empty", "", key, UnusableCa::NoCertificate),
            ("junk", "junk", key, UnusableCa::NoCertificate),
            ("two", &format!("{certificate}{}", other.certificate_pem()), key, UnusableCa::NoCertificate),
            ("swapped", key, certificate.as_str(), UnusableCa::NoCertificate),
            ("no CA", &foreign.cert.pem(), key, UnusableCa::NotACa),
            ("foreign", &named, key, UnusableCa::NotOurs { name: "corporate CA".to_owned() }),
            ("no key", &certificate, "", UnusableCa::NoKey),
            ("other key", &certificate, other.key_pem(), UnusableCa::OtherKey),
        ] {
            assert_eq!(CertificateAuthority::load(certificate, key).err(), Some(expected), "{case}");
        }
    }

    #[test]
    fn an_error_names_an_invalid_name() {
        let authority = CertificateAuthority::generate(LIFE, at(0)).unwrap();
        let error = authority.issue(&["bücher".to_owned()], LIFE, at(0)).unwrap_err();
        assert!(error.to_string().contains("could not make a certificate for `bücher`"), "{error}");
    }

    #[test]
    fn the_key_is_not_in_any_debug_output() {
        let authority = CertificateAuthority::generate(LIFE, at(0)).unwrap();
        assert!(!format!("{authority:?}").contains("PRIVATE"));
    }
}
