//! A tenant who may edit one namespace does there all at once what could harm others. Meanwhile the pods of another tenant are
//! admitted and checkpointed as before, and the process stays below the memory limit of the chart.
//!
//! The long form, `make adversary`, takes five minutes. It needs root, for the memory limit.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::rbac::v1::{ClusterRole, RoleBinding};
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt as _};
use lab::memory_limit::MemoryLimit;
use lab::objects::pod;
use lab::proxy::{Proxy, When};
use lab::storm::Size;
use lab::terminal::print_result;
use lab::{Namespace, Snapwatcher, SnapwatcherOptions, WebhookClient, in_namespace, try_until};
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use snapwatcher_admission::MUTATE;
use snapwatcher_api::keys::{ATTEMPT, MUTATED};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_rustls::TlsConnector;

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

/// The memory limit of the chart.
const MEMORY: u64 = 256 << 20;
/// `--response-timeout`: no slot is held longer than an attempt and this.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(120);
/// The calls that SnapWatcher may make in a second, on average, whatever a tenant does.
const CALLS_PER_SECOND: f64 = 200.0;

/// How much the tenant does.
struct Attack {
    large_pods: usize,
    large_checkpoints: usize,
    made_up_checkpoints: usize,
    forged_attempts: usize,
    connections: usize,
    lasts: Duration,
}

impl Attack {
    fn of(size: Size) -> Self {
        Self {
            large_pods: size.of(60, 400),
            large_checkpoints: size.of(20, 100),
            made_up_checkpoints: size.of(1500, 10_000),
            forged_attempts: size.of(100, 1000),
            connections: size.of(40, 200),
            lasts: Duration::from_secs(size.of(30, 300)),
        }
    }
}

/// Some namespace's `edit`, as Kubernetes has it, and the same for Checkpoints, as the chart has it.
async fn tenant(ns: &Namespace) -> Client {
    let user = format!("tenant-of-{}", ns.name());
    let checkpoints = json!({
        "metadata": {"name": &user},
        "rules": [{"apiGroups": ["snap.weaversoft.io"], "resources": ["checkpoints"], "verbs": ["*"]}],
    });
    let roles: Api<ClusterRole> = Api::all(ns.client());
    roles.create(&PostParams::default(), &serde_json::from_value(checkpoints).unwrap()).await.unwrap();
    for role in ["edit", &user] {
        let binding = json!({
            "metadata": {"name": format!("{user}-{}", role.len())},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": &user}],
        });
        ns.create_object::<RoleBinding>(&serde_json::from_value(binding).unwrap()).await;
    }
    let kubeconfig = Kubeconfig::read_from(ns.access().kubeconfig()).unwrap();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    config.auth_info.impersonate = Some(user);
    Client::try_from(config).unwrap()
}

fn checkpoint(name: &str, spec: &Value, metadata: Value) -> DynamicObject {
    let mut object =
        json!({"apiVersion": "snap.weaversoft.io/v1alpha1", "kind": "Checkpoint", "metadata": metadata, "spec": spec});
    object["metadata"]["name"] = json!(name);
    serde_json::from_value(object).unwrap()
}

/// What the tenant has to work with.
#[derive(Clone)]
struct Tenant {
    pods: Api<Pod>,
    checkpoints: Api<DynamicObject>,
    webhook_client: WebhookClient,
    admin: String,
}

impl Tenant {
    /// Pods with large annotations, that never run.
    async fn create_large_pods(self, count: usize) {
        let create = |number: usize| {
            let pods = self.pods.clone();
            async move {
                let large = pod(&format!("large-{number}")).labelled().annotate("note", &"x".repeat(250_000));
                drop(pods.create(&PostParams::default(), &large.hold().build()).await);
            }
        };
        stream::iter(0..count).map(create).buffer_unordered(4).collect::<Vec<()>>().await;
    }

    async fn create_checkpoints(self, count: usize, object: impl Fn(usize) -> DynamicObject) {
        let create = |number: usize| {
            let (checkpoints, object) = (self.checkpoints.clone(), object(number));
            async move { drop(checkpoints.create(&PostParams::default(), &object).await) }
        };
        stream::iter(0..count).map(create).buffer_unordered(4).collect::<Vec<()>>().await;
    }

    /// Creates and deletes Checkpoints of one pod without end.
    async fn create_and_delete(self, pod: String) {
        for number in 0.. {
            let name = format!("again-{number}");
            let object = checkpoint(&name, &json!({"pod": {"name": pod}}), json!({}));
            drop(self.checkpoints.create(&PostParams::default(), &object).await);
            drop(self.checkpoints.delete(&name, &DeleteParams::default()).await);
        }
    }

