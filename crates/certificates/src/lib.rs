//! What the API server needs to trust the webhook: a serving certificate, and its CA in the `caBundle` of the webhook
//! configurations. No admission review is read here, and no webhook configuration is created.
//!
//! By default SnapWatcher is its own CA: all replicas share a CA in a Secret and rotate it, each replica signs its own serving
//! certificate in memory, and writes the CA into the two named configurations. Alternatively the serving certificate comes
//! from files, for example of cert-manager; then the `caBundle` belongs to the user.

mod bundle_status;
mod ca_bundle;
mod ca_bundle_controller;
mod ca_publication;
mod ca_secret;
mod ca_secret_controller;
mod ca_set;
mod certificate_authority;
mod decision;
mod development;
mod error;
mod failure_log;
mod file_certificates;
mod handshake_check;
mod manual_rotation;
mod metrics;
mod named_object;
mod pem;
mod pem_files;
mod readiness;
mod rotation;
mod secret_reads;
mod serving_certificate;
mod serving_certificate_issuer;
mod validity_log;

use std::convert::Infallible;
use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;

use futures::future::join;
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use bundle_status::{BundleState, BundleStatus, ConfigurationKind, ConfigurationTrust};
pub use ca_bundle::FIELD_MANAGER;
pub use ca_secret::{CaSecretState, SecretReadError};
pub use certificate_authority::{CaCertificate, CertificateAuthority, service_names};
pub use development::{DevelopmentError, FILES, write_development_certificates};
pub use error::{CertificateError, MissingSecret, UnusableCa};
pub use manual_rotation::{RotateError, revoke, rotate};
pub use metrics::CertificateMetrics;
pub use readiness::{CertificateChecks, CertificateReadiness};
pub use rotation::{CertificateTimings, RotationStep};
pub use serving_certificate::{ServingCertificate, ServingCertificateResolver};

use ca_bundle::WebhookConfiguration;
use ca_bundle_controller::{BundleControllerContext, CaBundleController};
use ca_secret::CaSecret;
use ca_secret_controller::CaSecretController;
use file_certificates::FileCertificates;
use secret_reads::SecretReads;
use serving_certificate_issuer::ServingCertificateIssuer;
use snapwatcher_kubernetes::cluster::Cluster;
use snapwatcher_kubernetes::own_pod_events::OwnPodEvents;
use snapwatcher_kubernetes::server_clock::ServerClock;

/// Where the certificate comes from, and which configurations get its CA.
#[derive(Debug, Clone)]
pub struct CertificateSettings {
    pub source: TlsSource,
    pub timings: CertificateTimings,
    /// Name of the `MutatingWebhookConfiguration` that gets the CA.
    pub mutating: Option<String>,
    /// Name of the `ValidatingWebhookConfiguration` that gets the CA.
    pub validating: Option<String>,
}

/// Where the serving certificate comes from.
#[derive(Debug, Clone)]
pub enum TlsSource {
    /// SnapWatcher signs it by the CA in this Secret, for these DNS names and IP addresses, see [`service_names`].
    CaSecret { names: Vec<String>, namespace: String, secret: String },
    /// PEM files. SnapWatcher does not write the caBundle.
    Files { certificate: PathBuf, key: PathBuf },
}

impl TlsSource {
    /// When the certificate in the files expires, or why the files can't be used. `None` without files.
    pub async fn not_after(&self) -> Result<Option<Timestamp>, CertificateError> {
        let Self::Files { certificate, key } = self else { return Ok(None) };
        Ok(Some(ServingCertificate::from_files(certificate, key).await?.not_after()))
    }
}

/// What the CA Secret contains.
pub async fn ca_secret_state(
    cluster: &Cluster,
    namespace: &str,
    secret: &str,
) -> Result<CaSecretState, SecretReadError> {
    CaSecret::new(namespace, secret, cluster).state().await
}

/// The service that provides the serving certificate and keeps the caBundle.
pub struct Certificates {
    settings: CertificateSettings,
    cluster: Cluster,
    metrics: CertificateMetrics,
    events: OwnPodEvents,
    resolver: Arc<ServingCertificateResolver>,
    bundle_status: watch::Sender<BundleStatus>,
    clock: ServerClock,
    secret_reads: SecretReads,
}

