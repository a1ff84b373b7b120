//! Wiring: makes the parts, connects them, starts each as a named service and ends with the first that ends.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::config::{BackendSettings, CertificateArgs, RunArgs};
use snapwatcher_admission::{AdmissionHandler, AdmissionMetrics, router};
use snapwatcher_api::pod::PodName;
use snapwatcher_backends::backend::CheckpointBackend;
use snapwatcher_backends::kubelet::{self, Kubelet, KubeletError, KubeletTrust};
use snapwatcher_backends::metrics::BackendMetrics;
use snapwatcher_backends::snaphook::{SnapHook, SnapHookError};
use snapwatcher_certificates::{CertificateError, CertificateMetrics, Certificates};
use snapwatcher_controller::{
    CheckpointMetrics, ControllerChecks, ControllerContext, LeaderServices, PodsPage, WatchMetrics, WatchSettings,
};
use snapwatcher_daemon::admin::{self, AdminState, Gate, Health};
use snapwatcher_daemon::listen::listen;
use snapwatcher_daemon::services::{ServiceError, Services};
use snapwatcher_daemon::signals;
use snapwatcher_daemon::telemetry::metrics::registry;
use snapwatcher_https::HttpsMetrics;
use snapwatcher_kubernetes::cluster::{Cluster, ConnectError, Scope};
use snapwatcher_kubernetes::events::{Events, events};
use snapwatcher_kubernetes::leader::LeaderElector;
use snapwatcher_kubernetes::own_pod_events::OwnPodEvents;
use snapwatcher_state::PodTimelines;

/// Beyond the longest request to a back-end and the drain: for an attempt that was just written, for writing its outcome,
/// and for the last open requests. docs/operations.md tells what a pod's grace period follows from.
const GRACE: Duration = Duration::from_secs(15);