    /// Creates manual Checkpoints of one pod without end.
    async fn create_without_end(self, pod: String) {
        for number in 0.. {
            let object = checkpoint(&format!("more-{number}"), &json!({"pod": {"name": pod}}), json!({}));
            drop(self.checkpoints.create(&PostParams::default(), &object).await);
        }
    }

    /// Creates labeled pods and deletes them without end.
    async fn flap(self) {
        for number in 0.. {
            let name = format!("flapping-{number}");
            drop(self.pods.create(&PostParams::default(), &pod(&name).labelled().build()).await);
            sleep(Duration::from_millis(300)).await;
            drop(self.pods.delete(&name, &DeleteParams::default().grace_period(0)).await);
        }
    }

    /// A connection that announces a body of that size and sends its first byte; then another one.
    async fn get_stuck(self, announced: usize) {
        loop {
            let stream = TcpStream::connect(self.webhook_client.address()).await;
            let name = ServerName::try_from("127.0.0.1").unwrap();
            if let Ok(stream) = stream
                && let Ok(mut stream) =
                    TlsConnector::from(Arc::new(self.webhook_client.tls(&["http/1.1"]))).connect(name, stream).await
            {
                let head = format!(
                    "POST {MUTATE} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {announced}\r\n\r\n{{"
                );
                drop(stream.write_all(head.as_bytes()).await);
                while stream.write_all(b" ").await.is_ok() && stream.flush().await.is_ok() {
                    sleep(Duration::from_secs(1)).await;
                }
            }
            sleep(Duration::from_millis(500)).await;
        }
    }

    /// Requests the timelines and does not read them.
    async fn read_nothing(self) {
        loop {
            if let Ok(mut stream) = TcpStream::connect(&self.admin).await {
                drop(stream.write_all(b"GET /pods HTTP/1.1\r\nhost: x\r\n\r\n".repeat(10).as_slice()).await);
                sleep(Duration::from_secs(5)).await;
            }
            sleep(Duration::from_millis(500)).await;
        }
    }

    /// All of it.
    fn attack(&self, attack: &Attack, pod: &str, tasks: &mut JoinSet<()>) {
        tasks.spawn(self.clone().create_large_pods(attack.large_pods));
        let of = json!({"pod": {"name": pod}});
        let spec = of.clone();
        tasks.spawn(self.clone().create_checkpoints(attack.large_checkpoints, move |number| {
            let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "uid": "none", "name": "x".repeat(1_400_000)});
            checkpoint(&format!("large-{number}"), &spec, json!({"ownerReferences": [owner]}))
        }));
        tasks.spawn(self.clone().create_checkpoints(attack.made_up_checkpoints, |number| {
            let spec = json!({"pod": {"name": format!("none-{number}"), "uid": format!("made-up-{number}")}});
            checkpoint(&format!("made-up-{number}"), &spec, json!({}))
        }));
        tasks.spawn(self.clone().create_checkpoints(attack.forged_attempts, move |number| {
            let attempt = json!({
                "holder": "nobody/none", "startTime": "2026-01-01T00:00:00Z", "deadline": "9999-01-01T00:00:00Z",
                "pod": {"name": "none", "uid": format!("forged-{number}"), "node": "none"}, "container": "app",
                "workload": "Pod/none", "revision": "none", "image": "none",
            });
            checkpoint(&format!("forged-{number}"), &of, json!({"annotations": {ATTEMPT: attempt.to_string()}}))
        }));
        tasks.spawn(self.clone().create_and_delete(pod.to_owned()));
        tasks.spawn(self.clone().create_without_end(pod.to_owned()));
        tasks.spawn(self.clone().flap());
        for _ in 0..8 {
            tasks.spawn(self.clone().get_stuck(2_000_000));
        }
        for _ in 0..attack.connections {
            tasks.spawn(self.clone().get_stuck(1000));
        }
        for _ in 0..64 {
            tasks.spawn(self.clone().read_nothing());
        }
    }
}

/// How long the pods of the other tenant took.
#[derive(Default)]
struct Times {
    created: Vec<Duration>,
    checkpointed: Vec<Duration>,
}

impl Times {
    /// One more pod, from its creation to its checkpoint.
    async fn add(&mut self, ns: &Namespace, name: &str) {
        let start = Instant::now();
        let created = ns.create_object(&pod(name).labelled().build()).await;
        self.created.push(start.elapsed());
        assert!(created.labels().contains_key(MUTATED), "pod `{name}` was not admitted");
        let what = format!("pod `{name}` is Ready");
        let ready = try_until(&what, RESPONSE_TIMEOUT, async || {
            ns.api::<Pod>().get(name).await.is_ok_and(|pod| lab::is_ready(&pod))
        });
        ready.await.unwrap();
        let start = Instant::now();
        let what = format!("pod `{name}` is checkpointed");
        let checkpointed =
            try_until(&what, 2 * RESPONSE_TIMEOUT, async || ns.snaphook().requests_for(ns.name(), name).len() == 1);
        checkpointed.await.unwrap();
        self.checkpointed.push(start.elapsed());
    }

