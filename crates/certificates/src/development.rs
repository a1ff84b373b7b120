//! Certificate files for development: a CA and a serving certificate, for `--tls-cert` and `--tls-key`.

use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use super::certificate_authority::CertificateAuthority;
use super::error::CertificateError;

/// The files: the CA, the serving certificate, and its key.
pub const FILES: [&str; 3] = ["ca.crt", "tls.crt", "tls.key"];

/// The longest life that clients accept is 398 days.
const LIFE: Duration = Duration::from_secs(397 * 24 * 60 * 60);

/// Why the files were not written.
#[derive(Debug, thiserror::Error)]
pub enum DevelopmentError {
    #[error("`{}` exists: use --force to overwrite it", path.display())]
    Exists { path: PathBuf },
    #[error("could not write `{}`", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Make(#[from] CertificateError),
}

/// Writes [`FILES`] into the folder, which is created if it does not exist. The CA's key is not written.
pub fn write_development_certificates(
    folder: &Path,
    names: &[String],
    force: bool,
    now: Timestamp,
) -> Result<(), DevelopmentError> {
    let paths = FILES.map(|name| folder.join(name));
    if let Some(path) = paths.iter().find(|path| !force && path.exists()) {
        return Err(DevelopmentError::Exists { path: path.clone() });
    }
    let authority = CertificateAuthority::generate(LIFE, now)?;
    let (certificate, key) = authority.issue_pem(names, LIFE, now)?;
    let made = std::fs::create_dir_all(folder);
    made.map_err(|source| DevelopmentError::Write { path: folder.to_owned(), source })?;
    for (path, text) in paths.iter().zip([authority.certificate().pem(), &certificate, &key]) {
        write_private(path, text).map_err(|source| DevelopmentError::Write { path: path.clone(), source })?;
    }
    Ok(())
}

/// Writes a file that only its owner can read. An existing file is replaced, since it may have other permissions.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::serving_certificate::ServingCertificate;

    fn now() -> Timestamp {
        snapwatcher_daemon::clock::now()
    }

    #[tokio::test]
    async fn the_files_can_be_served() {
        let folder = tempfile::tempdir().unwrap();
        let certs = folder.path().join("certs");
        write_development_certificates(&certs, &["localhost".to_owned()], false, now()).unwrap();
        ServingCertificate::from_files(&certs.join("tls.crt"), &certs.join("tls.key")).await.unwrap();
        let mode = std::fs::metadata(certs.join("tls.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn files_are_overwritten_with_force_only() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["localhost".to_owned()];
        write_development_certificates(folder.path(), &names, false, now()).unwrap();
        let before = std::fs::read_to_string(folder.path().join("tls.crt")).unwrap();
        let error = write_development_certificates(folder.path(), &names, false, now()).unwrap_err();
        assert!(error.to_string().contains("--force"), "{error}");
        assert_eq!(std::fs::read_to_string(folder.path().join("tls.crt")).unwrap(), before);
        write_development_certificates(folder.path(), &names, true, now()).unwrap();
        assert_ne!(std::fs::read_to_string(folder.path().join("tls.crt")).unwrap(), before);
    }
}
