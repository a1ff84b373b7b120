//! CA certificates from a PEM file, used in place of the default ones.

use std::io;
use std::path::{Path, PathBuf};

use reqwest::Certificate;

/// Why a CA file can't be used; `endpoint` is what its certificates verify.
#[derive(Debug, thiserror::Error)]
pub enum CaFileError {
    #[error("could not read the CA file `{path}` for {endpoint}")]
    Unreadable { path: PathBuf, endpoint: &'static str, source: io::Error },
    #[error("the CA file `{path}` for {endpoint} is not a list of PEM certificates")]
    Unusable { path: PathBuf, endpoint: &'static str, source: Option<reqwest::Error> },
}

pub(super) fn read(path: &Path, endpoint: &'static str) -> Result<Vec<Certificate>, CaFileError> {
    let path_buf = || path.to_owned();
    let pem = std::fs::read(path).map_err(|source| CaFileError::Unreadable { path: path_buf(), endpoint, source })?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        other => Err(CaFileError::Unusable { path: path_buf(), endpoint, source: other.err() }),
    }
}