/// Why the process ended, or did not begin.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("could not listen on {address} for {purpose}")]
    Listen { address: SocketAddr, purpose: &'static str, source: io::Error },
    #[error(transparent)]
    Backend(#[from] SnapHookError),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error(transparent)]
    Kubelet(#[from] KubeletError),
    #[error(transparent)]
    Service(#[from] ServiceError),
}

/// Runs until SIGTERM or SIGINT, or until a part of it fails.
pub async fn run(args: RunArgs) -> Result<(), RunError> {
    let RunArgs { log: _, admission: admission_args, certificate, watch, checkpoint, leader, admin: admin_args } = args;
    let stop = CancellationToken::new();
    let webhook_listener = bound(admission_args.webhook_listen, "admission reviews")?;
    let admin_listener = bound(admin_args.admin_listen, "the admin port")?;
    let cluster = Cluster::connect(watch.watch_timeout).await?;

    let (mut registry, mut health, state) = (registry(), Health::new(), PodTimelines::new());
    let is_suspended = checkpoint.suspend && !matches!(checkpoint.backend(), BackendSettings::Log);
    let (lease_holder, leader_seen) = tokio::sync::watch::channel(None);
    let readiness_checks = snapwatcher_certificates::CertificateChecks {
        serving_certificate: health.check("serving-certificate", Gate::Readiness),
        ca_bundle: health.check("ca-bundle", Gate::Readiness),
        ca_trust: health.check("ca-trust", Gate::Informational),
    };
    let shutdown = health.check("shutdown", Gate::Readiness);
    let checks = ControllerChecks::new(&mut health);
    let admission_metrics = AdmissionMetrics::register(&mut registry);
    let serve_metrics = HttpsMetrics::register(&mut registry);
    let admission = AdmissionHandler::new(state.clone(), admission_metrics, admission_args.validation);
    let webhook = router(admission);

    let limits = admission_args.limits();
    let longest_attempt = checkpoint.longest_attempt();
    let mut services = Services::new(stop.clone()).with_grace(longest_attempt + limits.drain + GRACE);
    let holder = checkpoint.holder();
    let (events, publisher) = events(cluster.calls.clone(), holder.instance.clone());
    let own_pod_events = own_pod_events(&events, &certificate, checkpoint.pod_name.clone());
    let certificate_metrics = CertificateMetrics::register(&mut registry);
    let certificates = Certificates::new(certificate.settings(), cluster.clone(), certificate_metrics, own_pod_events);
    certificates.check_files().await?;
    let (resolver, readiness) = (certificates.resolver(), certificates.readiness());
    let webhook_address = webhook_listener.local_addr().map_err(|source| RunError::Listen {
        address: admission_args.webhook_listen,
        purpose: "admission reviews",
        source,
    })?;
    let (leads, is_leading) = tokio::sync::watch::channel(leader.standalone);
    let work_is_done = CancellationToken::new();
    let (leader_check, done) = (checks.leader.clone(), work_is_done.clone());
    let context = ControllerContext {
        cluster: cluster.clone(),
        timelines: state.clone(),
        watch_metrics: WatchMetrics::register(&mut registry),
        checkpoint_metrics: CheckpointMetrics::register(&mut registry),
        checks,
        events,
    };
    let watch_settings = WatchSettings {
        scopes: Scope::of(&watch.namespaces()),
        mutating_webhook_configuration: certificate.mutating_webhook_configuration,
    };
    let backend_metrics = BackendMetrics::register(&mut registry);
    let backend: Option<Arc<dyn CheckpointBackend>> = match checkpoint.backend() {
        BackendSettings::Log => None,
        BackendSettings::SnapHook(settings) => Some(Arc::new(SnapHook::new(*settings)?)),
        BackendSettings::Kubelet(settings) => {
            warn_of_insecure_skip_verify(&settings, &backend_metrics);
            Some(Arc::new(Kubelet::new(*settings, &certificate.ca.service_namespace, &cluster)?))
        }
    };
    let leader_services = if let Some(backend) = backend {
        let (attempts, leader_services) = LeaderServices::with_backend(
            context,
            watch_settings,
            checkpoint.controller(),
            backend,
            holder.clone(),
            is_leading.clone(),
            work_is_done.clone(),
        );
        services.start("attempts", |stop| attempts.run(stop));
        leader_services
    } else {
        work_is_done.cancel();
        LeaderServices::dry_run(context, watch_settings)
    };
    if leader.standalone {
        leader_check.pass();
    } else {
        let leader = LeaderElector {
            client: cluster.calls.clone(),
            namespace: certificate.ca.service_namespace,
            times: leader.times(),
            name: leader.lease_name,
            identity: holder.to_string(),
            leads,
            holder: lease_holder,
            check: leader_check,
        };
        services.start("leader", |stop| leader.run(stop, work_is_done));
    }
    services.start("leader-services", |stop| leader_services.run(is_leading, stop));
    services.start("events", |stop| publisher.run(stop, done));
    services.start("admission", |stop| {
        snapwatcher_https::dedicated_thread::run(snapwatcher_https::serve(
            webhook_listener,
            webhook,
            resolver,
            limits,
            serve_metrics,
            stop,
        ))
    });
    services.start("certificates", |stop| certificates.run(stop));
    services.start("readiness", |stop| readiness.run(webhook_address, readiness_checks, stop));
    // Probes see that the process is not ready while it drains, and what it still does can be scraped.
    services.start_to_end_last("signals", |end| signals::serve(shutdown, stop, end));
    let admin_state = AdminState::new(health, registry);
    let pages = vec![PodsPage { timelines: state, leader: leader_seen, is_suspended }.page()];
    services.start_to_end_last("admin", |end| admin::serve(admin_listener, admin::router(admin_state, pages), end));
    services.finish().await?;
    tracing::info!("Stopped");
    Ok(())
}

fn bound(address: SocketAddr, purpose: &'static str) -> Result<TcpListener, RunError> {
    listen(address).map_err(|source| RunError::Listen { address, purpose, source })
}

/// Warns that any server at a node's address receives the token.
fn warn_of_insecure_skip_verify(settings: &kubelet::KubeletSettings, metrics: &BackendMetrics) {
    if settings.trust == KubeletTrust::Unverified {
        metrics.kubelets_not_verified();
        tracing::warn!(
            "Kubelet certificates are not verified (--kubelet-insecure-skip-verify): any server at a node's address receives \
             a token of service account `{}` and can report checkpoints. Set --kubelet-ca-file instead",
            settings.service_account
        );
    }
}

/// Events about the certificates are on this process's own pod. Outside a pod they are dropped.
fn own_pod_events(events: &Events, certificate: &CertificateArgs, pod_name: Option<String>) -> OwnPodEvents {
    let namespace = certificate.ca.service_namespace.clone();
    pod_name.map_or_else(OwnPodEvents::default, |name| {
        OwnPodEvents::new(events.clone(), PodName { namespace, name }, certificate.pod_uid.clone())
    })
}
