//! Runs a test against a real API server in a namespace of its own.
//!
//! Each test has its own namespace, SnapHook stand-in and webhook configurations, so that tests run in parallel. If a
//! test fails, its pods, Checkpoints, Events and SnapWatcher's log are printed. Then the namespace is deleted and the
//! test's panic is resumed. KEEP=1 keeps namespace and configurations.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use futures::FutureExt;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::core::v1::{Namespace as KubeNamespace, Pod, ServiceAccount};
use k8s_openapi::{ByteString, NamespaceResourceScope};
use kube::api::{Api, DeleteParams, DynamicObject, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::access::Access;
use crate::ca_secret::create_ca_secret;
use crate::environment::keeps_running;
use crate::lock::lock;
use crate::must::must;
use crate::objects::pod;
use crate::report;
use crate::snaphook::SnapHook;
use crate::snapwatcher::{Snapwatcher, SnapwatcherOptions};
use crate::terminal::print_result;
use crate::until::{Observation, until};
use crate::webhooks::{self, MUTATED, Scope};

/// Label of a namespace with the name of its test.
const TEST_LABEL: &str = "lab.snapwatcher.invalid/test";

/// Leaves room for the random part of a namespace's name, which has at most 63 characters.
const SLUG_LENGTH: usize = 48;

/// The namespace of one test. Clones are handles to the same namespace.
#[derive(Clone)]
pub struct Namespace {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    client: Client,
    access: Access,
    snaphook: SnapHook,
    watchers: Mutex<Vec<Arc<Snapwatcher>>>,
}

impl Debug for Namespace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Namespace").field(&self.inner.name).finish()
    }
}

/// Runs `body` in a new namespace of the control plane that `make test` started.
pub async fn in_namespace<F, Fut>(test: &str, body: F)
where
    F: FnOnce(Namespace) -> Fut,
    Fut: Future<Output = ()>,
{
    let access = must("attach to the lab", Access::attach());
    in_namespace_of(&access, test, body).await;
}

/// Runs `body` in a new namespace of this control plane. Tests that stop a server start their own control plane.
pub async fn in_namespace_of<F, Fut>(access: &Access, test: &str, body: F)
where
    F: FnOnce(Namespace) -> Fut,
    Fut: Future<Output = ()>,
{
    let namespace = Namespace::create(access, test).await;
    // A test's future is large. Boxed here, it does not need a box in each test.
    let body = Box::pin(async { body(namespace.clone()).await });
    let outcome = AssertUnwindSafe(body).catch_unwind().await;
    if outcome.is_err() {
        namespace.print().await;
    }
    namespace.clean_up().await;
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
}

