//! What can be wrong with certificates: our own making of them, or the files a user gave.

use std::path::PathBuf;

use rustls::pki_types::pem;

/// Why there is no certificate to serve with.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("could not make {what}")]
    Make { what: &'static str, source: rcgen::Error },
    #[error("`{name}` can't stand in a certificate: it is neither a DNS name nor an IP address")]
    Name { name: String, source: rcgen::Error },
    #[error("the certificate just made can't be served")]
    Unusable { source: rustls::Error },
    #[error("could not read `{}`, given by {flag}", path.display())]
    Unreadable { flag: &'static str, path: PathBuf, source: std::io::Error },
    #[error("`{}`, given by {flag}, holds no {wanted} in PEM form", path.display())]
    Absent { flag: &'static str, path: PathBuf, wanted: &'static str },
    #[error("`{}`, given by {flag}, is damaged PEM: {why}", path.display())]
    Damaged { flag: &'static str, path: PathBuf, why: pem::Error },
    #[error("`{}`, given by {flag}, can't be used", path.display())]
    Rejected { flag: &'static str, path: PathBuf, source: rustls::Error },
    #[error(
        "the key in `{}` does not belong to the certificate in `{}`: give --tls-cert and --tls-key of the same pair, \
         the server's own certificate first",
        key.display(),
        certificate.display()
    )]
    Mismatch { certificate: PathBuf, key: PathBuf },
    #[error(
        "no CA in `{}` signed the certificate in `{}`: give --tls-ca the CA that did, and in --tls-cert also those between \
         the two",
        ca.display(),
        certificate.display()
    )]
    NotSigned { certificate: PathBuf, ca: PathBuf, source: rustls::Error },
}

/// Why a certificate and a key are no CA of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnusableCa {
    #[error("it holds no CA certificate in PEM form, or more than one")]
    NoCertificate,
    #[error("its certificate is not that of a CA")]
    NotACa,
    #[error("its CA `{name}` was not made by this program")]
    NotOurs { name: String },
    #[error("it holds no private key in PEM form")]
    NoKey,
    #[error("its key does not belong to its certificate")]
    OtherKey,
}
