//! The demo: one command shows what happens to labeled pods.
//!
//! A real API server calls the webhook, pods become Ready on fake nodes, SnapWatcher finds their workloads and sends
//! checkpoint requests to the SnapHook stand-in. The demo prints the patches and log blocks of SnapWatcher's log, the
//! bodies that the stand-in received and the pods' timelines. It succeeds if each pod was requested exactly once.

mod summary;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use kube::api::{Api, DynamicObject, ListParams, ObjectMeta, PostParams};
use kube::{Client, Resource, ResourceExt};
use tokio::time::{Instant, sleep};

use crate::binaries::BinarySource;
use crate::ca_secret::create_ca_secret;
use crate::cluster::{Cluster, LabError, Options};
use crate::crd::{self, CrdError};
use crate::objects::{deployment, pod, statefulset};
use crate::registration::{self, Registration, RegistrationError};
use crate::report;
use crate::snaphook::{SnapHook, SnapHookError};
use crate::snapwatcher::{Snapwatcher, SnapwatcherError, SnapwatcherOptions};
use crate::terminal::print_result;
use crate::until::{WaitTimeout, try_until};
use crate::webhooks::{self, MUTATED, Scope};

const NAMESPACE: &str = "demo";

/// The namespace of SnapWatcher's own objects.
const SERVICE_NAMESPACE: &str = "default";

/// Name of both webhook configurations.
const CONFIGURATION: &str = "snapwatcher";

const DEPLOYMENT_REPLICAS: i32 = 3;
const STATEFULSET_REPLICAS: i32 = 2;
const EXPECTED_PODS: usize = 5;

/// The demo should take less than a minute. This leaves time to report what went wrong.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How long the demo watches for a second request for a pod.
const WATCH_FOR_DOUBLES: Duration = Duration::from_secs(3);

/// What the demo does at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Afterwards {
    End,
    StayUp,
}

/// The result of the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DemoResult {
    AllRequestedOnce,
    Wrong,
}

