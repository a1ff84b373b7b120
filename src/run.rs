//! Wiring: makes the parts, connects them, starts each as a named service and ends with the first that ends.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::admin::{self, AdminState, CheckHandle, Gate, Health};
use crate::admission::{self, Admission, AdmissionMetrics};
use crate::backend::log::DryRun;
use crate::backend::snaphook::{BackendError, SnapHook};
use crate::certificates::{BundleStatus, CertificateMetrics, Certificates, LeafResolver};
use crate::checkpoint::ask::Backend;
use crate::checkpoint::attempt::Attempt;
use crate::checkpoint::attempts::Attempts;
use crate::checkpoint::budget::Budget;
use crate::checkpoint::claim::{Claim, Claims};
use crate::checkpoint::controller::Records;
use crate::checkpoint::ledger::{Forgotten, Ledger};
use crate::checkpoint::metrics::CheckpointMetrics;
use crate::checkpoint::progress::Holder;
use crate::checkpoint::turns::Turns;
use crate::cluster::{Cluster, ConnectError, Scope};
use crate::config::{BackendSettings, RunArgs};
use crate::owner::Owners;
use crate::pod::PodName;
use crate::serve::{self, Limits};
use crate::services::{ServiceError, Services};
use crate::state::State;
use crate::telemetry::metrics::registry;
use crate::watch::metrics::WatchMetrics;
use crate::watch::{Slips, Watch};

/// Beyond the longest answer of a back-end: for writing its outcome, and for the last requests of admission.
const GRACE: Duration = Duration::from_secs(15);

