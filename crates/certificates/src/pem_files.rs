//! Certificates and keys from files that a user named. Each error names the file and its flag.

use std::path::Path;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::error::CertificateError;

const CERT_FLAG: &str = "--tls-cert";
const KEY_FLAG: &str = "--tls-key";

/// Reads a certificate chain of at least one certificate.
pub(super) async fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let text = read(CERT_FLAG, path).await?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(damaged(CERT_FLAG, path, "certificate", pem::Error::NoItemsFound)),
        Ok(chain) => Ok(chain),
        Err(why) => Err(damaged(CERT_FLAG, path, "certificate", why)),
    }
}

/// Reads a private key: PKCS #8, PKCS #1 or SEC1.
pub(super) async fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, CertificateError> {
    let text = read(KEY_FLAG, path).await?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|why| damaged(KEY_FLAG, path, "private key", why))
}

/// TLS cannot serve the chain.
pub(super) fn rejected_chain(path: &Path, source: rustls::Error) -> CertificateError {
    CertificateError::Rejected { flag: CERT_FLAG, path: path.to_owned(), source }
}

/// TLS cannot sign with the key.
pub(super) fn rejected_key(path: &Path, source: rustls::Error) -> CertificateError {
    CertificateError::Rejected { flag: KEY_FLAG, path: path.to_owned(), source }
}

async fn read(flag: &'static str, path: &Path) -> Result<Vec<u8>, CertificateError> {
    tokio::fs::read(path).await.map_err(|source| CertificateError::Unreadable { flag, path: path.to_owned(), source })
}

fn damaged(flag: &'static str, path: &Path, wanted: &'static str, why: pem::Error) -> CertificateError {
    let path = path.to_owned();
    match why {
        pem::Error::NoItemsFound => CertificateError::Absent { flag, path, wanted },
        why => CertificateError::Damaged { flag, path, why },
    }
}
