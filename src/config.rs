//! Settings: flags, each with its environment variable, parsed once into types.
//!
//! A flag's doc comment is its help text and its row in docs/configuration.md. Nothing past this module reads the
//! environment. The names LOG_LEVEL, SNAP_BACK_API_URL and KUBE_API_ADDRESS are those of the first SnapWatcher.

mod backend;
pub(crate) mod values;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use reqwest::Url;

use snapwatcher_admission::ValidationMode;
use snapwatcher_api::duration;
use snapwatcher_api::pod::OncePer;
use snapwatcher_backends::snaphook::Contract;
use snapwatcher_certificates::{TlsSource, service_names};
use snapwatcher_controller::{CheckpointSettings, Holder, RetentionPolicy, RetryPolicy, UnknownResult};
use snapwatcher_kubernetes::leader::LeaseTimes;

use snapwatcher_daemon::telemetry::{LogFormat, LogLevel};

pub use backend::{BackendName, BackendSettings, KubeletArgs};
pub use values::{BackendUrl, BackendUrlError};
use values::{address, certificate_name, delay, life, namespace, object_name, timeout, web_url};

/// Everything `snapwatcher run` can be told.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    #[command(flatten, next_help_heading = "Log")]
    pub log: LogArgs,
    #[command(flatten, next_help_heading = "Admission")]
    pub admission: AdmissionArgs,
    #[command(flatten, next_help_heading = "Certificate")]
    pub certificate: CertificateArgs,
    #[command(flatten, next_help_heading = "Watch")]
    pub watch: WatchArgs,
    #[command(flatten, next_help_heading = "Checkpoints")]
    pub checkpoint: CheckpointArgs,
    #[command(flatten, next_help_heading = "Leader")]
    pub leader: LeaderArgs,
    #[command(flatten, next_help_heading = "Admin port")]
    pub admin: AdminArgs,
}

