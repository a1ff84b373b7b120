//! Which servers are trusted: by the certificates of the CA file, and by those of the system, as Docker and containerd do.
//!
//! Blobs are often in an object store, and tokens come from another server than the registry. With the CA file alone, a registry
//! with a CA of its own could not lead to a server with a public certificate.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use snapwatcher_kubernetes::tls::GivenCertificates;

/// Why there are no certificates to trust.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("could not read the CA file `{path}` for the registry ({why})", path = path.display())]
    Unreadable { path: PathBuf, why: io::ErrorKind },
    #[error("the CA file `{path}` for the registry is not a list of PEM certificates", path = path.display())]
    Unusable { path: PathBuf },
    #[error("a certificate in the CA file for the registry could not be used")]
    Certificate(#[source] Box<dyn Error + Send + Sync>),
    #[error("could not set up TLS for the registry")]
    Protocol(#[from] rustls::Error),
}

/// A server is trusted if one of the two trusts it.
#[derive(Debug)]
struct Trust {
    given: GivenCertificates,
    /// `None` on a system without certificates.
    system: Option<Arc<WebPkiServerVerifier>>,
}

/// How connections are made that trust the certificates in this file, if there is one, and those of the system.
pub(super) fn tls(ca_file: Option<&Path>) -> Result<ClientConfig, TlsError> {
    let certificates = ca_file.map(certificates).transpose()?.unwrap_or_default();
    let provider = Arc::new(ring::default_provider());
    let given = GivenCertificates::new(certificates, Arc::clone(&provider)).map_err(TlsError::Certificate)?;
    let mut roots = RootCertStore::empty();
    // Some systems have certificates that webpki can't read. They verify nothing.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let system = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().ok();
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?.dangerous();
    Ok(builder.with_custom_certificate_verifier(Arc::new(Trust { given, system })).with_no_client_auth())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = |error: io::Error| TlsError::Unreadable { path: path.to_owned(), why: error.kind() };
    let pem = std::fs::read(path).map_err(unreadable)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates = certificates.ok().filter(|certificates| !certificates.is_empty());
    certificates.ok_or_else(|| TlsError::Unusable { path: path.to_owned() })
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let given = self.given.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        let (Err(why), Some(system)) = (&given, &self.system) else { return given };
        match system.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The file is what an operator can correct, so its verdict is the one that is shown.
            Err(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => Err(why.clone()),
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.given.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.given.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.given.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_used_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (path, expected) in [(Path::new("/no/such/file"), "could not read"), (file.path(), "is not a list of PEM")]
        {
            let error = tls(Some(path)).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains(&path.display().to_string()), "{error}");
        }
    }
}
