//! The certificate and key that we serve with, and the slot from which each handshake takes them.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, Error, InconsistentKeys, RootCertStore};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::error::CertificateError as FileError;
use super::pem_files;

/// A serving certificate with its chain and its key, known to belong together.
#[derive(Debug, Clone)]
pub struct ServingCertificate {
    key: Arc<CertifiedKey>,
    not_after: Timestamp,
    /// Until when its CA can sign another one; for a leaf of our own.
    renewable_until: Option<Timestamp>,
}

impl ServingCertificate {
    /// Joins a chain, leaf first, with its key.
    pub(super) fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, Error> {
        let unreadable = || Error::InvalidCertificate(CertificateError::BadEncoding);
        let not_after = chain.first().and_then(|leaf| {
            let (_, read) = X509Certificate::from_der(leaf).ok()?;
            Timestamp::from_second(read.validity().not_after.timestamp()).ok()
        });
        let key = CertifiedKey::from_der(chain, key, &ring::default_provider())?;
        Ok(Self { key: Arc::new(key), not_after: not_after.ok_or_else(unreadable)?, renewable_until: None })
    }

    /// The same as one of a CA that can sign another until then.
    pub(super) fn renewable_until(self, until: Timestamp) -> Self {
        Self { renewable_until: Some(until), ..self }
    }

    /// Whether it is the same certificate.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.key.cert == other.key.cert
    }

    /// When it expires.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Whether nobody trusts it any more.
    pub(super) fn has_expired(&self, now: Timestamp) -> bool {
        self.not_after <= now
    }

    /// Whether it has expired and another one should have been made. With an expired CA that can't be done, by any replica.
    fn is_overdue(&self, now: Timestamp) -> bool {
        self.has_expired(now) && self.renewable_until.is_some_and(|until| until > now)
    }

    /// Whether one of these CAs signed it. When both are valid is not asked: that goes by the API server's clock.
    pub(super) fn is_signed_by(&self, authorities: &RootCertStore) -> Result<(), Error> {
        let Some((leaf, between)) = self.key.cert.split_first() else { return Err(Error::NoCertificatesPresented) };
        let algorithms = ring::default_provider().signature_verification_algorithms.all;
        let leaf = ParsedCertificate::try_from(leaf)?;
        match verify_server_cert_signed_by_trust_anchor(&leaf, authorities, between, UnixTime::now(), algorithms) {
            Err(Error::InvalidCertificate(
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. },
            )) => Ok(()),
            verified => verified,
        }
    }

    /// Reads a certificate chain and a key in PEM form.
    pub async fn from_files(certificate: &Path, key: &Path) -> Result<Self, FileError> {
        let (chain, private) = (pem_files::read_chain(certificate).await?, pem_files::read_key(key).await?);
        Self::new(chain, private).map_err(|source| match source {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                FileError::Mismatch { certificate: certificate.to_owned(), key: key.to_owned() }
            }
            Error::InvalidCertificate(_) => pem_files::rejected_chain(certificate, source),
            source => pem_files::rejected_key(key, source),
        })
    }
}

/// The leaf of the moment: each new handshake takes it, open connections keep the one they began with.
#[derive(Debug, Default)]
pub struct ServingCertificateResolver(ArcSwapOption<ServingCertificate>);

impl ServingCertificateResolver {
    /// Serves with this leaf from the next handshake on.
    pub fn put(&self, leaf: ServingCertificate) {
        self.0.store(Some(Arc::new(leaf)));
    }

    /// Whether a handshake can succeed.
    pub fn has_certificate(&self) -> bool {
        self.0.load().is_some()
    }

    /// When the leaf expired, if another one should have been made since.
    pub(super) fn overdue_since(&self, now: Timestamp) -> Option<Timestamp> {
        let leaf = self.0.load_full()?;
        leaf.is_overdue(now).then_some(leaf.not_after)
    }
}

impl ResolvesServerCert for ServingCertificateResolver {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load().as_ref().map(|leaf| Arc::clone(&leaf.key))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::CertifiedKey as Pair;

    use super::*;

    fn pair() -> Pair<rcgen::KeyPair> {
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap()
    }

    async fn load(certificate: &str, key: &str) -> Result<ServingCertificate, FileError> {
        let folder = tempfile::tempdir().unwrap();
        let [cert_path, key_path] = ["tls.crt", "tls.key"].map(|name| folder.path().join(name));
        fs::write(&cert_path, certificate).unwrap();
        fs::write(&key_path, key).unwrap();
        ServingCertificate::from_files(&cert_path, &key_path).await
    }

    #[tokio::test]
    async fn a_pair_of_files_is_served_with() {
        let pair = pair();
        let resolver = ServingCertificateResolver::default();
        assert!(!resolver.has_certificate());
        resolver.put(load(&pair.cert.pem(), &pair.signing_key.serialize_pem()).await.unwrap());
        assert!(resolver.has_certificate());
    }

    #[tokio::test]
    async fn a_leaf_is_overdue_that_expired_while_another_could_be_signed() {
        let pair = pair();
        let leaf = load(&pair.cert.pem(), &pair.signing_key.serialize_pem()).await.unwrap();
        let end = leaf.not_after();
        let at = |second: i64| end.saturating_add(jiff::SignedDuration::from_secs(second)).unwrap();
        for (case, renewable, now, expected) in [
            ("valid", Some(100), -1, false),
            ("expired, its CA is not", Some(100), 0, true),
            ("expired with its CA", Some(0), 0, false),
            ("from a file", None, 0, false),
        ] {
            let resolver = ServingCertificateResolver::default();
            resolver.put(renewable.map_or(leaf.clone(), |until| leaf.clone().renewable_until(at(until))));
            assert_eq!(resolver.overdue_since(at(now)), expected.then_some(end), "{case}");
        }
    }

    #[tokio::test]
    async fn a_wrong_file_is_named_with_what_is_wrong() {
        let (one, other) = (pair(), pair());
        let (certificate, key) = (one.cert.pem(), one.signing_key.serialize_pem());
        let cut = &certificate[..certificate.len() / 2];
        let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (case, certificate, key, expected) in [
            ("another key", certificate.as_str(), other.signing_key.serialize_pem(), "does not belong to the"),
            ("files swapped", &key, certificate.clone(), "given by --tls-cert, holds no certificate in PEM form"),
            ("key is a certificate", &certificate, certificate.clone(), "given by --tls-key, holds no private key"),
            ("empty certificate", "", key.clone(), "given by --tls-cert, holds no certificate"),
            ("certificate cut off", cut, key.clone(), "given by --tls-cert, is damaged PEM"),
            ("not a certificate", nonsense, key.clone(), "given by --tls-cert, can't be used"),
        ] {
            let error = load(certificate, &key).await.unwrap_err().to_string();
            assert!(error.contains(expected), "{case}: {error}");
        }
    }

    #[tokio::test]
    async fn a_missing_file_is_named() {
        let error = ServingCertificate::from_files(Path::new("/nowhere/tls.crt"), Path::new("/nowhere/tls.key"))
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "could not read `/nowhere/tls.crt`, given by --tls-cert");
    }
}
