//! The measurements of one run.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use kube::Api;
use kube::api::PostParams;
use lab::snaphook::SnapHook;
use lab::webhooks::{self, Scope};
use lab::{Cluster, Launch, Options, Process, Snapwatcher, SnapwatcherOptions, crd, until};
use reqwest::Certificate;
use snapwatcher_certificates::write_development_certificates;
use tempfile::TempDir;

use crate::load::{Target, quantile};
use crate::server::Server;

/// Keep-alive connections of the API server.
const CONNECTIONS: [usize; 3] = [1, 25, 50];
/// Each server gets so many turns at each number of connections. Short ones: what else a machine does lasts longer than two
/// neighbours, so that it does as much to one as to the other.
const TURNS: usize = 60;
const TURN: Duration = Duration::from_millis(200);
/// Reviews a second in the measurement of latency.
pub(crate) const RATE: u32 = 500;
/// Turns of it; the median counts.
const TURNS_AT_RATE: usize = 3;
const TURN_AT_RATE: Duration = Duration::from_secs(10);
/// Before memory is taken for that of an idle process.
const SETTLED: Duration = Duration::from_secs(10);

const NAMESPACE: &str = "default";
const CONFIGURATION: &str = "snapwatcher";

/// What a server showed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shown {
    /// Requests per second of its processor time in each turn, at each of [`CONNECTIONS`].
    pub(crate) per_cpu_second: Vec<Vec<f64>>,
    /// p50, p99 and p99.9 at [`RATE`].
    pub(crate) latency: [Duration; 3],
    /// In MiB: after the start, and after the load.
    pub(crate) memory: [f64; 2],
}

/// Both servers in one run.
#[derive(Debug)]
pub(crate) struct Results {
    pub(crate) connections: [usize; 3],
    pub(crate) ours: Shown,
    pub(crate) fixed: Shown,
}

/// A budget of the design, and whether it was met.
#[derive(Debug)]
pub(crate) struct Budget {
    pub(crate) told: String,
    pub(crate) is_met: bool,
}

impl Results {
    /// Our requests per processor second as a part of the fixed reply's in the turn beside, at each of [`CONNECTIONS`]: the
    /// median.
    pub(crate) fn ratios(&self) -> Vec<f64> {
        let turns = self.ours.per_cpu_second.iter().zip(&self.fixed.per_cpu_second);
        turns.map(|(ours, fixed)| middle(ours.iter().zip(fixed).map(|(ours, fixed)| ours / fixed))).collect()
    }

    pub(crate) fn budgets(&self) -> Vec<Budget> {
        let least = self.ratios().into_iter().fold(f64::INFINITY, f64::min);
        vec![
            Budget {
                told: format!("requests per CPU second, at least 0.80 of a fixed reply's: {least:.2}"),
                is_met: least.is_finite() && least >= 0.80,
            },
            Budget {
                told: format!("idle memory, at most 20 MiB: {:.1} MiB", self.ours.memory[0]),
                is_met: self.ours.memory[0] <= 20.0,
            },
        ]
    }
}

/// Both servers, up.
struct Stage {
    _cluster: Cluster,
    _folder: TempDir,
    _snaphook: SnapHook,
    _watcher: Snapwatcher,
    _fixed: Process,
    servers: [(Target, Server); 2],
}

