//! What the API server needs to trust our webhook: a serving certificate, and the CA that signed it in the `caBundle`
//! of the webhook configurations.
//!
//! Without cert-manager: the CA stands in a Secret that all replicas share and is followed by another in time, each
//! replica has a leaf of it in memory, and the bundle is kept in the two named configurations, which are never created
//! here. Or with it: certificate, key and CA come from files.

mod bundle_status;
mod ca_bundle;
mod ca_bundle_controller;
mod ca_secret;
mod ca_secret_controller;
mod ca_set;
mod certificate_authority;
mod development;
mod error;
mod failure_log;
mod file_certificates;
mod handover;
mod handshake_check;
mod manual_rotation;
mod metrics;
mod named_object;
mod pem_files;
mod readiness;
mod rotation;
mod server_clock;
mod serving_certificate;
mod serving_certificate_issuer;

use std::convert::Infallible;
use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwapOption;
use futures::future::join;
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use bundle_status::{BundleState, BundleStatus, ConfigurationKind, ConfigurationTrust};
pub use ca_bundle::FIELD_MANAGER;
pub use ca_secret::CaSecret;
pub use certificate_authority::{CaCertificate, CertificateAuthority, service_names};
pub use development::{DevelopmentError, FILES, write_development_certificates};
pub use error::{CertificateError, UnusableCa};
pub use manual_rotation::{RotateError, rotate};
pub use metrics::CertificateMetrics;
pub use readiness::{CertificateChecks, CertificateReadiness};
pub use rotation::{CertificateTimings, RotationStep};
pub use serving_certificate::{ServingCertificate, ServingCertificateResolver};

use ca_bundle::{CaBundle, WebhookConfiguration};
use ca_bundle_controller::{BundleControllerContext, CaBundleController};
use ca_secret_controller::CaSecretController;
use file_certificates::{FileCertificates, Files};
use server_clock::ServerClock;
use serving_certificate_issuer::ServingCertificateIssuer;
use snapwatcher_kubernetes::cluster::Cluster;