impl Certificates {
    #[must_use]
    pub fn new(
        settings: CertificateSettings,
        cluster: Cluster,
        metrics: CertificateMetrics,
        events: OwnPodEvents,
    ) -> Self {
        let is_kept = matches!(settings.source, TlsSource::CaSecret { .. });
        let initial = |name: &Option<String>| name.as_ref().filter(|_| is_kept).map(|_| BundleState::Unknown);
        let status = BundleStatus { mutating: initial(&settings.mutating), validating: initial(&settings.validating) };
        Self {
            settings,
            cluster,
            metrics,
            events,
            resolver: Arc::default(),
            bundle_status: watch::Sender::new(status),
            clock: ServerClock::default(),
            secret_reads: SecretReads::default(),
        }
    }

    /// Fails if the named files can't be used. Call it first.
    pub async fn check_files(&self) -> Result<(), CertificateError> {
        self.settings.source.not_after().await.map(|_| ())
    }

    /// Gives the server its certificate. It is empty until [`run`](Self::run) has one.
    #[must_use]
    pub fn resolver(&self) -> Arc<ServingCertificateResolver> {
        Arc::clone(&self.resolver)
    }

    #[must_use]
    pub fn bundle_status(&self) -> watch::Receiver<BundleStatus> {
        self.bundle_status.subscribe()
    }

    /// The service that sets the health checks.
    #[must_use]
    pub fn readiness(&self) -> CertificateReadiness {
        CertificateReadiness {
            resolver: self.resolver(),
            bundle_status: self.bundle_status(),
            clock: self.clock.clone(),
            secret_reads: self.secret_reads.clone(),
        }
    }

    /// Runs until the stop. Ends with an error if the files are wrong at the start or a certificate can't be made.
    pub async fn run(self, stop: CancellationToken) -> Result<(), CertificateError> {
        let provided = async {
            match self.settings.source.clone() {
                TlsSource::CaSecret { names, namespace, secret } => self.run_own_ca(names, &namespace, &secret).await,
                TlsSource::Files { certificate, key } => self.run_files(certificate, key).await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => Ok(()),
            Err(error) = provided => Err(error),
        }
    }

    async fn run_files(&self, certificate: PathBuf, key: PathBuf) -> Result<Infallible, CertificateError> {
        info!("The serving certificate comes from files, so SnapWatcher does not write the caBundle");
        let (resolver, metrics) = (self.resolver(), self.metrics.clone());
        let level_check = self.settings.timings.level_check;
        FileCertificates { certificate, key, level_check, resolver, metrics }.run().await
    }

    async fn run_own_ca(
        &self,
        names: Vec<String>,
        namespace: &str,
        secret: &str,
    ) -> Result<Infallible, CertificateError> {
        let (bundle_sender, bundle) = watch::channel(None);
        let (signing_sender, signing) = watch::channel(None);
        let issuer = ServingCertificateIssuer {
            names,
            life: self.settings.timings.serving_life,
            clock: self.clock.clone(),
            resolver: self.resolver(),
            metrics: self.metrics.clone(),
            signing,
        };
        let controller = CaSecretController {
            timings: self.settings.timings,
            secret: CaSecret::new(namespace, secret, &self.cluster),
            client: self.cluster.calls.clone(),
            clock: self.clock.clone(),
            signing: signing_sender,
            bundle: bundle_sender,
            bundle_status: self.bundle_status(),
            secret_reads: self.secret_reads.clone(),
            metrics: self.metrics.clone(),
            events: self.events.clone(),
        };
        let context = BundleControllerContext {
            cluster: self.cluster.clone(),
            bundle,
            status: self.bundle_status.clone(),
            secret_reads: self.secret_reads.clone(),
            metrics: self.metrics.clone(),
            events: self.events.clone(),
        };
        // Boxed, since kube's calls are large futures.
        tokio::select! {
            ended = Box::pin(controller.run()) => ended,
            ended = issuer.run() => ended,
            never = self.keep_bundles(context) => match never {},
        }
    }

    async fn keep_bundles(&self, context: BundleControllerContext) -> Infallible {
        let CertificateSettings { mutating, validating, .. } = &self.settings;
        if mutating.is_none() && validating.is_none() {
            warn!(
                "No webhook configuration is named, so no API server trusts the serving certificate. Name them by {} and {}",
                ConfigurationKind::Mutating.flag(),
                ConfigurationKind::Validating.flag()
            );
        }
        let mutating = keep_bundle_of::<MutatingWebhookConfiguration>(mutating.clone(), context.clone());
        let validating = keep_bundle_of::<ValidatingWebhookConfiguration>(validating.clone(), context);
        join(mutating, validating).await.0
    }
}

async fn keep_bundle_of<K: WebhookConfiguration>(name: Option<String>, context: BundleControllerContext) -> Infallible {
    let Some(name) = name else { return pending().await };
    Box::pin(CaBundleController::<K>::new(name, context).run()).await
}
