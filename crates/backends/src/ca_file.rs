//! The certificates of a PEM file, trusted in place of the default ones.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::given_certificates::GivenCertificates;

/// Why a CA file can't be used; `endpoint` is what its certificates verify.
#[derive(Debug, thiserror::Error)]
pub enum CaFileError {
    #[error("could not read the CA file `{path}` for {endpoint}")]
    Unreadable { path: PathBuf, endpoint: &'static str, source: io::Error },
    #[error("the CA file `{path}` for {endpoint} is not a list of PEM certificates")]
    Unusable { path: PathBuf, endpoint: &'static str, source: Option<Box<dyn Error + Send + Sync>> },
}

/// How connections are made that trust the certificates in this file and no others.
pub(super) fn tls(path: &Path, endpoint: &'static str) -> Result<ClientConfig, CaFileError> {
    let pem =
        std::fs::read(path).map_err(|source| CaFileError::Unreadable { path: path.to_owned(), endpoint, source })?;
    let unusable = |source| CaFileError::Unusable { path: path.to_owned(), endpoint, source };
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates = certificates.map_err(|error| unusable(Some(error.into())))?;
    if certificates.is_empty() {
        return Err(unusable(None));
    }
    trusting(certificates).map_err(|error| unusable(Some(error)))
}

/// How connections are made that trust these certificates and no others, as Go does: also if a server presents one of them.
pub fn trusting(certificates: Vec<CertificateDer<'static>>) -> Result<ClientConfig, Box<dyn Error + Send + Sync>> {
    let provider = Arc::new(ring::default_provider());
    let verifier = GivenCertificates::new(certificates, Arc::clone(&provider))?;
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
}