impl Namespace {
    async fn create(access: &Access, test: &str) -> Self {
        let client = must("make a client", access.client().await);
        let snaphook = must("start the SnapHook stand-in", SnapHook::start().await);
        let slug = slug(test);
        let wanted = KubeNamespace {
            metadata: ObjectMeta {
                generate_name: Some(format!("{slug}-")),
                labels: Some([(TEST_LABEL.to_owned(), slug)].into()),
                ..ObjectMeta::default()
            },
            ..KubeNamespace::default()
        };
        let namespaces: Api<KubeNamespace> = Api::all(client.clone());
        let created = must("create a namespace", namespaces.create(&PostParams::default(), &wanted).await);
        let name = created.name_any();
        // The API server rejects pods until the controller has created the account.
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &name);
        until("the namespace has its service account", async || accounts.get("default").await).await;
        must("create the Secret of the CA", create_ca_secret(client.clone(), &name).await);
        let watchers = Mutex::default();
        Self { inner: Arc::new(Inner { name, client, access: access.clone(), snaphook, watchers }) }
    }

    pub fn name(&self) -> &str {
        &self.inner.name
    }

    pub fn client(&self) -> Client {
        self.inner.client.clone()
    }

    pub fn access(&self) -> &Access {
        &self.inner.access
    }

    pub fn snaphook(&self) -> &SnapHook {
        &self.inner.snaphook
    }

    /// The API of a kind in this namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client(), self.name())
    }

    /// The Checkpoints of this namespace.
    pub fn checkpoints(&self) -> Api<DynamicObject> {
        report::checkpoints(self.client(), self.name())
    }

    /// Creates an object and returns it as stored.
    pub async fn create_object<K>(&self, object: &K) -> K
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned,
        K::DynamicType: Default,
    {
        must("create an object", self.api::<K>().create(&PostParams::default(), object).await)
    }

    /// Waits up to 30 s for a state, see [`crate::until()`].
    pub async fn until<L: Observation>(&self, awaited: &str, look: impl AsyncFnMut() -> L) -> L::Value {
        until(awaited, look).await
    }

    /// Waits until the pod has the condition Ready and returns it.
    pub async fn pod_ready(&self, name: &str) -> Pod {
        let pods = self.api::<Pod>();
        let awaited = format!("pod `{name}` is Ready");
        until(&awaited, async || match pods.get(name).await {
            Ok(pod) if is_ready(&pod) => Ok(pod),
            Ok(pod) => Err(format!("{:?}", pod.status)),
            Err(error) => Err(error.to_string()),
        })
        .await
    }

    /// Waits until SnapHook has received this number of valid requests for a pod of this namespace.
    pub async fn until_requested(&self, pod: &str, times: usize) {
        let awaited = format!("SnapHook has received {times} requests for pod `{pod}`");
        until(&awaited, async || {
            let requested = self.snaphook().requests_for(self.name(), pod).len();
            if requested == times {
                Ok(())
            } else {
                Err(format!("{requested} requests; violations: {:?}", self.snaphook().violations()))
            }
        })
        .await;
    }

    /// Starts SnapWatcher for this namespace with its own webhook configurations, and waits until the API server calls
    /// it.
    ///
    /// `binary` is the test's `env!("CARGO_BIN_EXE_snapwatcher")`.
    pub async fn start_snapwatcher(&self, binary: impl AsRef<Path>, args: &[&str]) -> Arc<Snapwatcher> {
        let binary = binary.as_ref().to_owned();
        let args = args.iter().map(|argument| (*argument).to_owned()).collect();
        self.start_snapwatcher_with(SnapwatcherOptions { binary, args, ..SnapwatcherOptions::default() }).await
    }

    /// Starts SnapWatcher with these variables too. Flags in `options` replace the defaults of the lab.
    pub async fn start_snapwatcher_with(&self, options: SnapwatcherOptions) -> Arc<Snapwatcher> {
        let watcher = self.launch_snapwatcher(options).await;
        self.install_webhooks(&watcher).await;
        must("wait for SnapWatcher", watcher.ready().await);
        self.admission_works().await;
        watcher
    }

    /// Starts the process without webhook configurations and does not wait until it is ready.
    pub async fn launch_snapwatcher(&self, mut options: SnapwatcherOptions) -> Arc<Snapwatcher> {
        let name = self.name();
        for (flag, value) in [
            ("--namespaces", name),
            ("--service-namespace", name),
            ("--mutating-webhook-configuration", name),
            ("--validating-webhook-configuration", name),
            ("--backend", "snaphook"),
            // Most tests have only two nodes, so the limit per node would slow them down.
            ("--max-concurrent-per-node", "8"),
            // Most tests take several checkpoints of containers without a memory limit on one node.
            ("--kubelet-archive-budget", "0"),
            ("--snap-back-api-url", &self.snaphook().url()),
        ] {
            let assigned = format!("{flag}=");
            if !options.args.iter().any(|argument| argument == flag || argument.starts_with(&assigned)) {
                options.args.extend([flag.to_owned(), value.to_owned()]);
            }
        }
        if options.kubeconfig.as_os_str().is_empty() {
            options.kubeconfig = self.access().kubeconfig();
        }
        let watcher = Arc::new(must("start SnapWatcher", Snapwatcher::start(options).await));
        self.watchers().push(Arc::clone(&watcher));
        watcher
    }

    /// Creates both webhook configurations with this process's address. They have the namespace's name.
    pub async fn install_webhooks(&self, watcher: &Snapwatcher) {
        self.install_webhooks_at(watcher.webhook_addr(), "Ignore").await;
    }

    /// Creates both webhook configurations with any address and failure policy.
    pub async fn install_webhooks_at(&self, address: SocketAddr, failure_policy: &str) {
        let scope = Scope::Namespace(self.name().to_owned());
        let address = address.to_string();
        let (create, name) = (PostParams::default(), self.name());
        let mut configuration = webhooks::mutating(name, &scope, &address);
        for webhook in configuration.webhooks.iter_mut().flatten() {
            webhook.failure_policy = Some(failure_policy.to_owned());
            // On a busy machine a short timeout would fail creations that the webhook answers.
            if failure_policy == "Fail" {
                webhook.timeout_seconds = Some(10);
            }
        }
        let mutating = Api::<MutatingWebhookConfiguration>::all(self.client());
        must("create the mutating configuration", mutating.create(&create, &configuration).await);
        let configuration = webhooks::validating(name, &scope, &address);
        let validating = Api::<ValidatingWebhookConfiguration>::all(self.client());
        must("create the validating configuration", validating.create(&create, &configuration).await);
    }

    /// Writes the caBundle of both configurations, as an operator does who starts SnapWatcher with certificate files.
    pub async fn set_ca_bundle(&self, bundle: &str) {
        let bundle = ByteString(bundle.as_bytes().to_vec());
        let patch = json!([{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": bundle}]);
        let patch = Patch::Json::<()>(must("write a patch", serde_json::from_value(patch)));
        let by = PatchParams::default();
        let mutating = Api::<MutatingWebhookConfiguration>::all(self.client());
        must("patch the mutating configuration", mutating.patch(self.name(), &by, &patch).await);
        let validating = Api::<ValidatingWebhookConfiguration>::all(self.client());
        must("patch the validating configuration", validating.patch(self.name(), &by, &patch).await);
    }

    /// Waits until a labeled pod that is created as a dry run comes back with the mutated label.
    ///
    /// The API server uses a changed configuration a moment after it is stored. So it is not enough to check `/readyz`
    /// or the stored caBundle.
    pub async fn admission_works(&self) {
        let pods = self.api::<Pod>();
        let probe = pod("admission-probe").labelled().build();
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        until("the webhook mutates a labelled pod", async || match pods.create(&dry_run, &probe).await {
            Ok(pod) if pod.labels().contains_key(MUTATED) => Ok(()),
            Ok(pod) => Err(format!("labels {:?}", pod.labels())),
            Err(error) => Err(error.to_string()),
        })
        .await;
    }

    fn watchers(&self) -> MutexGuard<'_, Vec<Arc<Snapwatcher>>> {
        lock(&self.inner.watchers)
    }

    async fn print(&self) {
        report::print(&self.inner.client, self.name()).await;
        print_result("--- requests to SnapHook");
        for request in self.snaphook().requests() {
            print_result(&format!("  {} {} {} {:?}", request.at, request.path, request.body, request.violation));
        }
        for watcher in self.watchers().iter() {
            print_result(&format!("--- SnapWatcher's log\n{}", watcher.log()));
        }
    }

    async fn clean_up(&self) {
        let watchers = std::mem::take(&mut *self.watchers());
        for watcher in watchers {
            // Fails only if the process has ended already.
            drop(watcher.kill().await);
        }
        if keeps_running() {
            print_result(&format!("Namespace {} is kept.", self.name()));
            return;
        }
        // Each of them may be missing, or the API server may have ended.
        let now = DeleteParams::default();
        drop(Api::<MutatingWebhookConfiguration>::all(self.client()).delete(self.name(), &now).await);
        drop(Api::<ValidatingWebhookConfiguration>::all(self.client()).delete(self.name(), &now).await);
        drop(Api::<KubeNamespace>::all(self.client()).delete(self.name(), &now).await);
    }
}

/// Whether a pod's condition Ready is True.
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// A test's name as a label value and as the start of a namespace's name.
fn slug(test: &str) -> String {
    let replaced: String =
        test.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    let cut: String = replaced.trim_matches('-').chars().take(SLUG_LENGTH).collect();
    cut.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tests_name_becomes_a_valid_label() {
        assert_eq!(slug("a_pod_that::is Ready"), "a-pod-that--is-ready");
        let long = slug(&"word_".repeat(30));
        assert!(long.len() <= SLUG_LENGTH && !long.ends_with('-'), "{long}");
    }
}
