//! A tenant with the role `edit` in one namespace, who does there all at once what could harm others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::rbac::v1::{ClusterRole, RoleBinding};
use kube::api::{DeleteParams, DynamicObject, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt as _};
use lab::objects::pod;
use lab::storm::Size;
use lab::{Namespace, Snapwatcher, WebhookClient};
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use snapwatcher_admission::MUTATE;
use snapwatcher_api::checkpoint::{CheckpointTarget, WorkloadReference};
use snapwatcher_api::checkpoint_name::{DIGESTS, derived};
use snapwatcher_api::keys::{ATTEMPT, CONTAINERS};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_rustls::TlsConnector;

/// Pods of the tenant to whose checkpoints SnapHook does not respond.
pub(crate) const HANGING: usize = 8;

/// How much the tenant does.
struct Attack {
    large_pods: usize,
    large_checkpoints: usize,
    made_up_checkpoints: usize,
    forged_attempts: usize,
    connections: usize,
}

impl Attack {
    fn of(size: Size) -> Self {
        Self {
            large_pods: size.of(60, 400),
            large_checkpoints: size.of(20, 100),
            made_up_checkpoints: size.of(1500, 10_000),
            forged_attempts: size.of(50, 500),
            connections: size.of(40, 200),
        }
    }
}

/// The tenant's clients. Clones share the counts.
#[derive(Clone)]
pub(crate) struct Tenant {
    pods: Api<Pod>,
    checkpoints: Api<DynamicObject>,
    webhook_client: WebhookClient,
    admin: String,
    /// How many objects the API server has accepted.
    pub(crate) created: Arc<AtomicUsize>,
}

/// The name of the ClusterRole of a tenant, which its namespace does not contain.
fn role(ns: &Namespace) -> String {
    format!("tenant-of-{}", ns.name())
}

/// Removes what a tenant has outside of its namespace.
pub(crate) async fn remove_role(ns: &Namespace) {
    drop(Api::<ClusterRole>::all(ns.client()).delete(&role(ns), &DeleteParams::default()).await);
}

