//! The certificates of a PEM file, trusted in place of the default ones.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use snapwatcher_kubernetes::tls::trusting;

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