/// Measures both servers in turns.
pub(crate) async fn measure(snapwatcher: &Path) -> Result<Results, Box<dyn Error>> {
    let stage = Stage::set(snapwatcher).await?;
    let mut shown = [Shown::default(), Shown::default()];
    tokio::time::sleep(SETTLED).await;
    for (index, (_, server)) in stage.servers.iter().enumerate() {
        shown[index].memory[0] = server.memory()?;
    }
    for connections in CONNECTIONS {
        let mut turns = [Vec::new(), Vec::new()];
        let mut clients = Vec::new();
        for (target, _) in &stage.servers {
            clients.push(target.connections(connections).await?);
        }
        for _ in 0..TURNS {
            for (index, (target, server)) in stage.servers.iter().enumerate() {
                let before = server.cpu()?;
                let answered = target.saturate(&clients[index], TURN).await?;
                let used = server.cpu()?.saturating_sub(before);
                #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
                turns[index].push(answered as f64 / used.as_secs_f64());
            }
        }
        for (index, turns) in turns.into_iter().enumerate() {
            shown[index].per_cpu_second.push(turns);
        }
    }
    let mut turns = [Vec::new(), Vec::new()];
    for _ in 0..TURNS_AT_RATE {
        for (index, (target, _)) in stage.servers.iter().enumerate() {
            let took = target.at_rate(RATE, 25, TURN_AT_RATE).await?;
            turns[index].push([0.5, 0.99, 0.999].map(|part| quantile(&took, part)));
        }
    }
    for (index, (_, server)) in stage.servers.iter().enumerate() {
        shown[index].latency = [0, 1, 2].map(|part| median(turns[index].iter().map(|turn| turn[part])));
        shown[index].memory[1] = server.memory()?;
    }
    let [ours, fixed] = shown;
    Ok(Results { connections: CONNECTIONS, ours, fixed })
}

/// The median; 0 of none.
pub(crate) fn middle(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn median(values: impl Iterator<Item = Duration>) -> Duration {
    let mut sorted: Vec<Duration> = values.collect();
    sorted.sort();
    quantile(&sorted, 0.5)
}

impl Stage {
    /// SnapWatcher as it is run in a cluster, with its own certificate, both configurations and a back-end.
    async fn set(snapwatcher: &Path) -> Result<Self, Box<dyn Error>> {
        let cluster = Cluster::start(Options::from_environment()?).await?;
        crd::install(cluster.access(), snapwatcher).await?;
        let folder = TempDir::with_prefix("bench-")?;
        write_development_certificates(
            folder.path(),
            &["127.0.0.1".to_owned()],
            false,
            snapwatcher_daemon::clock::now(),
        )?;
        let file = |name: &str| folder.path().join(name).display().to_string();
        let (certificate, key) = (file("tls.crt"), file("tls.key"));
        let snaphook = SnapHook::start().await?;
        let flags = [
            format!("--service-namespace={NAMESPACE}"),
            format!("--snap-back-api-url={}", snaphook.url()),
            format!("--mutating-webhook-configuration={CONFIGURATION}"),
            format!("--validating-webhook-configuration={CONFIGURATION}"),
        ];
        let watcher = Snapwatcher::start(SnapwatcherOptions {
            binary: snapwatcher.to_owned(),
            kubeconfig: cluster.kubeconfig(),
            args: flags.to_vec(),
            ..SnapwatcherOptions::default()
        })
        .await?;
        let (client, create) = (cluster.client().await?, PostParams::default());
        let address = watcher.webhook_addr().to_string();
        let mutating: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
        mutating.create(&create, &webhooks::mutating(CONFIGURATION, &Scope::Cluster, &address)).await?;
        let validating: Api<ValidatingWebhookConfiguration> = Api::all(client);
        validating.create(&create, &webhooks::validating(CONFIGURATION, &Scope::Cluster, &address)).await?;
        let bundle = until("the caBundle stands in the configuration", async || {
            let found = mutating.get(CONFIGURATION).await.ok()?;
            found.webhooks?.first()?.client_config.ca_bundle.clone()
        })
        .await;
        watcher.ready().await?;

        let log = folder.path().join("fixed.log");
        let launch = Launch::new("fixed reply", &std::env::current_exe()?, &log);
        let launch = launch.args(["fixed-reply", "--tls-cert", &certificate, "--tls-key", &key]);
        let fixed = Process::start(launch).await?;
        let address = until("the fixed reply is served", async || {
            std::fs::read_to_string(&log).ok()?.lines().next()?.parse().ok()
        })
        .await;

        let ours = Target::new(watcher.webhook_addr(), Certificate::from_pem(&bundle.0)?);
        let theirs = Target::new(address, Certificate::from_pem(&std::fs::read(file("ca.crt"))?)?);
        let servers = [(ours, Server { pid: watcher.pid().await }), (theirs, Server { pid: fixed.pid() })];
        Ok(Self { _cluster: cluster, _folder: folder, _snaphook: snaphook, _watcher: watcher, _fixed: fixed, servers })
    }
}
