//! The CA that signs what we serve with, held in memory.
//!
//! P-256, because every TLS library takes it and its handshakes are cheap. A certificate is valid from an hour before
//! it was made, so that an API server whose clock runs behind ours takes it at once.

use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SerialNumber,
};
use rustls::pki_types::PrivateKeyDer;

use super::error::CertificateError;
use super::leaf::Leaf;

/// How far back `notBefore` lies.
const CLOCK_SKEW: Duration = Duration::from_secs(60 * 60);
/// Counts the CAs that followed each other under one name; a CA that lives in memory only is always the first.
const FIRST_GENERATION: u32 = 1;

/// A certificate authority: its certificate and the key that signs.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// Makes a new CA that is valid for `life` from `now` on.
    pub fn generate(life: Duration, now: Timestamp) -> Result<Self, CertificateError> {
        let make = |source| CertificateError::Make { what: "a certificate authority", source };
        let mut params = CertificateParams::default();
        limit(&mut params, life, now);
        params.distinguished_name = common_name(&format!("snapwatcher CA {FIRST_GENERATION}"));
        // It signs leaves and no further authorities.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(make)?;
        Ok(Self { issuer: CertifiedIssuer::self_signed(params, key).map_err(make)? })
    }

    /// Signs a serving certificate for these DNS names and IP addresses, with a new key.
    pub fn issue(&self, names: &[String], life: Duration, now: Timestamp) -> Result<Leaf, CertificateError> {
        let make = |source| CertificateError::Make { what: "a serving certificate", source };
        for name in names {
            CertificateParams::new(vec![name.clone()])
                .map_err(|source| CertificateError::Name { name: name.clone(), source })?;
        }
        let mut params = CertificateParams::new(names).map_err(make)?;
        limit(&mut params, life, now);
        params.distinguished_name = common_name("snapwatcher webhook");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        // CAs of one generation share their name after a restart: this tells a verifier which of them signed.
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(make)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(make)?;
        let key = PrivateKeyDer::try_from(key.serialize_der())
            .map_err(|why| CertificateError::Unusable { source: rustls::Error::General(why.to_owned()) })?;
        Leaf::new(vec![certificate.into()], key).map_err(|source| CertificateError::Unusable { source })
    }

    /// The CA's certificate, for the `caBundle` of a webhook configuration.
    #[must_use]
    pub fn certificate_pem(&self) -> String {
        self.issuer.pem()
    }
}

/// The names by which the API server, and people in the cluster, reach a Service.
#[must_use]
pub fn service_names(service: &str, namespace: &str) -> Vec<String> {
    ["", ".svc", ".svc.cluster.local"]
        .iter()
        .map(|suffix| format!("{service}.{namespace}{suffix}"))
        .chain([service.to_owned()])
        .collect()
}

/// Sets from when to when a certificate is valid, and a serial number that no other one has (RFC 5280, 4.1.2.2).
fn limit(params: &mut CertificateParams, life: Duration, now: Timestamp) {
    let now = Duration::from_secs(u64::try_from(now.as_second()).unwrap_or_default());
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(CLOCK_SKEW);
    params.not_after = epoch + now.saturating_add(life);
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

    #[test]
    fn a_service_is_reachable_by_four_names() {
        let mut names = service_names("web", "prod");
        names.sort();
        assert_eq!(names, ["web", "web.prod", "web.prod.svc", "web.prod.svc.cluster.local"]);
    }

    #[test]
    fn each_authority_has_its_own_certificate() {
        let [one, two] = [(); 2].map(|()| Authority::generate(LIFE, crate::clock::now()).unwrap());
        assert!(one.certificate_pem().starts_with("-----BEGIN CERTIFICATE-----\n"));
        assert_ne!(one.certificate_pem(), two.certificate_pem());
    }

    #[test]
    fn a_name_that_can_not_be_certified_is_told() {
        let authority = Authority::generate(LIFE, crate::clock::now()).unwrap();
        let error = authority.issue(&["bücher".to_owned()], LIFE, crate::clock::now()).unwrap_err();
        assert!(error.to_string().contains("`bücher` can't stand in a certificate"), "{error}");
    }
}
