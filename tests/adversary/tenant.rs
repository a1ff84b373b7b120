//! What the tenant does. Each attack runs without end and counts what it has done, so that one that does nothing is noticed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use lab::objects::pod;
use lab::snaphook::Behaviour;
use lab::storm::Size;
use lab::{Namespace, PodStatus, WebhookClient};
use serde_json::{Value, json};
use snapwatcher_api::checkpoint::{CheckpointSpec, CheckpointTarget, WorkloadReference};
use snapwatcher_api::checkpoint_name;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::slow_clients;

/// Almost all that the annotations of a pod may have together.
const ANNOTATION: usize = 250_000;
/// Almost all that a Checkpoint may have.
const LARGE: usize = 1_400_000;
/// An API server does not store more. An object of this size has no room for a status.
const LARGEST: usize = 1_571_500;
/// A pod that runs for as long as the test.
const RUNNING: &str = "running";
/// Between two calls of one attack. The API server of the test shares two cores with all others, and an API server that is busy
/// makes everything slow, with and without SnapWatcher.
const PACE: Duration = Duration::from_millis(50);
const FLAPPING: usize = 5;
const READERS: usize = 64;
const STUCK_BODIES: usize = 8;
const SLOW_CONNECTIONS: usize = 200;

/// The tenant with its targets.
#[derive(Clone)]
pub(crate) struct Tenant {
    pub(crate) ns: Namespace,
    /// The nodes on which its pods run.
    pub(crate) nodes: Vec<String>,
    pub(crate) admin: SocketAddr,
    pub(crate) webhook: WebhookClient,
}

/// Attacks that run. Dropping it ends them.
pub(crate) struct Attacks {
    counts: BTreeMap<&'static str, Arc<AtomicUsize>>,
    tasks: JoinSet<()>,
}

impl Attacks {
    /// How often each attack has done something.
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, usize> {
        self.counts.iter().map(|(name, count)| (*name, count.load(Ordering::Relaxed))).collect()
    }

    fn add<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        name: &'static str,
        attack: impl FnOnce(Arc<AtomicUsize>) -> F,
    ) {
        let count = self.counts.entry(name).or_default();
        self.tasks.spawn(attack(Arc::clone(count)));
    }
}

impl Tenant {
    /// Creates the pods that run on each of the nodes, and those that flap. SnapHook never responds to a request about the former.
    pub(crate) async fn prepare(&self, snaphook: &lab::snaphook::SnapHook) {
        for (number, node) in self.nodes.iter().enumerate() {
            let name = running(number);
            snaphook.answer_pod_with(&name, Behaviour::Hang);
            self.ns.ready_pod(&pod(&name).spec(|spec| spec.node_name = Some(node.clone())).build()).await;
            self.ns.label_pod(&name, lab::webhooks::SNAP, Some("true")).await;
        }
        for number in 0..FLAPPING {
            self.ns.scheduled(&pod(&flapping(number)).labelled().hold().build()).await;
        }
    }

    /// Starts all attacks at once.
    pub(crate) fn attack(&self) -> Attacks {
        let mut attacks = Attacks { counts: BTreeMap::new(), tasks: JoinSet::new() };
        let of = || self.clone();
        let size = Size::chosen();
        let tenant = of();
        attacks.add("pods with 250 KB of annotations", |count| tenant.annotated_pods(size.of(60, 400), count));
        let tenant = of();
        attacks.add("Checkpoints of 1.4 MB and more", |count| tenant.large_checkpoints(size.of(20, 100), count));
        for worker in 0..2 {
            let tenant = of();
            let numbers = (worker..size.of(500, 10_000)).step_by(2);
            attacks.add("Checkpoints with made-up UIDs", |count| tenant.made_up(numbers, count));
        }
        let tenant = of();
        attacks.add("Checkpoints with forged attempts", |count| tenant.forged_attempts(size.of(100, 1_000), count));
        let tenant = of();
        attacks.add("Checkpoints created and deleted", |count| tenant.created_and_deleted(count));
        for number in 0..FLAPPING {
            let tenant = of();
            attacks.add("pods that become Ready and not Ready", move |count| tenant.flapping(number, count));
        }
        let tenant = of();
        attacks.add("manual Checkpoints", |count| tenant.manual_checkpoints(count));
        for _ in 0..READERS {
            let admin = self.admin;
            attacks.add("readers of the admin port that do not read", move |count| reads_nothing(admin, count));
        }
        for (name, clients, body) in [
            ("reviews that are never complete", STUCK_BODIES, 1_000_000),
            ("connections that send a byte a second", SLOW_CONNECTIONS, 50_000),
        ] {
            for _ in 0..clients {
                let webhook = self.webhook.clone();
                attacks.add(name, move |count| slow_clients::repeat(webhook, body, count));
            }
        }
        attacks
    }

