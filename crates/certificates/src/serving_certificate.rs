//! The serving certificate with its key, and the slot from which each TLS handshake takes it.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError as TlsCertificateError, Error, InconsistentKeys};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::error::CertificateError;
use super::pem_files;

/// A certificate chain with the key that belongs to it.
#[derive(Debug, Clone)]
pub struct ServingCertificate {
    key: Arc<CertifiedKey>,
    not_after: Timestamp,
    /// When its CA expires, if SnapWatcher signed it.
    ca_not_after: Option<Timestamp>,
}

impl ServingCertificate {
    /// Joins a chain, the server's own certificate first, with its key.
    pub(super) fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, Error> {
        let unreadable = || Error::InvalidCertificate(TlsCertificateError::BadEncoding);
        let not_after = chain.first().and_then(|certificate| {
            let (_, read) = X509Certificate::from_der(certificate).ok()?;
            Timestamp::from_second(read.validity().not_after.timestamp()).ok()
        });
        let key = CertifiedKey::from_der(chain, key, &ring::default_provider())?;
        Ok(Self { key: Arc::new(key), not_after: not_after.ok_or_else(unreadable)?, ca_not_after: None })
    }

    /// Adds when the CA expires that can sign the next one.
    pub(super) fn with_ca_not_after(self, ca_not_after: Timestamp) -> Self {
        Self { ca_not_after: Some(ca_not_after), ..self }
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.key.cert == other.key.cert
    }

    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Whether it has expired although its CA could have signed another one. If the CA has expired too, no replica can
    /// renew it.
    fn is_overdue(&self, now: Timestamp) -> bool {
        self.not_after <= now && self.ca_not_after.is_some_and(|ca_not_after| ca_not_after > now)
    }

    /// Reads a certificate chain and a key in PEM form.
    pub async fn from_files(certificate: &Path, key: &Path) -> Result<Self, CertificateError> {
        let (chain, private) = (pem_files::read_chain(certificate).await?, pem_files::read_key(key).await?);
        Self::new(chain, private).map_err(|source| match source {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                CertificateError::Mismatch { certificate: certificate.to_owned(), key: key.to_owned() }
            }
            Error::InvalidCertificate(_) => pem_files::rejected_chain(certificate, source),
            source => pem_files::rejected_key(key, source),
        })
    }
}

/// Gives each new handshake the current serving certificate. Open connections keep theirs.
#[derive(Debug, Default)]
pub struct ServingCertificateResolver(ArcSwapOption<ServingCertificate>);

impl ServingCertificateResolver {
    /// Serves with this certificate from the next handshake on.
    pub fn serve(&self, certificate: ServingCertificate) {
        self.0.store(Some(Arc::new(certificate)));
    }

    /// Whether a handshake can succeed.
    pub fn has_certificate(&self) -> bool {
        self.0.load().is_some()
    }

    /// When the certificate expired, if it should have been renewed since.
    pub(super) fn overdue_since(&self, now: Timestamp) -> Option<Timestamp> {
        let certificate = self.0.load_full()?;
        certificate.is_overdue(now).then_some(certificate.not_after)
    }

    /// The certificate that is served.
    #[cfg(test)]
    pub(super) fn served(&self) -> Option<CertificateDer<'static>> {
        self.0.load().as_ref()?.key.cert.first().cloned()
    }
}

impl ResolvesServerCert for ServingCertificateResolver {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load().as_ref().map(|certificate| Arc::clone(&certificate.key))
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

    async fn load(certificate: &str, key: &str) -> Result<ServingCertificate, CertificateError> {
        let folder = tempfile::tempdir().unwrap();
        let [cert_path, key_path] = ["tls.crt", "tls.key"].map(|name| folder.path().join(name));
        fs::write(&cert_path, certificate).unwrap();
        fs::write(&key_path, key).unwrap();
        ServingCertificate::from_files(&cert_path, &key_path).await
    }

    #[tokio::test]
    async fn a_pair_of_files_is_served() {
        let pair = pair();
        let resolver = ServingCertificateResolver::default();
        assert!(!resolver.has_certificate());
        resolver.serve(load(&pair.cert.pem(), &pair.signing_key.serialize_pem()).await.unwrap());
        assert!(resolver.has_certificate());
    }

    #[tokio::test]
    async fn a_certificate_is_overdue_if_it_expired_before_its_ca() {
        let pair = pair();
        let certificate = load(&pair.cert.pem(), &pair.signing_key.serialize_pem()).await.unwrap();
        let end = certificate.not_after();
        let at = |second: i64| end.saturating_add(jiff::SignedDuration::from_secs(second)).unwrap();
        for (case, ca_not_after, now, expected) in [
            ("valid", Some(100), -1, false),
            ("expired, its CA has not", Some(100), 0, true),
            ("expired with its CA", Some(0), 0, false),
            ("from a file", None, 0, false),
        ] {
            let resolver = ServingCertificateResolver::default();
            resolver.serve(
                ca_not_after.map_or(certificate.clone(), |until| certificate.clone().with_ca_not_after(at(until))),
            );
            assert_eq!(resolver.overdue_since(at(now)), expected.then_some(end), "{case}");
        }
    }

    #[tokio::test]
    async fn an_error_names_the_file_and_the_problem() {
        let (one, other) = (pair(), pair());
        let (certificate, key) = (one.cert.pem(), one.signing_key.serialize_pem());
        let cut = &certificate[..certificate.len() / 2];
        let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (case, certificate, key, expected) in [
            ("another key", certificate.as_str(), other.signing_key.serialize_pem(), "does not belong to the"),
            ("files swapped", &key, certificate.clone(), "given by --tls-cert, contains no certificate in PEM form"),
            ("key is a certificate", &certificate, certificate.clone(), "given by --tls-key, contains no private key"),
            ("empty certificate", "", key.clone(), "given by --tls-cert, contains no certificate"),
            ("certificate cut off", cut, key.clone(), "given by --tls-cert, is damaged PEM"),
            ("not a certificate", nonsense, key.clone(), "given by --tls-cert, can't be used"),
        ] {
            let error = load(certificate, &key).await.unwrap_err().to_string();
            assert!(error.contains(expected), "{case}: {error}");
        }
    }

    #[tokio::test]
    async fn an_error_names_the_missing_file() {
        let error = ServingCertificate::from_files(Path::new("/nowhere/tls.crt"), Path::new("/nowhere/tls.key"))
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "could not read `/nowhere/tls.crt`, given by --tls-cert");
    }
}
