//! CA certificates from a file, in the place of those that are trusted otherwise.

use std::io;
use std::path::{Path, PathBuf};

use reqwest::Certificate;

/// Why a CA file can't be worked with; `whom` it is for.
#[derive(Debug, thiserror::Error)]
pub enum CaFileError {
    #[error("could not read the CA file `{path}` for {whom}")]
    Unreadable { path: PathBuf, whom: &'static str, source: io::Error },
    #[error("the CA file `{path}` for {whom} is not a list of PEM certificates")]
    Unusable { path: PathBuf, whom: &'static str, source: Option<reqwest::Error> },
}

pub(super) fn read(path: &Path, whom: &'static str) -> Result<Vec<Certificate>, CaFileError> {
    let path_buf = || path.to_owned();
    let pem = std::fs::read(path).map_err(|source| CaFileError::Unreadable { path: path_buf(), whom, source })?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        other => Err(CaFileError::Unusable { path: path_buf(), whom, source: other.err() }),
    }
}