/// Why the process ended, or did not begin.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("could not listen on {address} for {purpose}")]
    Listen { address: SocketAddr, purpose: &'static str, source: io::Error },
    #[error("could not wait for signals")]
    Signals { source: io::Error },
    #[error(transparent)]
    Backend(#[from] BackendError),
    #[error(transparent)]
    Service(#[from] ServiceError),
}

/// The checks of the process, in the order in which they are shown.
struct Checks {
    leaf: CheckHandle,
    bundle: CheckHandle,
    shutdown: CheckHandle,
    definition: CheckHandle,
    watch: CheckHandle,
    backend: CheckHandle,
}

impl Checks {
    fn new(health: &mut Health) -> Self {
        Self {
            leaf: health.check("leaf", Gate::Readiness),
            bundle: health.check("bundle", Gate::Readiness),
            shutdown: health.check("shutdown", Gate::Readiness),
            definition: health.check("crd", Gate::Told),
            watch: health.check("watch", Gate::Told),
            backend: health.check("backend", Gate::Told),
        }
    }
}

/// Runs until SIGTERM or SIGINT, or until a part of it fails.
pub async fn run(args: RunArgs) -> Result<(), RunError> {
    let RunArgs { log: _, admission: admission_args, certificate, watch: watch_args, checkpoint, admin: admin_args } =
        args;
    let stop = CancellationToken::new();
    let webhook_listener = listen(admission_args.webhook_listen, "admission reviews")?;
    let admin_listener = listen(admin_args.admin_listen, "the admin port")?;
    let cluster = Cluster::connect().await?;

    let (mut registry, mut health, state) = (registry(), Health::new(), State::new());
    let checks = Checks::new(&mut health);
    let mutating = certificate.mutating_configuration.clone();
    let certificates =
        Certificates::new(certificate.settings(), cluster.clone(), CertificateMetrics::register(&mut registry));
    let (resolver, bundle) = (certificates.resolver(), certificates.status());
    let admission_metrics = AdmissionMetrics::register(&mut registry);
    let admission = Admission::new(state.clone(), admission_metrics, admission_args.validation);
    let (watch_metrics, checkpoint_metrics) =
        (WatchMetrics::register(&mut registry), CheckpointMetrics::register(&mut registry));

    let mut services = Services::new(stop.clone()).with_grace(checkpoint.answer_timeout + GRACE);
    let scopes = Scope::of(&watch_args.namespaces());
    let owners = Owners::new(cluster.calls.clone());
    let (forget, forgotten) = mpsc::unbounded_channel();
    let parts = Parts { cluster, scopes, owners, state, metrics: checkpoint_metrics, checks, forget };
    let (claim, changed) = match checkpoint.backend() {
        BackendSettings::Log => parts.start_dry_run(),
        BackendSettings::SnapHook(settings) => {
            parts.start_records(&mut services, Arc::new(SnapHook::new(*settings)?), checkpoint.holder())
        }
    };
    let Parts { cluster, scopes, owners: _, state, metrics, checks, forget: _keep_open } = parts;
    let watch = Watch {
        client: cluster.watches.clone(),
        scopes,
        state: state.clone(),
        claim,
        slips: Slips::new(cluster.calls.clone(), mutating, watch_metrics.clone()),
        forgotten,
        changed,
        metrics: watch_metrics,
        checkpoint_metrics: metrics,
        watch_check: checks.watch,
        definition_check: checks.definition,
    };
    services.start("watch", |stop| watch.run(stop));
    services.start("admission", |stop| {
        serve::serve(webhook_listener, admission::router(admission), resolver.clone(), Limits::default(), stop)
    });
    services.start("certificates", |stop| certificates.run(stop));
    services.start("readiness", |stop| readiness(checks.leaf, checks.bundle, resolver, bundle, stop));
    services.start("signals", |stop| signals(checks.shutdown, stop));
    let admin_state = AdminState::new(health, registry, state);
    services.start("admin", |stop| admin::serve(admin_listener, admin::router(admin_state), stop));
    services.finish().await?;
    tracing::info!("Stopped");
    Ok(())
}

/// What both ways of claiming are made from.
struct Parts {
    cluster: Cluster,
    scopes: Vec<Scope>,
    owners: Owners,
    state: State,
    metrics: CheckpointMetrics,
    checks: Checks,
    forget: mpsc::UnboundedSender<Forgotten>,
}

/// How the watch claims, and whom it tells that a pod has changed.
type Claiming = (Arc<dyn Claim>, Box<dyn Fn(PodName) + Send + Sync>);

impl Parts {
    /// Nobody is asked: claims are only told.
    fn start_dry_run(&self) -> Claiming {
        tracing::info!("Back-end `log`: checkpoints are only logged, nobody is asked for them");
        self.checks.definition.pass();
        self.checks.backend.pass();
        (Arc::new(DryRun::new(self.owners.clone())), Box::new(|_| ()))
    }

    /// Starts the services around `Checkpoint` objects.
    fn start_records(&self, services: &mut Services, backend: Arc<dyn Backend>, holder: Holder) -> Claiming {
        let ledger = Arc::new(Ledger::new(self.scopes.len()));
        let (wanted, wanted_records) = mpsc::unbounded_channel();
        let client = self.cluster.calls.clone();
        let attempt = Attempt {
            client: client.clone(),
            backend,
            owners: self.owners.clone(),
            budget: Budget::default(),
            turns: Turns::default(),
            holder: holder.clone(),
            state: self.state.clone(),
            metrics: self.metrics.clone(),
            backend_check: self.checks.backend.clone(),
        };
        let attempts = Attempts::new(attempt, wanted_records);
        services.start("attempts", |stop| attempts.run(stop));
        let records = Records {
            client: self.cluster.watches.clone(),
            ledger: ledger.clone(),
            state: self.state.clone(),
            metrics: self.metrics.clone(),
            definition_check: self.checks.definition.clone(),
            wanted,
            forgotten: self.forget.clone(),
        };
        let mut to_scopes = Vec::new();
        for (index, scope) in self.scopes.iter().cloned().enumerate() {
            let (tell, changed) = mpsc::unbounded_channel();
            to_scopes.push((scope.clone(), tell));
            let records = records.clone();
            services.start("checkpoints", |stop| records.run(index, scope, changed, stop));
        }
        let claims = Claims::new(client, ledger, self.owners.clone(), holder);
        let changed = move |pod: PodName| {
            let concerned = to_scopes.iter().find(|(scope, _)| scope.holds(&pod.namespace));
            if let Some((_, tell)) = concerned {
                let _ = tell.send(pod); // the receiver ends only with the process
            }
        };
        (Arc::new(claims), Box::new(changed))
    }
}

fn listen(address: SocketAddr, purpose: &'static str) -> Result<TcpListener, RunError> {
    TcpListener::bind(address).map_err(|source| RunError::Listen { address, purpose, source })
}

/// Turns what is known of leaf and bundle into readiness.
async fn readiness(
    leaf: CheckHandle,
    bundle: CheckHandle,
    resolver: Arc<LeafResolver>,
    mut status: watch::Receiver<BundleStatus>,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    loop {
        if resolver.has_leaf() {
            leaf.pass();
        }
        {
            let status = status.borrow_and_update();
            if status.is_settled() {
                bundle.pass();
            } else if !status.is_unknown() {
                bundle.fail(status.to_string());
            }
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            // The sender ends with the certificates' service, whose end stops the process.
            changed = status.changed() => if changed.is_err() { stop.cancelled().await },
        }
    }
}

/// Stops the process at SIGTERM or SIGINT; it is not ready from that moment on.
async fn signals(shutdown: CheckHandle, stop: CancellationToken) -> Result<(), RunError> {
    let failed = |source| RunError::Signals { source };
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    shutdown.pass();
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
        _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
        () = stop.cancelled() => return Ok(()),
    }
    shutdown.fail("the process is stopping");
    stop.cancel();
    Ok(())
}
