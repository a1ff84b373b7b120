//! A certificate from files that somebody else keeps, such as cert-manager: read again when their content changes.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use tracing::info;

use super::bundle::Bundle;
use super::error::CertificateError;
use super::files;
use super::leaf::{Leaf, LeafResolver};
use super::metrics::CertificateMetrics;
use super::trouble::Trouble;
use crate::telemetry::chain;

/// The files, and where their content goes.
pub(super) struct Given {
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
    pub(super) ca: Option<PathBuf>,
    pub(super) level_check: Duration,
    pub(super) resolver: Arc<LeafResolver>,
    pub(super) bundle: watch::Sender<Option<Bundle>>,
    pub(super) metrics: CertificateMetrics,
}

impl Given {
    /// Fails where the files are wrong at first; later a wrong file is told, and what was read before stays.
    pub(super) async fn run(self) -> Result<Infallible, CertificateError> {
        let (mut leaf, mut bundle) = self.read().await?;
        self.serve(&leaf, bundle.as_ref());
        let mut reading = Trouble::default();
        loop {
            sleep(self.level_check).await;
            match self.read().await {
                Ok((now, trusted)) => {
                    reading.is_over();
                    if !now.is_same(&leaf) || trusted != bundle {
                        (leaf, bundle) = (now, trusted);
                        self.serve(&leaf, bundle.as_ref());
                    }
                }
                Err(error) => reading.tell(&format!("{}; the certificate read before stays", chain(&error))),
            }
        }
    }

    async fn read(&self) -> Result<(Leaf, Option<String>), CertificateError> {
        let leaf = Leaf::from_files(&self.cert, &self.key).await?;
        let bundle = match &self.ca {
            Some(ca) => Some(files::read_bundle(ca).await?),
            None => None,
        };
        Ok((leaf, bundle))
    }

    /// The bundle first: whoever writes the files lets old and new CA stand in it while both are in use.
    fn serve(&self, leaf: &Leaf, bundle: Option<&String>) {
        if let Some(text) = bundle {
            self.bundle.send_replace(Some(Bundle { text: text.as_str().into(), serving: None }));
        }
        self.metrics.leaf_expires(leaf.not_after());
        self.resolver.put(leaf.clone());
        info!("Serving with the certificate in `{}`", self.cert.display());
    }
}
