//! What can be wrong with a certificate: SnapWatcher could not make it, or the user's files cannot be used.

use std::path::PathBuf;

use rustls::pki_types::pem;

/// Why there is no serving certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("could not make {what}")]
    Make { what: &'static str, source: rcgen::Error },
    #[error("could not make a certificate for `{name}`: it is neither a DNS name nor an IP address")]
    Name { name: String, source: rcgen::Error },
    #[error("TLS rejected the serving certificate that was just made")]
    Unusable { source: rustls::Error },
    #[error("could not read `{}`, given by {flag}", path.display())]
    Unreadable { flag: &'static str, path: PathBuf, source: std::io::Error },
    #[error("`{}`, given by {flag}, contains no {wanted} in PEM form", path.display())]
    Absent { flag: &'static str, path: PathBuf, wanted: &'static str },
    #[error("`{}`, given by {flag}, is damaged PEM: {why}", path.display())]
    Damaged { flag: &'static str, path: PathBuf, why: pem::Error },
    #[error("`{}`, given by {flag}, can't be used", path.display())]
    Rejected { flag: &'static str, path: PathBuf, source: rustls::Error },
    #[error(
        "the key in `{}` does not belong to the first certificate in `{}`: give a certificate and its key by --tls-cert \
         and --tls-key, the server's own certificate first",
        key.display(),
        certificate.display()
    )]
    Mismatch { certificate: PathBuf, key: PathBuf },
}

/// There is no CA Secret, and SnapWatcher has no right to create one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Secret `{namespace}/{name}` does not exist, and SnapWatcher never creates it: {}", self.remedy())]
pub struct MissingSecret {
    pub namespace: String,
    pub name: String,
}

impl MissingSecret {
    /// What to do.
    #[must_use]
    pub fn remedy(&self) -> String {
        format!(
            "run `helm upgrade`, or create it empty: `kubectl create secret generic {} --namespace {}`",
            self.name, self.namespace
        )
    }
}

/// Why a certificate and a key are not a CA of SnapWatcher.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnusableCa {
    #[error("it contains no CA certificate in PEM form, or more than one")]
    NoCertificate,
    #[error("its certificate is not that of a CA")]
    NotACa,
    #[error("its CA `{name}` was not made by SnapWatcher")]
    NotOurs { name: String },
    #[error("it contains no private key in PEM form")]
    NoKey,
    #[error("its key does not belong to its certificate")]
    OtherKey,
}
