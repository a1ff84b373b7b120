//! What the API server needs to trust our webhook: a serving certificate, and the CA that signed it in the `caBundle`
//! of the webhook configurations.
//!
//! Without cert-manager: CA and leaf are made here, in memory, and the bundle is kept in the two named configurations,
//! which are never created here. Or with it: certificate, key and CA come from files.

mod authority;
mod bundle;
mod error;
mod files;
mod keeper;
mod leaf;
mod metrics;
mod status;

use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use authority::{Authority, service_names};
pub use bundle::FIELD_MANAGER;
pub use error::CertificateError;
pub use leaf::{Leaf, LeafResolver};
pub use metrics::CertificateMetrics;
pub use status::{BundleStatus, Keeping, Kind};

use crate::clock;
use crate::cluster::Cluster;
use bundle::{Configuration, bundle_pem};
use keeper::Keeper;

const CA_LIFE: Duration = Duration::from_secs(365 * 24 * 60 * 60);
const LEAF_LIFE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Where the certificate comes from, and which configurations trust it.
#[derive(Debug, Clone)]
pub struct Settings {
    pub source: TlsSource,
    /// Name of the `MutatingWebhookConfiguration` that gets the bundle.
    pub mutating: Option<String>,
    /// Name of the `ValidatingWebhookConfiguration` that gets the bundle.
    pub validating: Option<String>,
}

/// Where the certificate comes from.
#[derive(Debug, Clone)]
pub enum TlsSource {
    /// Made here, for these DNS names and IP addresses; see [`service_names`].
    Own { names: Vec<String> },
    /// Read from PEM files. Without `ca` the configurations are left to the user.
    Files { cert: PathBuf, key: PathBuf, ca: Option<PathBuf> },
}

/// The service that provides the leaf and keeps the bundle.
pub struct Certificates {
    settings: Settings,
    cluster: Cluster,
    metrics: CertificateMetrics,
    resolver: Arc<LeafResolver>,
    status: watch::Sender<BundleStatus>,
}

impl Certificates {
    #[must_use]
    pub fn new(settings: Settings, cluster: Cluster, metrics: CertificateMetrics) -> Self {
        let is_kept = !matches!(settings.source, TlsSource::Files { ca: None, .. });
        let at_first = |name: &Option<String>| name.as_ref().filter(|_| is_kept).map(|_| Keeping::Unknown);
        let status =
            BundleStatus { mutating: at_first(&settings.mutating), validating: at_first(&settings.validating) };
        Self { settings, cluster, metrics, resolver: Arc::default(), status: watch::Sender::new(status) }
    }

    /// From where the server takes its leaf; empty until [`run`](Self::run) has one.
    #[must_use]
    pub fn resolver(&self) -> Arc<LeafResolver> {
        Arc::clone(&self.resolver)
    }

    /// What is known of the bundle, for `/readyz`.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<BundleStatus> {
        self.status.subscribe()
    }

    /// Provides the first leaf, which fails on a wrong file or name only, then keeps the bundle until told to stop.
    pub async fn run(self, stop: CancellationToken) -> Result<(), CertificateError> {
        let (leaf, bundle) = self.first_leaf().await?;
        self.resolver.put(leaf);
        self.status.send_modify(|_| ()); // whoever waits for the bundle looks for the leaf too
        stop.run_until_cancelled(self.keep(bundle)).await;
        Ok(())
    }

    async fn first_leaf(&self) -> Result<(Leaf, Option<String>), CertificateError> {
        match &self.settings.source {
            TlsSource::Own { names } => {
                let now = clock::now();
                let authority = Authority::generate(CA_LIFE, now)?;
                let leaf = authority.issue(names, LEAF_LIFE, now)?;
                info!("Serving with a new certificate for {}", names.join(", "));
                Ok((leaf, Some(bundle_pem([authority.certificate_pem().as_str()]))))
            }
            TlsSource::Files { cert, key, ca } => {
                let leaf = Leaf::from_files(cert, key).await?;
                let bundle = match ca {
                    Some(ca) => Some(files::read_bundle(ca).await?),
                    None => None,
                };
                info!("Serving with the certificate in `{}`", cert.display());
                Ok((leaf, bundle))
            }
        }
    }

    async fn keep(&self, bundle: Option<String>) {
        match &bundle {
            None => info!("No --tls-ca is given: the CA bundle in the webhook configurations is not ours to keep"),
            Some(_) if self.settings.mutating.is_none() && self.settings.validating.is_none() => warn!(
                "No webhook configuration is named, so that none trusts this certificate: give {} and {}",
                Kind::Mutating.flag(),
                Kind::Validating.flag()
            ),
            Some(_) => {}
        }
        join(
            self.keep_in::<MutatingWebhookConfiguration>(self.settings.mutating.as_ref(), bundle.as_ref()),
            self.keep_in::<ValidatingWebhookConfiguration>(self.settings.validating.as_ref(), bundle.as_ref()),
        )
        .await;
    }

    async fn keep_in<K: Configuration>(&self, name: Option<&String>, bundle: Option<&String>) {
        let (Some(name), Some(bundle)) = (name, bundle) else { return pending().await };
        let (status, metrics) = (self.status.clone(), self.metrics.clone());
        let keeper = Keeper::<K>::new(name.clone(), bundle.clone(), &self.cluster, status, metrics);
        // Boxed: kube's calls are large futures, and this one lives in a task for ever.
        match Box::pin(keeper.keep()).await {}
    }
}
