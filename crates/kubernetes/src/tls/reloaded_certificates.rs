//! Verifies a server by the certificates of a file that changes: the CA of the API server in a pod, which the kubelet replaces.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};

use super::given_certificates::GivenCertificates;

/// How long the certificates count before the file is read again.
const RELOAD_INTERVAL: Duration = Duration::from_secs(60);

/// The verifier.
#[derive(Debug)]
pub(crate) struct ReloadedCertificates {
    path: PathBuf,
    provider: Arc<CryptoProvider>,
    interval: Duration,
    current: Mutex<(Arc<GivenCertificates>, Instant)>,
}

impl ReloadedCertificates {
    /// Fails if the file cannot be used now. Later, the last usable certificates count.
    pub(crate) fn read(path: PathBuf, provider: Arc<CryptoProvider>) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let current = Mutex::new((Arc::new(read(&path, &provider)?), Instant::now()));
        Ok(Self { path, provider, interval: RELOAD_INTERVAL, current })
    }

    fn current(&self) -> Arc<GivenCertificates> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.1.elapsed() >= self.interval {
            match read(&self.path, &self.provider) {
                Ok(read) => current.0 = Arc::new(read),
                Err(error) => tracing::warn!(
                    "Could not read the CA of the API server from `{}` ({error}). SnapWatcher uses the one that it has read before, and \
                     reads the file again in a minute",
                    self.path.display()
                ),
            }
            current.1 = Instant::now();
        }
        Arc::clone(&current.0)
    }
}

fn read(path: &Path, provider: &Arc<CryptoProvider>) -> Result<GivenCertificates, Box<dyn Error + Send + Sync>> {
    let pem = std::fs::read(path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    GivenCertificates::new(certificates?, Arc::clone(provider))
}

impl ServerCertVerifier for ReloadedCertificates {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.current().verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.current().verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.current().verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.current().supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rustls::crypto::ring;

    use super::super::given_certificates::tests::self_signed;
    use super::*;

    #[test]
    fn a_file_that_is_replaced_counts_and_one_that_is_damaged_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.crt");
        let [first, second] = [self_signed(|_| {}), self_signed(|_| {})];
        std::fs::write(&path, first.pem()).unwrap();
        let mut verifier = ReloadedCertificates::read(path.clone(), Arc::new(ring::default_provider())).unwrap();
        let accepts = |verifier: &ReloadedCertificates, certificate: &rcgen::Certificate| {
            let name = ServerName::try_from("localhost").unwrap();
            verifier.verify_server_cert(certificate.der(), &[], &name, &[], UnixTime::now()).is_ok()
        };
        std::fs::write(&path, second.pem()).unwrap();
        assert!(accepts(&verifier, &first) && !accepts(&verifier, &second), "the file is not read again yet");
        verifier.interval = Duration::ZERO;
        assert!(!accepts(&verifier, &first) && accepts(&verifier, &second));
        std::fs::write(&path, "-----BEGIN CERTIFICATE-----\n").unwrap();
        assert!(accepts(&verifier, &second));
    }
}