#[derive(Debug, Clone, Args)]
pub struct LogArgs {
    /// The least serious messages that are logged: DEBUG, INFO, WARNING or ERROR.
    #[arg(long, env = "LOG_LEVEL", value_name = "LEVEL", default_value = "INFO")]
    pub log_level: LogLevel,
    /// How a line of the log is written.
    #[arg(long, env = "SNAPWATCHER_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

#[derive(Debug, Clone, Args)]
pub struct AdmissionArgs {
    /// Where the API server calls the webhook, over HTTPS.
    #[arg(long, env = "SNAPWATCHER_WEBHOOK_LISTEN", value_name = "ADDRESS", default_value = "[::]:8443", value_parser = address)]
    pub webhook_listen: SocketAddr,
    /// What `/validate` does about a pod that can't be checkpointed as it is written: warn its author, deny it, or
    /// nothing.
    #[arg(long, env = "SNAPWATCHER_VALIDATION", value_name = "MODE", default_value = "warn")]
    pub validation: ValidationMode,
    /// How long admission reviews are answered after SIGTERM, until no API server can think any more that this process
    /// is there; 0s: not at all.
    #[arg(long, env = "SNAPWATCHER_DRAIN_DELAY", value_name = "DURATION", default_value = "10s", value_parser = delay)]
    pub drain_delay: Duration,
    /// How long a kept connection may be idle. Shortened in tests.
    #[arg(long, env = "SNAPWATCHER_IDLE_TIMEOUT", value_name = "DURATION", default_value = "120s", value_parser = timeout, hide = true)]
    pub idle_timeout: Duration,
    /// How long the body of a request may take. Shortened in tests.
    #[arg(long, env = "SNAPWATCHER_BODY_TIMEOUT", value_name = "DURATION", default_value = "30s", value_parser = timeout, hide = true)]
    pub body_timeout: Duration,
}

#[derive(Debug, Clone, Args)]
pub struct CertificateArgs {
    /// Name of the MutatingWebhookConfiguration whose caBundle is kept; it is never created.
    #[arg(long, env = "SNAPWATCHER_MUTATING_WEBHOOK_CONFIGURATION", value_name = "NAME", value_parser = object_name)]
    pub mutating_webhook_configuration: Option<String>,
    /// Name of the ValidatingWebhookConfiguration whose caBundle is kept; it is never created.
    #[arg(long, env = "SNAPWATCHER_VALIDATING_WEBHOOK_CONFIGURATION", value_name = "NAME", value_parser = object_name)]
    pub validating_webhook_configuration: Option<String>,
    #[command(flatten)]
    pub ca: CaArgs,
    /// Name of the Service by which the API server calls the webhook; the certificate is made for it.
    #[arg(long, env = "SNAPWATCHER_SERVICE_NAME", value_name = "NAME", default_value = "snapwatcher", value_parser = object_name)]
    pub service_name: String,
    /// How long a serving certificate is valid; shortened in tests, as are the next two.
    #[arg(long, env = "SNAPWATCHER_LEAF_LIFE", value_name = "DURATION", default_value = "168h", value_parser = life, hide = true)]
    pub leaf_life: Duration,
    #[arg(long, env = "SNAPWATCHER_PUBLISH_WAIT", value_name = "DURATION", default_value = "60s", value_parser = timeout, hide = true)]
    pub publish_wait: Duration,
    #[arg(long, env = "SNAPWATCHER_LEVEL_CHECK", value_name = "DURATION", default_value = "60s", value_parser = timeout, hide = true)]
    pub level_check: Duration,
    /// UID of this process's pod, on which Events about the certificates are told [default: POD_UID].
    #[arg(long, env = "POD_UID", value_name = "UID", hide = true)]
    pub pod_uid: Option<String>,
    /// Serving certificate in a PEM file, instead of one that SnapWatcher makes. You keep the caBundle then.
    #[arg(long, env = "SNAPWATCHER_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Key of that certificate, in a PEM file.
    #[arg(long, env = "SNAPWATCHER_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
}

/// Where the CA is kept; for `run` and for `certs rotate`.
#[derive(Debug, Clone, Args)]
pub struct CaArgs {
    /// Namespace of that Service, of the Lease, and of the Secret with the CA.
    #[arg(long, env = "SNAPWATCHER_SERVICE_NAMESPACE", value_name = "NAME", default_value = "snap", value_parser = object_name)]
    pub service_namespace: String,
    /// Name of the Secret in which the replicas share the CA that signs the certificate; it is created.
    #[arg(long, env = "SNAPWATCHER_CA_SECRET", value_name = "NAME", default_value = "snapwatcher-webhook-ca", value_parser = object_name)]
    pub ca_secret: String,
    /// How long a CA is valid; shortened in tests.
    #[arg(long, env = "SNAPWATCHER_CA_LIFE", value_name = "DURATION", default_value = "8760h", value_parser = life, hide = true)]
    pub ca_life: Duration,
}

/// `snapwatcher certs`: development certificates, or a rotation in the cluster.
#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct CertsArgs {
    #[command(subcommand)]
    pub command: Option<CertsCommand>,
    /// The folder into which `ca.crt`, `tls.crt` and `tls.key` are written.
    #[arg(long, value_name = "FOLDER", default_value = "certs")]
    pub directory: PathBuf,
    /// DNS names and IP addresses of the certificate, comma-separated.
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "localhost,127.0.0.1,::1,snapwatcher.snap.svc",
        value_parser = certificate_name
    )]
    pub names: Vec<String>,
    /// StatusWriter over certificates that are there.
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Clone, clap::Subcommand)]
pub enum CertsCommand {
    /// Has the running replicas go over to a new CA, without a moment in which a certificate is not trusted.
    Rotate(CaArgs),
}

