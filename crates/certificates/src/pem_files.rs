//! Certificates and keys from files that a user named; each error says which flag's file it is.

use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::ca_bundle::join_certificates;
use super::error::CertificateError;

const CERT_FLAG: &str = "--tls-cert";
const KEY_FLAG: &str = "--tls-key";
const CA_FLAG: &str = "--tls-ca";

/// Reads a certificate chain: at least one certificate.
pub(super) async fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    certificates(CERT_FLAG, path, &read(CERT_FLAG, path).await?)
}

/// Reads a private key: PKCS #8, PKCS #1 or SEC1.
pub(super) async fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, CertificateError> {
    let text = read(KEY_FLAG, path).await?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|why| damaged(KEY_FLAG, path, "private key", why))
}

/// The certificates that sign ours.
#[derive(Debug)]
pub(super) struct CaSet {
    /// As a bundle.
    pub(super) bundle: String,
    pub(super) roots: RootCertStore,
}

/// Reads them.
pub(super) async fn read_authorities(path: &Path) -> Result<CaSet, CertificateError> {
    let text = read(CA_FLAG, path).await?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates(CA_FLAG, path, &text)? {
        roots.add(certificate).map_err(|source| rejected_ca(path, source))?;
    }
    Ok(CaSet { bundle: join_certificates([String::from_utf8_lossy(&text).as_ref()]), roots })
}

/// The chain can't be served.
pub(super) fn rejected_chain(path: &Path, source: rustls::Error) -> CertificateError {
    CertificateError::Rejected { flag: CERT_FLAG, path: path.to_owned(), source }
}

/// The key can't sign.
pub(super) fn rejected_key(path: &Path, source: rustls::Error) -> CertificateError {
    CertificateError::Rejected { flag: KEY_FLAG, path: path.to_owned(), source }
}

fn rejected_ca(path: &Path, source: rustls::Error) -> CertificateError {
    CertificateError::Rejected { flag: CA_FLAG, path: path.to_owned(), source }
}

async fn read(flag: &'static str, path: &Path) -> Result<Vec<u8>, CertificateError> {
    tokio::fs::read(path).await.map_err(|source| CertificateError::Unreadable { flag, path: path.to_owned(), source })
}

fn certificates(
    flag: &'static str,
    path: &Path,
    text: &[u8],
) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match found {
        Ok(found) if found.is_empty() => Err(damaged(flag, path, "certificate", pem::Error::NoItemsFound)),
        Ok(found) => Ok(found),
        Err(why) => Err(damaged(flag, path, "certificate", why)),
    }
}

fn damaged(flag: &'static str, path: &Path, wanted: &'static str, why: pem::Error) -> CertificateError {
    let path = path.to_owned();
    match why {
        pem::Error::NoItemsFound => CertificateError::Absent { flag, path, wanted },
        why => CertificateError::Damaged { flag, path, why },
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn a_bundle_file_may_hold_more_than_certificates() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.crt");
        let ca = rcgen::generate_simple_self_signed(["ca".to_owned()]).unwrap().cert.pem();
        fs::write(&path, format!("# our CA\n{ca}\n{ca}")).unwrap();
        assert_eq!(read_authorities(&path).await.unwrap().bundle, ca);
    }

    #[tokio::test]
    async fn a_bundle_file_without_a_certificate_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.crt");
        for (text, expected) in [
            ("", "given by --tls-ca, holds no certificate"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "given by --tls-ca, can't be used"),
        ] {
            fs::write(&path, text).unwrap();
            let error = read_authorities(&path).await.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
