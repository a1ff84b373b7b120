//! The serving certificate from PEM files that another program renews, for example cert-manager.
//!
//! The files are read again at each level check. The `caBundle` belongs to the program or user that renews the files.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tracing::info;

use super::error::CertificateError;
use super::failure_log::FailureLog;
use super::metrics::CertificateMetrics;
use super::serving_certificate::{ServingCertificate, ServingCertificateResolver};
use snapwatcher_daemon::telemetry::error_chain;

/// The service that serves with the files' certificate.
pub(super) struct FileCertificates {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    pub(super) level_check: Duration,
    pub(super) resolver: Arc<ServingCertificateResolver>,
    pub(super) metrics: CertificateMetrics,
}

impl FileCertificates {
    /// Ends with an error if the files are wrong at the start. Later, a wrong file is logged and the last good certificate
    /// is served.
    pub(super) async fn run(self) -> Result<Infallible, CertificateError> {
        let mut served = self.read().await?;
        self.serve(&served);
        let mut failures = FailureLog::default();
        loop {
            sleep(self.level_check).await;
            self.apply(self.read().await, &mut served, &mut failures);
        }
    }

    /// Serves what was read, if it is another certificate than before.
    fn apply(
        &self,
        read: Result<ServingCertificate, CertificateError>,
        served: &mut ServingCertificate,
        failures: &mut FailureLog,
    ) {
        match read {
            Ok(read) => {
                failures.recovered();
                if !read.is_same(served) {
                    self.serve(&read);
                    *served = read;
                }
            }
            Err(error) => {
                let error = error_chain(&error);
                failures.report(&format!("{error}. SnapWatcher serves with the certificate that it read before"));
            }
        }
    }

    async fn read(&self) -> Result<ServingCertificate, CertificateError> {
        ServingCertificate::from_files(&self.certificate, &self.key).await
    }

    fn serve(&self, certificate: &ServingCertificate) {
        self.metrics.serving_certificate_expires(certificate.not_after());
        self.resolver.serve(certificate.clone());
        info!("Serving with the certificate in `{}`", self.certificate.display());
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::development::write_development_certificates;
    use snapwatcher_daemon::clock;

    fn write_certificates(folder: &Path) {
        write_development_certificates(folder, &["localhost".to_owned()], true, clock::now()).unwrap();
    }

    fn service(folder: &Path, level_check: Duration) -> FileCertificates {
        FileCertificates {
            certificate: folder.join("tls.crt"),
            key: folder.join("tls.key"),
            level_check,
            resolver: Arc::default(),
            metrics: CertificateMetrics::default(),
        }
    }

    #[tokio::test]
    async fn a_changed_certificate_is_served() {
        let folder = tempfile::tempdir().unwrap();
        write_certificates(folder.path());
        let service = service(folder.path(), Duration::from_millis(10));
        let resolver = Arc::clone(&service.resolver);
        let scenario = async {
            let served_other_than = async |other: Option<_>| {
                while resolver.served().is_none() || resolver.served() == other {
                    sleep(Duration::from_millis(10)).await;
                }
            };
            served_other_than(None).await;
            let first = resolver.served();
            write_certificates(folder.path());
            served_other_than(first).await;
        };
        tokio::select! {
            ended = service.run() => panic!("the service ended: {ended:?}"),
            scenario = tokio::time::timeout(Duration::from_secs(10), scenario) => scenario.expect("it is served"),
        }
    }

    #[tokio::test]
    async fn a_damaged_file_does_not_replace_the_certificate() {
        let folder = tempfile::tempdir().unwrap();
        write_certificates(folder.path());
        let service = service(folder.path(), Duration::MAX);
        let mut served = service.read().await.unwrap();
        service.serve(&served);
        let first = service.resolver.served();
        let mut failures = FailureLog::default();
        std::fs::write(folder.path().join("tls.crt"), "junk").unwrap();
        service.apply(service.read().await, &mut served, &mut failures);
        assert!(failures.is_failing() && service.resolver.served() == first);
        write_certificates(folder.path());
        service.apply(service.read().await, &mut served, &mut failures);
        assert!(!failures.is_failing() && service.resolver.served() != first);
    }

    #[tokio::test]
    async fn a_damaged_file_at_the_start_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        write_certificates(folder.path());
        std::fs::write(folder.path().join("tls.key"), "junk").unwrap();
        let error = service(folder.path(), Duration::MAX).run().await.unwrap_err();
        assert!(error.to_string().contains("--tls-key"), "{error}");
    }
}