    async fn annotated_pods(self, pods: usize, count: Arc<AtomicUsize>) {
        let api = self.ns.api::<Pod>();
        for number in 0..pods {
            let wanted = pod(&format!("annotated-{number}"))
                .labelled()
                .annotate("snap.weaversoft.io/once-per", &"x".repeat(ANNOTATION))
                .spec(|spec| spec.node_selector = Some([("none".to_owned(), "none".to_owned())].into()));
            done(api.create(&PostParams::default(), &wanted.build()).await.is_ok(), &count).await;
        }
        // Each change delivers the whole pod again.
        for number in (0..pods).cycle() {
            let change = Patch::Merge(json!({"metadata": {"labels": {"change": fastrand::u32(..).to_string()}}}));
            let changed = api.patch(&format!("annotated-{number}"), &PatchParams::default(), &change).await;
            done(changed.is_ok(), &count).await;
            sleep(PACE * 4).await;
        }
    }

    async fn large_checkpoints(self, checkpoints: usize, count: Arc<AtomicUsize>) {
        for number in (0..checkpoints).cycle() {
            let (name, pod) = (format!("large-{number}"), running(number % self.nodes.len()));
            // The API server does not validate the names of owners. Every second object is the largest one that is stored.
            let sizes =
                if number % 2 == 0 { [LARGE].to_vec() } else { (0..40).map(|step| LARGEST - 500 * step).collect() };
            for size in sizes {
                let owner =
                    json!({"apiVersion": "example.com/v1", "kind": "Unknown", "name": "x".repeat(size), "uid": "x"});
                let metadata = json!({"name": name, "ownerReferences": [owner]});
                if self.create(metadata, json!({"pod": {"name": pod}})).await {
                    count.fetch_add(1, Ordering::Relaxed);
                    break;
                }
            }
            sleep(PACE * 10).await;
        }
    }

    async fn made_up(self, numbers: impl Iterator<Item = usize> + Clone + Send, count: Arc<AtomicUsize>) {
        for number in numbers.cycle() {
            let spec = json!({"pod": {"name": format!("nosuch-{number}"), "uid": format!("made-up-{number}")}});
            done(self.create(json!({"name": format!("made-up-{number}")}), spec).await, &count).await;
        }
    }

    /// Under derived names, with attempts on a pod that exists: of one of its containers or of a revision of it, by another replica or
    /// by the one that is attacked, whose name each status shows.
    async fn forged_attempts(self, checkpoints: usize, count: Arc<AtomicUsize>) {
        let api = self.ns.api::<Pod>();
        for number in (0..checkpoints).cycle() {
            let name = running(number % self.nodes.len());
            let Ok(found) = api.get(&name).await else { continue };
            let (uid, node) = (found.metadata.uid.unwrap_or_default(), found.spec.and_then(|spec| spec.node_name));
            let image = "registry.invalid/app:1".to_owned();
            let target = if number % 2 == 0 {
                let (name, uid, container) = (name.clone(), uid.clone(), format!("c{number}"));
                CheckpointTarget::Pod { name, uid, container, image: image.clone() }
            } else {
                let (api_version, kind, uid) =
                    ("apps/v1".to_owned(), "Deployment".to_owned(), format!("forged-{number}"));
                let workload = WorkloadReference { api_version, kind, name: "web".to_owned(), uid };
                CheckpointTarget::Revision { workload, revision: "r".to_owned(), container: "app".to_owned() }
            };
            let holder = if number % 4 < 2 { None } else { self.holder().await };
            let attempt = json!({
                "holder": holder.unwrap_or_else(|| "other/boot".to_owned()), "startTime": "2020-01-01T00:00:00.000000Z",
                "deadline": "9999-01-01T00:00:00.000000Z", "pod": {"name": name, "uid": uid, "node": node},
                "workload": "Deployment/web", "revision": "r", "image": image,
            });
            let annotations = json!({"snap.weaversoft.io/attempt": attempt.to_string()});
            let derived = checkpoint_name::derived(&target, checkpoint_name::DIGESTS[0]);
            let metadata = json!({"name": derived, "annotations": annotations});
            let spec = serde_json::to_value(CheckpointSpec::from(&target)).unwrap();
            done(self.create(metadata, spec).await, &count).await;
        }
    }