/// A client with the rights of `edit`, as Kubernetes has it, and with all rights on Checkpoints.
async fn editor(ns: &Namespace) -> Client {
    let user = role(ns);
    let checkpoints = json!({
        "metadata": {"name": &user},
        "rules": [{"apiGroups": ["snap.weaversoft.io"], "resources": ["checkpoints"], "verbs": ["*"]}],
    });
    let roles: Api<ClusterRole> = Api::all(ns.client());
    roles.create(&PostParams::default(), &serde_json::from_value(checkpoints).unwrap()).await.unwrap();
    for (name, role) in [("edits", "edit"), ("checkpoints", user.as_str())] {
        let binding = json!({
            "metadata": {"name": name},
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

/// A Checkpoint of that pod under the name that SnapWatcher would give it, with an attempt that never happened.
fn forged(pod: &Pod, number: usize) -> DynamicObject {
    let (name, uid, container) = (pod.name_any(), pod.uid().unwrap(), "app".to_owned());
    let spec = pod.spec.as_ref().unwrap();
    let image = spec.containers[0].image.clone().unwrap();
    let target = CheckpointTarget::Pod { name: name.clone(), uid: uid.clone(), container, image: image.clone() };
    let now = Timestamp::now();
    let attempt = json!({
        "holder": "snapwatcher-9/forged", "startTime": now.to_string(),
        "deadline": (now + SignedDuration::from_hours(100 + i64::try_from(number).unwrap())).to_string(),
        "pod": {"name": name, "uid": uid, "node": spec.node_name}, "workload": "Pod/none", "revision": "none", "image": image,
    });
    let spec = json!({"pod": {"name": name, "uid": uid}, "container": "app", "image": image});
    checkpoint(&derived(&target, DIGESTS[0]).unwrap(), &spec, json!({"annotations": {ATTEMPT: attempt.to_string()}}))
}

/// A Checkpoint of a revision that does not exist, under the name that SnapWatcher would give it.
fn of_revision(number: usize) -> DynamicObject {
    let workload = WorkloadReference {
        api_version: "apps/v1".to_owned(),
        kind: "Deployment".to_owned(),
        name: "none".to_owned(),
        uid: format!("made-up-{number}"),
    };
    let spec = json!({"workload": workload, "revision": "none", "container": "app"});
    let target = CheckpointTarget::Revision { workload, revision: "none".to_owned(), container: "app".to_owned() };
    checkpoint(&derived(&target, DIGESTS[0]).unwrap(), &spec, json!({}))
}

impl Tenant {
    pub(crate) async fn of(ns: &Namespace, watcher: &Snapwatcher, webhook_client: WebhookClient) -> Self {
        let client = editor(ns).await;
        Self {
            pods: Api::namespaced(client.clone(), ns.name()),
            checkpoints: lab::checkpoints(client, ns.name()),
            webhook_client,
            admin: watcher.admin_url().trim_start_matches("http://").to_owned(),
            created: Arc::default(),
        }
    }

    /// The tenant's own refusals are no concern of the test.
    async fn create<K>(&self, api: &Api<K>, object: &K)
    where
        K: Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
    {
        if api.create(&PostParams::default(), object).await.is_ok() {
            self.created.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Pods that never run: with large annotations, or with many containers of long images.
    async fn create_large_pods(self, count: usize) {
        let names: Vec<String> = (0..64).map(|number| format!("{number:c>63}")).collect();
        let create = async |number: usize| {
            let large = pod(&format!("large-{number}")).labelled().hold();
            let large = if number.is_multiple_of(4) {
                let containers = large.containers(names.iter().map(String::as_str));
                containers.image(&format!("r.invalid/{}", "x".repeat(110))).annotate(CONTAINERS, "*")
            } else {
                large.annotate("note", &"x".repeat(250_000))
            };
            self.create(&self.pods, &large.build()).await;
        };
        stream::iter(0..count).map(create).buffer_unordered(4).collect::<Vec<()>>().await;
    }

    async fn create_checkpoints(self, count: usize, object: impl Fn(usize) -> DynamicObject) {
        let create = async |object: DynamicObject| self.create(&self.checkpoints, &object).await;
        stream::iter((0..count).map(object)).map(create).buffer_unordered(4).collect::<Vec<()>>().await;
    }

    /// Creates, deletes and creates again Checkpoints with forged attempts of all running pods.
    async fn forge(self, running: Vec<Pod>, count: usize) {
        for number in 0..count {
            let object = forged(&running[number % running.len()], number);
            drop(self.checkpoints.delete(&object.name_any(), &DeleteParams::default()).await);
            self.create(&self.checkpoints, &object).await;
        }
    }

    /// Creates and deletes Checkpoints of one pod without end.
    async fn create_and_delete(self, pod: String) {
        for number in 0.. {
            let name = format!("again-{number}");
            self.create(&self.checkpoints, &checkpoint(&name, &json!({"pod": {"name": pod}}), json!({}))).await;
            drop(self.checkpoints.delete(&name, &DeleteParams::default()).await);
        }
    }

    /// Creates manual Checkpoints of one pod without end.
    async fn create_without_end(self, pod: String) {
        for number in 0.. {
            let object = checkpoint(&format!("more-{number}"), &json!({"pod": {"name": pod}}), json!({}));
            self.create(&self.checkpoints, &object).await;
        }
    }

    /// Creates labeled pods and deletes them without end.
    async fn flap(self) {
        for number in 0.. {
            let name = format!("flapping-{number}");
            self.create(&self.pods, &pod(&name).labelled().build()).await;
            sleep(Duration::from_millis(300)).await;
            drop(self.pods.delete(&name, &DeleteParams::default().grace_period(0)).await);
        }
    }

    /// A connection that announces a body of that size and sends a byte a second; then another one.
    async fn get_stuck(self, announced: usize) {
        loop {
            let stream = TcpStream::connect(self.webhook_client.address()).await;
            let name = ServerName::try_from("127.0.0.1").unwrap();
            let tls = TlsConnector::from(Arc::new(self.webhook_client.tls(&["http/1.1"])));
            if let Ok(stream) = stream
                && let Ok(mut stream) = tls.connect(name, stream).await
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

    /// All of it, until the tasks are dropped. `running` are Ready pods of the tenant.
    pub(crate) fn attack(&self, size: Size, running: &[Pod]) -> JoinSet<()> {
        let (attack, first) = (Attack::of(size), running[0].name_any());
        let mut tasks = JoinSet::new();
        tasks.spawn(self.clone().create_large_pods(attack.large_pods));
        let spec = json!({"pod": {"name": first}});
        tasks.spawn(self.clone().create_checkpoints(attack.large_checkpoints, move |number| {
            // The garbage collector leaves objects alone whose owner is of a kind that it does not know.
            let owner =
                json!({"apiVersion": "none.invalid/v1", "kind": "None", "uid": "none", "name": "x".repeat(1_400_000)});
            checkpoint(&format!("large-{number}"), &spec, json!({"ownerReferences": [owner]}))
        }));
        tasks.spawn(self.clone().create_checkpoints(attack.made_up_checkpoints, |number| {
            let spec = json!({"pod": {"name": format!("none-{number}"), "uid": format!("made-up-{number}")}});
            if number.is_multiple_of(2) {
                of_revision(number)
            } else {
                checkpoint(&format!("made-up-{number}"), &spec, json!({}))
            }
        }));
        tasks.spawn(self.clone().forge(running.to_vec(), attack.forged_attempts));
        tasks.spawn(self.clone().create_and_delete(first.clone()));
        tasks.spawn(self.clone().create_without_end(first));
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
        tasks
    }
}
