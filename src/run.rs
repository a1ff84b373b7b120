//! `snapwatcher run`: creates the parts, connects them, starts each as a named service, and ends when one of them ends.

mod shared;
mod webhook;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::{
    AdminArgs, AdmissionArgs, BackendSettings, CertificateArgs, CheckpointArgs, FixedTimes, InstanceArgs, LeaderArgs,
    RunArgs, SaveArgs, WatchArgs,
};
use shared::Shared;
use snapwatcher_api::pod::PodName;
use snapwatcher_backends::backend::CheckpointBackend;
use snapwatcher_backends::kubelet::{self, Kubelet, KubeletError, KubeletTrust};
use snapwatcher_backends::metrics::BackendMetrics;
use snapwatcher_backends::snaphook::{SnapHook, SnapHookError, SnapHookSettings};
use snapwatcher_certificates::CertificateError;
use snapwatcher_controller::{
    CheckpointMetrics, ControllerChecks, ControllerContext, ControllerService, Holder, PodsPage, WatchMetrics,
    WatchSettings,
};
use snapwatcher_daemon::admin::{self, AdminState, Gate, Health};
use snapwatcher_daemon::listen::listen;
use snapwatcher_daemon::services::{ServiceError, Services};
use snapwatcher_daemon::signals;
use snapwatcher_daemon::telemetry::metrics::registry;
use snapwatcher_kubernetes::cluster::{Cluster, ConnectError, Scope};
use snapwatcher_kubernetes::events::{EventMetrics, Events, events};
use snapwatcher_kubernetes::leader::LeaderElector;
use snapwatcher_kubernetes::own_pod_events::OwnPodEvents;
use snapwatcher_registry::{Registry, SettingsError};
use snapwatcher_snapshots::{SnapshotMetrics, SnapshotsService};
use snapwatcher_state::PodTimelines;
use webhook::{Webhook, WebhookPort};

/// The part of the grace period beyond the longest request to a back-end and the drain: it starts an attempt that was just
/// written, writes its outcome, and answers the last open requests. docs/operations.md derives a pod's grace period from it.
const GRACE: Duration = Duration::from_secs(15);

