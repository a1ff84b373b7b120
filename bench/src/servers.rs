//! The three servers of the comparison, each a process of its own.

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use kube::Api;
use kube::api::PostParams;
use lab::snaphook::SnapHook;
use lab::webhooks::{self, Scope};
use lab::{Cluster, Launch, Options, Process, Snapwatcher, SnapwatcherOptions, crd, create_ca_secret, until};
use reqwest::Certificate;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::load::LoadTarget;
use crate::process_usage::ProcessUsage;
use crate::results::PerServer;

const NAMESPACE: &str = "default";
const CONFIGURATION: &str = "snapwatcher";

/// controller-runtime cannot listen on a port that the system chooses. On a loopback address of its own, controller-runtime's
/// default port is free.
const CONTROLLER_RUNTIME: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2)), 9443);

/// For the start of a server that is measured beside SnapWatcher.
const START_TIMEOUT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A server that is measured.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) target: LoadTarget,
    pub(crate) usage: ProcessUsage,
}

/// The servers; dropping them ends the processes.
pub(crate) struct RunningServers {
    pub(crate) each: PerServer<Server>,
    _cluster: Cluster,
    _folder: TempDir,
    _snaphook: SnapHook,
    _snapwatcher: Snapwatcher,
    _others: [Process; 2],
}

impl RunningServers {
    pub(crate) async fn start(snapwatcher: &Path, controller_runtime: &Path) -> Result<Self, Box<dyn Error>> {
        let folder = TempDir::with_prefix("bench-")?;
        let certificate = write_certificate(folder.path())?;
        let cluster = Cluster::start(Options::from_environment()?).await?;
        let snaphook = SnapHook::start().await?;
        let (snapwatcher, ours) = start_snapwatcher(snapwatcher, &cluster, &snaphook).await?;
        let (fixed_reply, fixed_reply_server) = start_fixed_reply(folder.path(), &certificate).await?;
        let (peer, peer_server) = start_controller_runtime(controller_runtime, folder.path(), &certificate).await?;
        let servers = PerServer { snapwatcher: ours, fixed_reply: fixed_reply_server, controller_runtime: peer_server };
        Ok(Self {
            each: servers,
            _cluster: cluster,
            _folder: folder,
            _snaphook: snaphook,
            _snapwatcher: snapwatcher,
            _others: [fixed_reply, peer],
        })
    }
}

/// Writes `tls.crt` and `tls.key` for the addresses of the other servers; the certificate is its own CA.
fn write_certificate(folder: &Path) -> Result<Certificate, Box<dyn Error>> {
    let names = vec!["127.0.0.1".to_owned(), CONTROLLER_RUNTIME.ip().to_string()];
    let made = rcgen::generate_simple_self_signed(names)?;
    std::fs::write(folder.join("tls.crt"), made.cert.pem())?;
    std::fs::write(folder.join("tls.key"), made.signing_key.serialize_pem())?;
    Ok(Certificate::from_pem(made.cert.pem().as_bytes())?)
}

/// SnapWatcher as it runs in a cluster: with its own certificate, both webhook configurations and a back-end.
async fn start_snapwatcher(
    binary: &Path,
    cluster: &Cluster,
    snaphook: &SnapHook,
) -> Result<(Snapwatcher, Server), Box<dyn Error>> {
    crd::install(cluster.access(), binary).await?;
    create_ca_secret(cluster.client().await?, NAMESPACE).await?;
    let flags = [
        format!("--service-namespace={NAMESPACE}"),
        format!("--snap-back-api-url={}", snaphook.url()),
        format!("--mutating-webhook-configuration={CONFIGURATION}"),
        format!("--validating-webhook-configuration={CONFIGURATION}"),
    ];
    let snapwatcher = Snapwatcher::start(SnapwatcherOptions {
        binary: binary.to_owned(),
        kubeconfig: cluster.kubeconfig(),
        args: flags.to_vec(),
        ..SnapwatcherOptions::default()
    })
    .await?;
    let (client, create) = (cluster.client().await?, PostParams::default());
    let address = snapwatcher.webhook_addr().to_string();
    let mutating: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    mutating.create(&create, &webhooks::mutating(CONFIGURATION, &Scope::Cluster, &address)).await?;
    let validating: Api<ValidatingWebhookConfiguration> = Api::all(client);
    validating.create(&create, &webhooks::validating(CONFIGURATION, &Scope::Cluster, &address)).await?;
    let ca_bundle = until("the configuration has a caBundle", async || {
        let found = mutating.get(CONFIGURATION).await.ok()?;
        found.webhooks?.first()?.client_config.ca_bundle.clone()
    })
    .await;
    snapwatcher.ready().await?;
    let target = LoadTarget::new(snapwatcher.webhook_addr(), Certificate::from_pem(&ca_bundle.0)?);
    let server = Server { target, usage: ProcessUsage { pid: snapwatcher.pid().await } };
    Ok((snapwatcher, server))
}

async fn start_fixed_reply(folder: &Path, certificate: &Certificate) -> Result<(Process, Server), Box<dyn Error>> {
    let log = folder.join("fixed-reply.log");
    let launch = Launch::new("the fixed reply", &std::env::current_exe()?, &log);
    let launch = launch.args(["fixed-reply", "--tls-cert"]).args([folder.join("tls.crt")]);
    let process = Process::start(launch.args(["--tls-key"]).args([folder.join("tls.key")])).await?;
    let address = until("the fixed reply has written its address", async || {
        std::fs::read_to_string(&log).ok()?.lines().next()?.parse().ok()
    })
    .await;
    let target = LoadTarget::new(address, certificate.clone());
    let server = Server { target, usage: ProcessUsage { pid: process.pid() } };
    Ok((process, server))
}

async fn start_controller_runtime(
    binary: &Path,
    folder: &Path,
    certificate: &Certificate,
) -> Result<(Process, Server), Box<dyn Error>> {
    let log = folder.join("controller-runtime.log");
    let launch = Launch::new("the webhook of controller-runtime", binary, &log);
    let (host, port) = (CONTROLLER_RUNTIME.ip().to_string(), CONTROLLER_RUNTIME.port().to_string());
    let launch = launch.args(["--host", &host, "--port", &port, "--cert-dir"]).args([folder]);
    let mut process = Process::start(launch).await?;
    let deadline = Instant::now() + START_TIMEOUT;
    while TcpStream::connect(CONTROLLER_RUNTIME).await.is_err() {
        process.check_running()?;
        if Instant::now() > deadline {
            return Err(format!("the webhook of controller-runtime did not listen within {START_TIMEOUT:?}").into());
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    let target = LoadTarget::new(CONTROLLER_RUNTIME, certificate.clone());
    let server = Server { target, usage: ProcessUsage { pid: process.pid() } };
    Ok((process, server))
}