    fn print(&self, when: &str) {
        let shown = |times: &[Duration]| {
            let mut times = times.to_vec();
            times.sort();
            let at = |share: usize| times.get(times.len().saturating_sub(1) * share / 100).copied().unwrap_or_default();
            format!("p50 {:.0?}, p99 {:.0?}", at(50), at(99))
        };
        print_result(&format!(
            "adversary, {when}: {} pods, created {}, Ready to request {}",
            self.created.len(),
            shown(&self.created),
            shown(&self.checkpointed)
        ));
    }
}

async fn launch(a: &Namespace, b: &Namespace, proxy: &Proxy) -> Arc<Snapwatcher> {
    let namespaces = [a.name(), b.name()].join(",");
    let timeout = format!("{}s", RESPONSE_TIMEOUT.as_secs());
    let args = ["--namespaces", &namespaces, "--response-timeout", &timeout].map(str::to_owned).into();
    let options = SnapwatcherOptions {
        binary: SNAPWATCHER.into(),
        kubeconfig: proxy.kubeconfig(),
        args,
        ..SnapwatcherOptions::default()
    };
    let watcher = b.launch_snapwatcher(options).await;
    // With `Fail`, a pod that is not admitted is refused.
    b.install_webhooks_at(watcher.webhook_addr(), "Fail").await;
    let both =
        json!([{"op": "add", "path": "/webhooks/0/namespaceSelector/matchExpressions/0/values/-", "value": a.name()}]);
    let both = Patch::Json::<()>(serde_json::from_value(both).unwrap());
    let mutating = Api::<MutatingWebhookConfiguration>::all(b.client());
    mutating.patch(b.name(), &PatchParams::default(), &both).await.unwrap();
    let validating = Api::<ValidatingWebhookConfiguration>::all(b.client());
    validating.patch(b.name(), &PatchParams::default(), &both).await.unwrap();
    watcher.ready().await.unwrap();
    b.admission_works().await;
    watcher
}

#[tokio::test]
async fn a_tenant_at_full_speed_harms_no_other_tenant() {
    let attack = Attack::of(Size::chosen());
    in_namespace("adversary-attacks", |a| async move {
        in_namespace("adversary-other", |b| async move {
            let proxy = Proxy::start(b.access()).await;
            let watcher = launch(&a, &b, &proxy).await;
            let limit = MemoryLimit::create(MEMORY).unwrap();
            limit.hold(watcher.pid().await).unwrap();
            let mut quiet = Times::default();
            for number in 0..10 {
                quiet.add(&b, &format!("quiet-{number}")).await;
            }
            quiet.print("quiet");

            a.ready_pod(&pod("own").labelled().build()).await;
            let client = tenant(&a).await;
            let tenant = Tenant {
                pods: Api::namespaced(client.clone(), a.name()),
                checkpoints: lab::checkpoints(client, a.name()),
                webhook_client: WebhookClient::of(&b, &watcher).await.unwrap(),
                admin: watcher.admin_url().trim_start_matches("http://").to_owned(),
            };
            let (pid, calls, start) = (watcher.pid().await, proxy.count(&When::any()), Instant::now());
            let mut tasks = JoinSet::new();
            tenant.attack(&attack, "own", &mut tasks);
            let mut attacked = Times::default();
            for number in 0.. {
                if start.elapsed() > attack.lasts {
                    break;
                }
                attacked.add(&b, &format!("attacked-{number}")).await;
            }
            let seconds = start.elapsed().as_secs_f64();
            tasks.shutdown().await;
            attacked.print("attacked");
            let made = proxy.count(&When::any()) - calls;
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            let per_second = made as f64 / seconds;
            let peak = limit.peak().unwrap();
            print_result(&format!("adversary: {per_second:.0} calls a second, peak {} MiB of 256", peak >> 20));
            assert_eq!(watcher.pid().await, pid, "the process was ended");
            watcher.ready().await.unwrap();
            assert!(per_second <= CALLS_PER_SECOND, "{per_second} calls a second");
            let slowest = |times: &[Duration]| times.iter().max().copied().unwrap_or_default();
            let (before, during) = (slowest(&quiet.checkpointed), slowest(&attacked.checkpointed));
            assert!(during <= before + RESPONSE_TIMEOUT, "{during:?}, quiet {before:?}");
            watcher.stop().await.unwrap();
        })
        .await;
    })
    .await;
}
