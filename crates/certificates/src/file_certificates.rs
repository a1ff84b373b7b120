//! A certificate from files that somebody else keeps, such as cert-manager: read again when their content changes.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};
use tracing::info;

use super::bundle_status::BundleStatus;
use super::ca_bundle::CaBundle;
use super::error::CertificateError;
use super::failure_log::FailureLog;
use super::handover::{Handover, LONGEST, Move};
use super::metrics::CertificateMetrics;
use super::pem_files;
use super::server_clock::ServerClock;
use super::serving_certificate::{ServingCertificate, ServingCertificateResolver};
use snapwatcher_daemon::telemetry::error_chain;

/// From one look to the next while one CA follows another.
const SOON: Duration = Duration::from_secs(1);

/// The files, and where their content goes.
pub(super) struct FileCertificates {
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
    pub(super) ca: Option<PathBuf>,
    pub(super) level_check: Duration,
    pub(super) clock: ServerClock,
    pub(super) resolver: Arc<ServingCertificateResolver>,
    pub(super) bundle: watch::Sender<Option<CaBundle>>,
    pub(super) status: watch::Receiver<BundleStatus>,
    /// Somebody else changed a bundle: another replica may have read the files before this one.
    pub(super) look: Arc<Notify>,
    pub(super) metrics: CertificateMetrics,
}

/// What the files held.
pub(super) struct Files {
    pub(super) leaf: ServingCertificate,
    bundle: Option<String>,
}

impl Files {
    /// Reads them; refuses what can't be served with, or would be trusted by nobody.
    pub(super) async fn read(cert: &Path, key: &Path, ca: Option<&Path>) -> Result<Self, CertificateError> {
        let leaf = ServingCertificate::from_files(cert, key).await?;
        let Some(ca) = ca else { return Ok(Self { leaf, bundle: None }) };
        let authorities = pem_files::read_authorities(ca).await?;
        let (certificate, ca) = (cert.to_owned(), ca.to_owned());
        leaf.is_signed_by(&authorities.roots).map_err(|source| CertificateError::NotSigned {
            certificate,
            ca,
            source,
        })?;
        Ok(Self { leaf, bundle: Some(authorities.bundle) })
    }
}

/// What is made of the files.
struct Use {
    /// As last read.
    files: Files,
    served: ServingCertificate,
    handover: Option<Handover>,
}

impl FileCertificates {
    /// Fails where the files are wrong at first; later a wrong file is told, and what was read before stays.
    pub(super) async fn run(self) -> Result<Infallible, CertificateError> {
        let files = self.read().await?;
        let mut used = Use { served: files.leaf.clone(), files, handover: None };
        // Whether one CA follows another in these files just now can't be known.
        self.trust_until(used.files.bundle.as_deref(), Some(Instant::now() + LONGEST * self.level_check));
        self.serve(&used.served);
        let mut reading = FailureLog::default();
        loop {
            let pause = if used.handover.is_some() { SOON.min(self.level_check) } else { self.level_check };
            tokio::select! {
                () = sleep(pause) => {}
                () = self.look.notified() => {}
            }
            match self.read().await {
                Ok(files) => {
                    reading.is_over();
                    self.take(&mut used, files);
                }
                Err(error) => reading.tell(&format!("{}; the certificate read before stays", error_chain(&error))),
            }
            self.go_on(&mut used);
        }
    }

    async fn read(&self) -> Result<Files, CertificateError> {
        Files::read(&self.cert, &self.key, self.ca.as_deref()).await
    }

    /// Takes note of what was read. Another CA is trusted beside the one before at once.
    fn take(&self, used: &mut Use, files: Files) {
        if let (Some(before), Some(read)) = (&used.files.bundle, &files.bundle)
            && before != read
        {
            let trusted = used.handover.as_ref().map_or(before, |handover| &handover.bundle);
            let handover = Handover::begun(trusted, read, Instant::now());
            info!("The CA file has changed: what it held before is trusted for some time more");
            self.trust(Some(&handover.bundle));
            used.handover = Some(handover);
        }
        used.files = files;
    }

    /// Does what is due: serves with what was read, and drops the CA before.
    fn go_on(&self, used: &mut Use) {
        if let Some(handover) = &mut used.handover {
            let is_read_back = self.status.borrow().holds(&handover.bundle);
            let is_over = used.served.has_expired(self.clock.now());
            match handover.go_on(is_read_back, is_over, self.level_check, Instant::now()) {
                Move::Drop => {
                    self.trust(used.files.bundle.as_deref());
                    used.handover = None;
                }
                Move::Wait if handover.is_publishing() => return,
                Move::Wait | Move::Serve => {}
            }
        }
        if !used.files.leaf.is_same(&used.served) {
            used.served = used.files.leaf.clone();
            self.serve(&used.served);
        }
    }

    fn trust(&self, bundle: Option<&str>) {
        self.trust_until(bundle, None);
    }

    fn trust_until(&self, bundle: Option<&str>, shared_until: Option<Instant>) {
        if let Some(text) = bundle {
            let text: Arc<str> = text.into();
            self.bundle.send_replace(Some(CaBundle { serving: Some(text.clone()), text, shared_until }));
        }
    }

    fn serve(&self, leaf: &ServingCertificate) {
        self.metrics.leaf_expires(leaf.not_after());
        self.resolver.put(leaf.clone());
        info!("Serving with the certificate in `{}`", self.cert.display());
    }
}