/// Tells something about the certificates as an Event: its reason and a sentence.
pub type Tell = Arc<dyn Fn(&'static str, String) + Send + Sync>;

/// Where the certificate comes from, and which configurations trust it.
#[derive(Debug, Clone)]
pub struct CertificateSettings {
    pub source: TlsSource,
    pub times: CertificateTimings,
    /// Name of the `MutatingWebhookConfiguration` that gets the bundle.
    pub mutating: Option<String>,
    /// Name of the `ValidatingWebhookConfiguration` that gets the bundle.
    pub validating: Option<String>,
}

/// Where the certificate comes from.
#[derive(Debug, Clone)]
pub enum TlsSource {
    /// Made by this program for these DNS names and IP addresses, see [`service_names`], by a CA in this Secret.
    CaSecret { names: Vec<String>, namespace: String, secret: String },
    /// Read from PEM files. Without `ca` the configurations are left to the user.
    Files { cert: PathBuf, key: PathBuf, ca: Option<PathBuf> },
}

impl TlsSource {
    /// Until when the certificate from files is valid, which have to be usable; nothing where it is made by this program.
    pub async fn not_after(&self) -> Result<Option<Timestamp>, CertificateError> {
        let Self::Files { cert, key, ca } = self else { return Ok(None) };
        Ok(Some(Files::read(cert, key, ca.as_deref()).await?.leaf.not_after()))
    }
}

/// What the keepers and the service of the source have to say to each other beside the bundle.
#[derive(Clone, Default)]
struct Signals {
    /// Has the source looked at: somebody else changed a bundle.
    look: Arc<Notify>,
    /// Whether the Secret can't be read.
    unread: Arc<AtomicBool>,
}

/// The service that provides the leaf and keeps the bundle.
pub struct Certificates {
    settings: CertificateSettings,
    cluster: Cluster,
    metrics: CertificateMetrics,
    tell: Tell,
    resolver: Arc<ServingCertificateResolver>,
    status: watch::Sender<BundleStatus>,
    clock: ServerClock,
    fault: Arc<ArcSwapOption<String>>,
}

impl Certificates {
    #[must_use]
    pub fn new(settings: CertificateSettings, cluster: Cluster, metrics: CertificateMetrics, tell: Tell) -> Self {
        let is_kept = !matches!(settings.source, TlsSource::Files { ca: None, .. });
        let at_first = |name: &Option<String>| name.as_ref().filter(|_| is_kept).map(|_| BundleState::Unknown);
        let status =
            BundleStatus { mutating: at_first(&settings.mutating), validating: at_first(&settings.validating) };
        let (resolver, status) = (Arc::default(), watch::Sender::new(status));
        Self {
            settings,
            cluster,
            metrics,
            tell,
            resolver,
            status,
            clock: ServerClock::default(),
            fault: Arc::default(),
        }
    }

    /// Fails where files were named that are wrong, before anything else is done.
    pub async fn begin(&self) -> Result<(), CertificateError> {
        self.settings.source.not_after().await.map(|_| ())
    }

    /// From where the server takes its leaf; empty until [`run`](Self::run) has one.
    #[must_use]
    pub fn resolver(&self) -> Arc<ServingCertificateResolver> {
        Arc::clone(&self.resolver)
    }

    /// What is known of the bundle.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<BundleStatus> {
        self.status.subscribe()
    }

    /// What decides whether admission is ready.
    #[must_use]
    pub fn readiness(&self) -> CertificateReadiness {
        let (resolver, status) = (self.resolver(), self.status());
        CertificateReadiness { resolver, status, clock: self.clock.clone(), fault: self.fault.clone() }
    }

    /// Provides leaves, which fails on a wrong file or name only, and keeps the bundle until told to stop.
    pub async fn run(self, stop: CancellationToken) -> Result<(), CertificateError> {
        let (bundle, bundles) = watch::channel(None);
        let asked = Signals::default();
        let kept = self.keep(bundles, asked.clone());
        let provided = self.provide(bundle, asked);
        tokio::select! {
            () = stop.cancelled() => Ok(()),
            Err(error) = provided => Err(error),
            never = kept => match never {},
        }
    }

    async fn provide(
        &self,
        bundle: watch::Sender<Option<CaBundle>>,
        Signals { look, unread }: Signals,
    ) -> Result<Infallible, CertificateError> {
        let (resolver, metrics) = (self.resolver(), self.metrics.clone());
        let times = self.settings.times;
        match &self.settings.source {
            TlsSource::CaSecret { names, namespace, secret } => {
                let (current, signs) = watch::channel(None);
                let leaves = ServingCertificateIssuer {
                    names: names.clone(),
                    life: times.leaf_life,
                    clock: self.clock.clone(),
                    resolver,
                    metrics: metrics.clone(),
                    current: signs,
                };
                let own = CaSecretController {
                    times,
                    store: CaSecret::new(namespace, secret, &self.cluster),
                    client: self.cluster.calls.clone(),
                    clock: self.clock.clone(),
                    current,
                    bundle,
                    status: self.status(),
                    look,
                    fault: self.fault.clone(),
                    unread,
                    metrics,
                    tell: self.tell.clone(),
                };
                // Either ends with an error only.
                tokio::select! {
                    ended = Box::pin(own.run()) => ended,
                    ended = leaves.run() => ended,
                }
            }
            TlsSource::Files { cert, key, ca } => {
                let (cert, key, ca) = (cert.clone(), key.clone(), ca.clone());
                let (level_check, clock, status) = (times.level_check, self.clock.clone(), self.status());
                FileCertificates { cert, key, ca, level_check, clock, resolver, bundle, status, look, metrics }
                    .run()
                    .await
            }
        }
    }

    async fn keep(&self, bundle: watch::Receiver<Option<CaBundle>>, Signals { look, unread }: Signals) -> Infallible {
        if matches!(self.settings.source, TlsSource::Files { ca: None, .. }) {
            info!("No --tls-ca is given: the CA bundle in the webhook configurations is not ours to keep");
            return pending().await;
        }
        if self.settings.mutating.is_none() && self.settings.validating.is_none() {
            warn!(
                "No webhook configuration is named, so that none trusts this certificate: give {} and {}",
                ConfigurationKind::Mutating.flag(),
                ConfigurationKind::Validating.flag()
            );
        }
        let parts = BundleControllerContext {
            cluster: self.cluster.clone(),
            bundle,
            status: self.status.clone(),
            look,
            unread,
            metrics: self.metrics.clone(),
            tell: self.tell.clone(),
        };
        let mutating = keep_in::<MutatingWebhookConfiguration>(self.settings.mutating.clone(), parts.clone());
        let validating = keep_in::<ValidatingWebhookConfiguration>(self.settings.validating.clone(), parts);
        join(mutating, validating).await.0
    }
}

async fn keep_in<K: WebhookConfiguration>(name: Option<String>, parts: BundleControllerContext) -> Infallible {
    let Some(name) = name else { return pending().await };
    // Boxed: kube's calls are large futures, and this one lives in a task for ever.
    Box::pin(CaBundleController::<K>::new(name, parts).keep()).await
}