/// Why `run` failed.
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
    #[error("could not use the registry of --registry-repository")]
    Registry(#[from] SettingsError),
    #[error(transparent)]
    Service(#[from] ServiceError),
}

/// Runs until SIGTERM or SIGINT, or until a service ends.
pub async fn run(args: RunArgs) -> Result<(), RunError> {
    let RunArgs { log: _, admission, certificate, watch, checkpoint, save, registry: saved_in, leader, admin, times } =
        args;
    let stop = CancellationToken::new();
    // Both ports are bound first: a port in use ends the process before it changes anything.
    let ports = Ports::bind(&admission, &admin, &times)?;
    let grace = checkpoint.backend.longest_attempt() + ports.drain() + GRACE;
    let mut services = Services::new(stop.clone()).with_grace(grace);
    let cluster = Cluster::connect(times.watch_timeout).await?;
    if let Some(proxy) = &cluster.proxy {
        tracing::info!("Requests to the API server go through the proxy {proxy}");
    }
    let mut shared =
        Shared { cluster, timelines: PodTimelines::new(), registry: registry(), health: Health::new(), times };
    shared.timelines.register(&mut shared.registry);
    let holder = checkpoint.instance.holder();
    let event_metrics = EventMetrics::register(&mut shared.registry);
    let (events, publisher) = events(shared.cluster.calls.clone(), &holder.instance, event_metrics);

    // The order in which the health checks are listed. Invalid settings end the process before a service starts.
    let own_pod_events = own_pod_events(&events, &certificate, &checkpoint.instance);
    let webhook = match ports.webhook {
        Some(port) => Some(Webhook::new(port, &mut shared, &certificate, own_pod_events).await?),
        None => None,
    };
    let shutdown = shared.health.check("shutdown", Gate::Readiness);
    let checks = ControllerChecks::new(&mut shared.health);
    let backend_metrics = BackendMetrics::register(&mut shared.registry);
    let backend = backend(&checkpoint, &certificate, &shared.cluster, &backend_metrics)?;
    let saved_in = saved_in.settings().filter(|_| save.save).map(|settings| Registry::new(&settings)).transpose()?;

    let work_is_done = CancellationToken::new();
    let attempts_ended = work_is_done.clone();
    let leader_parts = LeaderParts { backend, checks, events, holder, work_is_done, save, saved_in };
    let page = PodsPage {
        timelines: shared.timelines.clone(),
        is_suspended: checkpoint.is_suspended(),
        leader: start_leader_services(
            &mut services,
            &mut shared,
            leader_parts,
            &certificate,
            &watch,
            &checkpoint,
            leader,
        ),
    };
    services.start("events", |stop| publisher.run(stop, attempts_ended));
    if let Some(webhook) = webhook {
        webhook.start(&mut services, &mut shared);
    }

    // These two end last: while the process drains, probes see that it is not ready, and its metrics can be scraped.
    services.start_to_end_last("signals", |end| signals::serve(shutdown, stop, end));
    let admin_state = AdminState::new(shared.health, shared.registry).exposing_detail(admin.admin_expose_detail);
    let admin_router = admin::router(admin_state, vec![page.page()]);
    services.start_to_end_last("admin", |end| admin::serve(ports.admin, admin_router, end));
    services.finish().await?;
    tracing::info!("Stopped");
    Ok(())
}

/// The two listening sockets.
struct Ports {
    /// `None` without the webhook.
    webhook: Option<WebhookPort>,
    admin: TcpListener,
}

impl Ports {
    fn bind(admission: &AdmissionArgs, admin: &AdminArgs, times: &FixedTimes) -> Result<Self, RunError> {
        let failed = |address, purpose| move |source| RunError::Listen { address, purpose, source };
        let webhook = admission.webhook.then(|| WebhookPort::bind(admission, times)).transpose();
        let webhook = webhook.map_err(failed(admission.webhook_listen, "admission reviews"))?;
        if webhook.is_none() {
            tracing::info!("--webhook is false: SnapWatcher serves no admission reviews");
        }
        let admin = listen(admin.admin_listen).map_err(failed(admin.admin_listen, "the admin port"))?;
        Ok(Self { webhook, admin })
    }

    fn drain(&self) -> Duration {
        self.webhook.as_ref().map_or(Duration::ZERO, WebhookPort::drain)
    }
}

/// What the leader's services take, beside settings and what is shared.
struct LeaderParts {
    /// `None` for a dry run.
    backend: Option<Arc<dyn CheckpointBackend>>,
    checks: ControllerChecks,
    events: Events,
    holder: Holder,
    /// Cancelled when the last attempt has ended.
    work_is_done: CancellationToken,
    save: SaveArgs,
    /// The registry that holds what is saved.
    saved_in: Option<Registry>,
}

/// Starts the election, the leader's services and the attempts. Returns the holder of the Lease, as this replica sees it.
fn start_leader_services(
    services: &mut Services,
    shared: &mut Shared,
    parts: LeaderParts,
    certificate: &CertificateArgs,
    watch: &WatchArgs,
    checkpoint: &CheckpointArgs,
    leader: LeaderArgs,
) -> watch::Receiver<Option<String>> {
    let LeaderParts { backend, checks, events, holder, work_is_done, save, saved_in } = parts;
    let (leads, is_leading) = watch::channel(leader.standalone);
    let (lease_holder, leader_seen) = watch::channel(None);
    let leader_check = checks.leader.clone();
    let context = ControllerContext {
        cluster: shared.cluster.clone(),
        timelines: shared.timelines.clone(),
        watch_metrics: WatchMetrics::register(&mut shared.registry),
        checkpoint_metrics: CheckpointMetrics::register(&mut shared.registry),
        checks,
        events,
    };
    let watch_settings = WatchSettings {
        scopes: Scope::of(&watch.namespaces()),
        mutating_webhook_configuration: certificate.mutating_webhook_configuration.clone(),
    };
    let controller = checkpoint.controller(&shared.times);
    let snapshot_metrics = SnapshotMetrics::register(&mut shared.registry);
    if save.save {
        let (namespace, revision_labels) = (&certificate.ca.service_namespace, controller.revision_labels.clone());
        let scopes = watch_settings.scopes.clone();
        let settings = save.settings(namespace, scopes, revision_labels, saved_in, &shared.times);
        let (cluster, events) = (shared.cluster.clone(), context.events.clone());
        let service = SnapshotsService::new(cluster, settings, events, snapshot_metrics, is_leading.clone());
        services.start("snapshots", |stop| service.run(stop));
    }
    services.start("controller", |stop| {
        let stops = (stop.clone(), work_is_done.clone());
        let service =
            ControllerService::new(context, watch_settings, controller, backend, holder.clone(), is_leading, stops);
        service.run(stop)
    });

    if leader.standalone {
        leader_check.pass();
        return leader_seen;
    }
    let election = LeaderElector {
        client: shared.cluster.calls.clone(),
        namespace: certificate.ca.service_namespace.clone(),
        times: LeaderArgs::times(&shared.times),
        name: leader.lease_name,
        identity: holder.to_string(),
        leads,
        holder: lease_holder,
        check: leader_check,
    };
    services.start("leader", |stop| election.run(stop, work_is_done));
    leader_seen
}

/// The back-end that takes checkpoints; `None` for a dry run.
fn backend(
    checkpoint: &CheckpointArgs,
    certificate: &CertificateArgs,
    cluster: &Cluster,
    metrics: &BackendMetrics,
) -> Result<Option<Arc<dyn CheckpointBackend>>, RunError> {
    Ok(match checkpoint.backend.settings() {
        BackendSettings::Log => None,
        BackendSettings::SnapHook(settings) => {
            warn_of_plain_http(&settings, metrics);
            Some(Arc::new(SnapHook::new(*settings)?))
        }
        BackendSettings::Kubelet(settings) => {
            warn_of_unverified_kubelets(&settings, metrics);
            Some(Arc::new(Kubelet::new(*settings, &certificate.ca.service_namespace, cluster)?))
        }
    })
}

fn warn_of_plain_http(settings: &SnapHookSettings, metrics: &BackendMetrics) {
    if let Some(exposed) = settings.exposed_by_plain_http() {
        metrics.secrets_sent_in_clear();
        tracing::warn!(
            "SNAP_BACK_API_URL is an http URL: anyone between SnapWatcher and SnapHook can read {exposed}. Use an https URL and, if \
             its CA is not public, --snap-back-api-ca-file"
        );
    }
}

fn warn_of_unverified_kubelets(settings: &kubelet::KubeletSettings, metrics: &BackendMetrics) {
    if settings.trust == KubeletTrust::Unverified {
        metrics.kubelets_not_verified();
        tracing::warn!(
            "Kubelet certificates are not verified (--kubelet-insecure-skip-verify): any server at a node's address gets a token of \
             ServiceAccount `{}` and can report checkpoints. Set serverTLSBootstrap in the kubelets, or --kubelet-ca-file",
            settings.service_account
        );
    }
}

/// Events about the certificates are on this process's own pod. Outside a pod they are dropped.
fn own_pod_events(events: &Events, certificate: &CertificateArgs, instance: &InstanceArgs) -> OwnPodEvents {
    let namespace = certificate.ca.service_namespace.clone();
    instance.pod_name.clone().map_or_else(OwnPodEvents::default, |name| {
        OwnPodEvents::new(
            events.clone(),
            PodName { namespace: namespace.into(), name: name.into() },
            instance.pod_uid.clone(),
        )
    })
}