#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error(transparent)]
    Lab(#[from] LabError),
    #[error(transparent)]
    Registration(#[from] RegistrationError),
    #[error(transparent)]
    Crd(#[from] CrdError),
    #[error(transparent)]
    SnapHook(#[from] SnapHookError),
    #[error(transparent)]
    Snapwatcher(#[from] SnapwatcherError),
    #[error("could not {what}")]
    Api { what: &'static str, source: Box<kube::Error> },
    #[error("{timeout}; the end of SnapWatcher's log:\n{tail}")]
    NotReached { timeout: WaitTimeout, tail: String },
}

/// Everything that runs during the demo. Dropping it ends all of it.
struct Demo {
    watcher: Snapwatcher,
    snaphook: SnapHook,
    client: Client,
    cluster: Cluster,
}

/// Runs the demo with this program.
pub async fn run(
    mut registration: Registration,
    snapwatcher: &Path,
    afterwards: Afterwards,
) -> Result<DemoResult, DemoError> {
    let binaries = BinarySource::from_environment();
    print_result(&format!("Starting Kubernetes:\n{binaries}"));
    let cluster = Cluster::start(Options { binaries, ..Options::from_environment()? }).await?;
    // The time of the demo does not include building the control plane, which happens only once.
    let started = Instant::now();
    registration.publish(cluster.access())?;
    crd::install(cluster.access(), snapwatcher).await?;
    let mut demo = Demo::start(cluster, snapwatcher).await?;
    demo.apply().await?;
    let pods = demo.pods_done().await?;
    print_result(&format!("All pods are done. Watching {} s for a second request.\n", WATCH_FOR_DOUBLES.as_secs()));
    sleep(WATCH_FOR_DOUBLES).await;

    let result = demo.print_summary(&pods).await?;
    print_result(&format!("The demo took {:.1} s after Kubernetes was running.", started.elapsed().as_secs_f64()));
    if afterwards == Afterwards::StayUp {
        demo.stay_up().await?;
    }
    Ok(result)
}

impl Demo {
    /// Starts the stand-in and SnapWatcher, and waits until the API server calls the webhook.
    async fn start(cluster: Cluster, binary: &Path) -> Result<Self, DemoError> {
        let snaphook = SnapHook::start().await?;
        print_result(&format!("Starting the SnapHook stand-in on {} and SnapWatcher.", snaphook.url()));
        let client = cluster.client().await?;
        let created = create_ca_secret(client.clone(), SERVICE_NAMESPACE).await;
        created.map_err(|source| DemoError::Api { what: "create the Secret of the CA", source: Box::new(source) })?;
        let flags = [
            ("--service-namespace", SERVICE_NAMESPACE.to_owned()),
            ("--snap-back-api-url", snaphook.url()),
            ("--mutating-webhook-configuration", CONFIGURATION.to_owned()),
            ("--validating-webhook-configuration", CONFIGURATION.to_owned()),
        ];
        let watcher = Snapwatcher::start(SnapwatcherOptions {
            binary: binary.to_owned(),
            kubeconfig: cluster.kubeconfig(),
            args: flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect(),
            // SnapWatcher logs patches at this level only.
            env: BTreeMap::from([("LOG_LEVEL".to_owned(), "DEBUG".to_owned())]),
        })
        .await?;
        let demo = Self { watcher, snaphook, client, cluster };

        let address = demo.watcher.webhook_addr().to_string();
        let mutating = webhooks::mutating(CONFIGURATION, &Scope::Cluster, &address);
        create(&Api::<MutatingWebhookConfiguration>::all(demo.client.clone()), &mutating).await?;
        let validating = webhooks::validating(CONFIGURATION, &Scope::Cluster, &address);
        create(&Api::<ValidatingWebhookConfiguration>::all(demo.client.clone()), &validating).await?;
        demo.watcher.ready().await?;

        let metadata = ObjectMeta { name: Some(NAMESPACE.to_owned()), ..ObjectMeta::default() };
        let namespace = Namespace { metadata, ..Namespace::default() };
        create(&Api::all(demo.client.clone()), &namespace).await?;
        demo.admission_works().await?;
        Ok(demo)
    }

    /// Waits until the API server calls the webhook, by creating a pod as a dry run.
    async fn admission_works(&self) -> Result<(), DemoError> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), NAMESPACE);
        let wait = try_until("the namespace has its service account", TIMEOUT, async || accounts.get("default").await);
        wait.await.map_err(|error| self.not_reached(error))?;
        let probe = pod("admission-probe").labelled().build();
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        let pods = self.pods();
        let wait = try_until("the API server calls the webhook", TIMEOUT, async || {
            pods.create(&dry_run, &probe).await.is_ok_and(|pod| pod.labels().contains_key(MUTATED))
        });
        wait.await.map_err(|error| self.not_reached(error))
    }

    async fn apply(&self) -> Result<(), DemoError> {
        print_result(&format!(
            "Creating Deployment {NAMESPACE}/web ({DEPLOYMENT_REPLICAS} pods) and StatefulSet {NAMESPACE}/db \
             ({STATEFULSET_REPLICAS} pods), with the label {}: \"true\" on their pods and nothing else",
            webhooks::SNAP
        ));
        let web = deployment("web").replicas(DEPLOYMENT_REPLICAS).labelled().build();
        create(&Api::<Deployment>::namespaced(self.client.clone(), NAMESPACE), &web).await?;
        let db = statefulset("db").replicas(STATEFULSET_REPLICAS).labelled().build();
        create(&Api::<StatefulSet>::namespaced(self.client.clone(), NAMESPACE), &db).await?;
        Ok(())
    }

    /// Waits until each expected pod was requested and has a finished Checkpoint.
    async fn pods_done(&self) -> Result<Vec<Pod>, DemoError> {
        let pods = self.pods();
        let wait = try_until("each pod was requested and its Checkpoint is finished", TIMEOUT, async || {
            let listed = pods.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
            let requested = |pod: &Pod| !self.snaphook.requests_for(NAMESPACE, &pod.name_any()).is_empty();
            let requested = listed.iter().filter(|pod| requested(pod)).count();
            let finished = self.checkpoints().await?.iter().filter(|checkpoint| is_finished(checkpoint)).count();
            if listed.len() == EXPECTED_PODS && requested == EXPECTED_PODS && finished >= EXPECTED_PODS {
                Ok(listed)
            } else {
                Err(format!("{} pods, {requested} requested, {finished} Checkpoints finished", listed.len()))
            }
        });
        wait.await.map_err(|error| self.not_reached(error))
    }

    async fn checkpoints(&self) -> Result<Vec<DynamicObject>, String> {
        let checkpoints = report::checkpoints(self.client.clone(), NAMESPACE);
        Ok(checkpoints.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items)
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    fn not_reached(&self, timeout: WaitTimeout) -> DemoError {
        DemoError::NotReached { timeout, tail: crate::process::last_lines(&self.watcher.log_path(), 30) }
    }

    /// Keeps everything running until the program is stopped.
    async fn stay_up(&mut self) -> Result<(), DemoError> {
        let lab = registration::shown(&Registration::folder_of_workspace());
        let kubectl = format!("{lab}/kubectl --kubeconfig {lab}/kubeconfig");
        let (admin, webhook) = (self.watcher.admin_url(), self.watcher.webhook_addr());
        print_result(&format!(
            "\nEverything keeps running until Ctrl-C here or `lab down` elsewhere. From the root of the repository:\n\n  \
             {kubectl} get pods,ckpt -A\n  \
             {kubectl} -n {NAMESPACE} scale deployment/web --replicas=5\n  \
             {kubectl} -n {NAMESPACE} delete pod db-0\n  \
             curl '{admin}/readyz?verbose'\n  \
             curl {admin}/pods\n  \
             curl {admin}/metrics\n  \
             curl --insecure https://{webhook}/healthz\n  \
             tail -f {}\n\n\
             How an unreachable SnapHook and --suspend look: docs/operations.md, \"Trying it in the demo\". \
             SnapWatcher is process {}.",
            self.watcher.log_path().display(),
            self.watcher.pid().await
        ));
        self.snaphook.on_request(|request| print_result(&format!("SnapHook received: {}", request.body)));
        loop {
            sleep(Duration::from_secs(1)).await;
            self.cluster.check_running()?;
        }
    }
}

fn is_finished(checkpoint: &DynamicObject) -> bool {
    let phase = checkpoint.data.pointer("/status/phase").and_then(serde_json::Value::as_str);
    matches!(phase, Some("Succeeded" | "Failed" | "Unknown"))
}

async fn create<K>(api: &Api<K>, object: &K) -> Result<(), DemoError>
where
    K: Resource + Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    let created = api.create(&PostParams::default(), object).await;
    created.map_err(|source| DemoError::Api { what: "create an object of the demo", source: Box::new(source) })?;
    Ok(())
}