#[derive(Debug, Clone, Args)]
pub struct WatchArgs {
    /// Namespaces whose pods are watched, comma-separated; empty: all.
    #[arg(long, env = "SNAPWATCHER_NAMESPACES", value_name = "NAMES", value_delimiter = ',', value_parser = namespace)]
    pub namespaces: Vec<String>,
    /// How long the API server keeps a watch open; a connection that is silent for 3 s longer is dead. Shortened in
    /// tests.
    #[arg(long, env = "SNAPWATCHER_WATCH_TIMEOUT", value_name = "DURATION", default_value = "60s", value_parser = timeout, hide = true)]
    pub watch_timeout: Duration,
}

#[derive(Debug, Clone, Args)]
pub struct CheckpointArgs {
    /// Who takes checkpoints: SnapHook over HTTP, the kubelet of each pod's node, or nobody: what would be asked is only
    /// logged.
    #[arg(long, env = "SNAPWATCHER_BACKEND", value_name = "NAME", default_value = "snaphook")]
    pub backend: BackendName,
    /// Where SnapHook listens; empty: the same as `--backend log`.
    #[arg(
        long,
        env = "SNAP_BACK_API_URL",
        hide_env_values = true,
        value_name = "URL",
        default_value = "http://snap-back-api"
    )]
    pub snap_back_api_url: BackendUrl,
    /// Path and body of the requests to SnapHook, see docs/contracts.md.
    #[arg(
        long,
        env = "SNAPWATCHER_SNAP_BACK_API_CONTRACT",
        value_name = "CONTRACT",
        default_value = "kubelet-checkpoint"
    )]
    pub snap_back_api_contract: Contract,
    /// File with the bearer token for SnapHook, read anew for each request.
    #[arg(long, env = "SNAPWATCHER_SNAP_BACK_API_TOKEN_FILE", value_name = "FILE")]
    pub snap_back_api_token_file: Option<PathBuf>,
    /// File with the CA certificates that SnapHook's certificate is verified against, instead of the system's.
    #[arg(long, env = "SNAPWATCHER_SNAP_BACK_API_CA_FILE", value_name = "FILE")]
    pub snap_back_api_ca_file: Option<PathBuf>,
    /// Name of this cluster in requests of the contract `snapapi-kubelet`, which needs it.
    #[arg(
        long,
        env = "SNAPWATCHER_CLUSTER_NAME",
        value_name = "NAME",
        value_parser = clap::builder::NonEmptyStringValueParser::new(),
        required_if_eq("snap_back_api_contract", "snapapi-kubelet")
    )]
    pub cluster_name: Option<String>,
    /// Address of the API server as told to SnapHook in each request.
    #[arg(long, env = "KUBE_API_ADDRESS", value_name = "URL", default_value = "https://kubernetes.default.svc", value_parser = web_url)]
    pub kube_api_address: Url,
    /// How long connecting to SnapHook may take, TLS included; to a kubelet also with the look-up of its node and the
    /// token.
    #[arg(long, env = "SNAPWATCHER_REQUEST_TIMEOUT", value_name = "DURATION", default_value = "5s", value_parser = timeout)]
    pub request_timeout: Duration,
    /// How long SnapHook may take to answer once it is connected: it answers when the checkpoint is done.
    #[arg(long, env = "SNAPWATCHER_RESPONSE_TIMEOUT", value_name = "DURATION", default_value = "120s", value_parser = timeout)]
    pub response_timeout: Duration,
    #[command(flatten)]
    pub kubelet: KubeletArgs,
    /// What must happen once: a checkpoint of each pod, or of each revision of a workload; for pods whose annotation
    /// does not say [default with `--backend kubelet`: revision, since archives pile up on nodes].
    #[arg(
        long,
        env = "SNAPWATCHER_ONCE_PER",
        value_name = "SUBJECT",
        default_value = "pod",
        default_value_if("backend", "kubelet", "revision")
    )]
    pub once_per: OncePer,
    /// What is done about a request of which nobody can tell whether it had its effect: keep it so, or ask again and
    /// risk a second checkpoint.
    #[arg(long, env = "SNAPWATCHER_UNKNOWN_RESULT", value_name = "WHAT", default_value = "keep")]
    pub unknown_result: UnknownResult,
    /// How many answers that show a failure a checkpoint may have before it is Failed; not reaching SnapHook is none.
    #[arg(long, env = "SNAPWATCHER_MAX_ATTEMPTS", value_name = "NUMBER", default_value = "5", value_parser = clap::value_parser!(u16).range(1..=100))]
    pub max_attempts: u16,
    /// How many pods of a revision are asked for, one after the other, when one comes to nothing.
    #[arg(long, env = "SNAPWATCHER_MAX_PODS_PER_REVISION", value_name = "NUMBER", default_value = "3", value_parser = clap::value_parser!(u16).range(1..=100))]
    pub max_pods_per_revision: u16,
    /// How many checkpoints are taken at once, in all.
    #[arg(long, env = "SNAPWATCHER_MAX_CONCURRENT", value_name = "NUMBER", default_value = "8", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub max_concurrent: u16,
    /// How many checkpoints are taken at once on one node: each freezes its container and loads the node.
    #[arg(long, env = "SNAPWATCHER_MAX_CONCURRENT_PER_NODE", value_name = "NUMBER", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub max_concurrent_per_node: u16,
    /// The emergency brake: pods are claimed, and nothing is asked.
    #[arg(long, env = "SNAPWATCHER_SUSPEND", value_name = "BOOL", default_value = "false", num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub suspend: bool,
    /// How many finished records of a workload are kept once their pods are gone.
    #[arg(long, env = "SNAPWATCHER_HISTORY_LIMIT", value_name = "NUMBER", default_value = "10")]
    pub history_limit: u32,
    /// How long a finished record is kept once its pod is gone.
    #[arg(long, env = "SNAPWATCHER_HISTORY_TTL", value_name = "DURATION", default_value = "168h", value_parser = duration::parse)]
    pub history_ttl: Duration,
    /// Between two rounds of removing records; shortened in tests.
    #[arg(long, env = "SNAPWATCHER_HISTORY_EVERY", value_name = "DURATION", default_value = "10m", value_parser = timeout, hide = true)]
    pub history_every: Duration,
    /// The longest wait before SnapHook is tried again; shortened in tests.
    #[arg(long, env = "SNAPWATCHER_LONGEST_WAIT", value_name = "DURATION", default_value = "5m", value_parser = timeout, hide = true)]
    pub longest_wait: Duration,
    /// How long past its time another holder's attempt is left alone; shortened in tests.
    #[arg(long, env = "SNAPWATCHER_HOLDER_GRACE", value_name = "DURATION", default_value = "30s", value_parser = timeout, hide = true)]
    pub holder_grace: Duration,
    /// Name of this replica in the records of its attempts; the pod's name [default: POD_NAME, else the host's name and
    /// a random part]. Each replica needs its own: under one name they would take each other's attempts for their past.
    #[arg(long, env = "SNAPWATCHER_INSTANCE", value_name = "NAME")]
    pub instance: Option<String>,
    #[arg(long, env = "POD_NAME", hide = true)]
    pub pod_name: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub struct LeaderArgs {
    /// One replica, which leads without a Lease; false: several, of which one leads.
    #[arg(long, env = "SNAPWATCHER_STANDALONE", value_name = "BOOL", default_value = "true", num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub standalone: bool,
    /// Name of the Lease, in the namespace of `--service-namespace`.
    #[arg(long, env = "SNAPWATCHER_LEASE_NAME", value_name = "NAME", default_value = "snapwatcher", value_parser = object_name)]
    pub lease_name: String,
    /// How long a Lease that is not renewed is respected, in whole seconds; the other times of the election follow from
    /// it. Shortened in tests.
    #[arg(long, env = "SNAPWATCHER_LEASE_DURATION", value_name = "DURATION", default_value = "15s", value_parser = timeout, hide = true)]
    pub lease_duration: Duration,
}