    /// The holder of an attempt, as a status shows it.
    async fn holder(&self) -> Option<String> {
        let listed = self.ns.checkpoints().list(&ListParams::default().limit(50)).await.ok()?;
        listed.items.iter().find_map(|object| Some(object.data.pointer("/status/holder")?.as_str()?.to_owned()))
    }

    async fn created_and_deleted(self, count: Arc<AtomicUsize>) {
        for number in 0_usize.. {
            let name = format!("brief-{number}");
            let pod = running(number % self.nodes.len());
            if self.create(json!({"name": name}), json!({"pod": {"name": pod}})).await {
                let deleted = self.ns.checkpoints().delete(&name, &DeleteParams::default()).await;
                count.fetch_add(usize::from(deleted.is_ok()), Ordering::Relaxed);
            }
            sleep(PACE / 5).await;
        }
    }

    async fn flapping(self, number: usize, count: Arc<AtomicUsize>) {
        let api = self.ns.api::<Pod>();
        let Ok(pod) = api.get(&flapping(number)).await else { return };
        loop {
            for status in [PodStatus::ready(&pod), PodStatus::not_ready(&pod)] {
                done(status.write(&api, &pod).await.is_ok(), &count).await;
                sleep(PACE * 3).await;
            }
        }
    }

    async fn manual_checkpoints(self, count: Arc<AtomicUsize>) {
        for number in 0_usize.. {
            let pod = running(number % self.nodes.len());
            let created = self.create(json!({"name": format!("manual-{number}")}), json!({"pod": {"name": pod}})).await;
            done(created, &count).await;
        }
    }

    async fn create(&self, metadata: Value, spec: Value) -> bool {
        let object = json!({
            "apiVersion": "snap.weaversoft.io/v1alpha1", "kind": "Checkpoint", "metadata": metadata, "spec": spec,
        });
        match serde_json::from_value::<DynamicObject>(object) {
            Ok(object) => self.ns.checkpoints().create(&PostParams::default(), &object).await.is_ok(),
            Err(_) => false,
        }
    }
}

fn running(number: usize) -> String {
    format!("{RUNNING}-{number}")
}

fn flapping(number: usize) -> String {
    format!("flapping-{number}")
}

/// Counts what was done, and waits before the next.
async fn done(is_done: bool, count: &AtomicUsize) {
    count.fetch_add(usize::from(is_done), Ordering::Relaxed);
    sleep(PACE).await;
}

/// Asks for all timelines again and again on one connection, and reads nothing.
async fn reads_nothing(admin: SocketAddr, count: Arc<AtomicUsize>) {
    let requests = "GET /pods HTTP/1.1\r\nhost: x\r\n\r\n".repeat(50);
    loop {
        if let Ok(mut stream) = TcpStream::connect(admin).await
            && stream.write_all(requests.as_bytes()).await.is_ok()
        {
            count.fetch_add(1, Ordering::Relaxed);
            // The connection stays open until the server closes it.
            while stream.write_all(b"GET /pods HTTP/1.1\r\nhost: x\r\n\r\n").await.is_ok() {
                sleep(Duration::from_secs(1)).await;
            }
        }
        sleep(Duration::from_millis(500)).await;
    }
}