impl LeaderArgs {
    /// The default times, in proportion to the duration.
    pub fn times(&self) -> LeaseTimes {
        let part = |thirds: u32| self.lease_duration * thirds / 15;
        LeaseTimes {
            lease_duration: self.lease_duration,
            renew_interval: part(5),
            retry_interval: part(2),
            renew_deadline: part(10),
        }
    }
}

#[derive(Debug, Clone, Args)]
pub struct AdminArgs {
    /// Where health, metrics and journeys are served, over plain HTTP.
    #[arg(long, env = "SNAPWATCHER_ADMIN_LISTEN", value_name = "ADDRESS", default_value = "[::]:8080", value_parser = address)]
    pub admin_listen: SocketAddr,
}

impl CheckpointArgs {
    /// What the controller is to do with checkpoints.
    pub fn controller(&self) -> CheckpointSettings {
        CheckpointSettings {
            limits: self.limits(),
            policy: self.policy(),
            retention: self.keep(),
            once_per: self.once_per,
            max_pods_per_revision: self.max_pods_per_revision.into(),
            suspend: self.suspend,
            longest_slot: self.longest_slot(),
        }
    }

    pub fn policy(&self) -> RetryPolicy {
        RetryPolicy {
            unknown_result: self.unknown_result,
            max_attempts: self.max_attempts.into(),
            longest_wait: self.longest_wait,
            holder_grace: self.holder_grace,
        }
    }

    pub fn keep(&self) -> RetentionPolicy {
        let limit = usize::try_from(self.history_limit).unwrap_or(usize::MAX);
        RetentionPolicy { limit, ttl: self.history_ttl, every: self.history_every }
    }

    /// Who this process is. Without a pod's name a random part keeps two processes on one host apart.
    pub fn holder(&self) -> Holder {
        let boot = uuid::Uuid::new_v4().simple().to_string()[..8].to_owned();
        let named = self.instance.clone().or_else(|| self.pod_name.clone());
        let instance = named.unwrap_or_else(|| {
            let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
            format!("{host}-{}", &uuid::Uuid::new_v4().simple().to_string()[..5])
        });
        Holder { instance, boot }
    }
}

impl AdmissionArgs {
    pub fn limits(&self) -> snapwatcher_https::Limits {
        snapwatcher_https::Limits {
            idle: self.idle_timeout,
            request: self.body_timeout,
            drain: self.drain_delay,
            ..snapwatcher_https::Limits::default()
        }
    }
}

impl CertificateArgs {
    pub fn settings(&self) -> snapwatcher_certificates::CertificateSettings {
        let source = if let (Some(cert), Some(key)) = (&self.tls_cert, &self.tls_key) {
            TlsSource::Files { certificate: cert.clone(), key: key.clone() }
        } else {
            let mut names = service_names(&self.service_name, &self.ca.service_namespace);
            // A process outside the cluster is called by `clientConfig.url`.
            names.extend(["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()]);
            TlsSource::CaSecret {
                names,
                namespace: self.ca.service_namespace.clone(),
                secret: self.ca.ca_secret.clone(),
            }
        };
        snapwatcher_certificates::CertificateSettings {
            source,
            timings: snapwatcher_certificates::CertificateTimings {
                ca_life: self.ca.ca_life,
                serving_life: self.leaf_life,
                publish_wait: self.publish_wait,
                level_check: self.level_check,
            },
            mutating: self.mutating_webhook_configuration.clone(),
            validating: self.validating_webhook_configuration.clone(),
        }
    }
}

impl WatchArgs {
    /// The namespaces, each once; none means all.
    pub fn namespaces(&self) -> Vec<String> {
        let mut names: Vec<String> = self.namespaces.iter().filter(|name| !name.is_empty()).cloned().collect();
        names.sort();
        names.dedup();
        names
    }
}
