//! A tenant with the role `edit` in one namespace does all at once that could harm the others. Pods of another tenant are admitted
//! and checkpointed all the same, and memory and API calls of SnapWatcher stay below their limits.
//!
//! `make adversary` attacks for five minutes, the short form for half of one.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod slow_clients;
mod tenant;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use lab::objects::pod;
use lab::proxy::{Call, Proxy};
use lab::storm::Size;
use lab::terminal::print_result;
use lab::webhooks::MUTATED;
use lab::{
    Cluster, MemoryLimit, Namespace, Options, Snapwatcher, SnapwatcherOptions, WebhookClient, ca_bundle, crd,
    in_namespace_of, is_ready, review_of_creation, try_until,
};
use snapwatcher_admission::MUTATE;
use tenant::Tenant;
use tokio::time::sleep;

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

/// The chart's limit for the container.
const MEMORY_LIMIT: u64 = 256 * 1024 * 1024;

/// How long SnapHook may take to respond.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest life of a slot: the time in which a request may leave, for connecting and for the response, and as long again
/// after a request without a response.
const LONGEST_SLOT: Duration = Duration::from_secs(15 + 5 + 5 + 5);

/// What a debug build on a busy machine may add to a wait.
const BUSY: Duration = Duration::from_secs(15);

/// The p99 of reviews must not be more than 1.5 times that at another process of the same machine, unless it stays below this: a
/// thirtieth of the time that the API server waits for a webhook here. On two cores, what is attacked has less processor time than
/// what is not.
const UNNOTICED: Duration = Duration::from_millis(100);

/// What the attack may cost the API server, in calls of SnapWatcher a second: one write for each of the some 50 Checkpoints that the
/// attacker creates, and pages of pods for those of revisions.
const CALLS_PER_SECOND: f64 = 100.0;

/// Nodes with pods of the attacker. There is one more.
const SHARED_NODES: usize = 8;

/// The other tenant, and what is attacked.
struct Scene {
    ns: Namespace,
    watcher: Arc<Snapwatcher>,
    attacked: WebhookClient,
    other: WebhookClient,
    shared_node: String,
    own_node: String,
}

/// How long the pods of the other tenant waited for their request after they were Ready.
#[derive(Debug, Default)]
struct Waits {
    on_shared_node: Vec<Duration>,
    on_own_node: Vec<Duration>,
}

impl Scene {
    /// Creates a pod on this node, and returns how long it was Ready when SnapHook received its request.
    async fn wait_of_pod(&self, name: &str, node: &str) -> Duration {
        let wanted = pod(name).labelled().spec(|spec| spec.node_name = Some(node.to_owned())).build();
        let pods = self.ns.api::<Pod>();
        // With `failurePolicy: Fail`, this fails if the webhook does not answer.
        let created = pods.create(&kube::api::PostParams::default(), &wanted).await.unwrap();
        assert!(created.labels().contains_key(MUTATED), "admitted without its label");
        let limit = Duration::from_secs(60);
        let ready = async || pods.get(name).await.is_ok_and(|pod| is_ready(&pod));
        try_until("the pod is Ready", limit, ready).await.unwrap();
        let since = Instant::now();
        let is_requested = async || !self.ns.snaphook().requests_for(self.ns.name(), name).is_empty();
        try_until(&format!("pod `{name}` is requested"), limit * 2, is_requested).await.unwrap();
        since.elapsed()
    }

    /// Creates pods on both nodes, one after the other, until `is_over`.
    async fn waits(&self, prefix: &str, is_over: impl Fn(usize) -> bool) -> Waits {
        let mut waits = Waits::default();
        for number in 0_usize.. {
            if is_over(number) {
                break;
            }
            let (on_shared, on_own) = (format!("{prefix}-shared-{number}"), format!("{prefix}-own-{number}"));
            let (shared, own) = tokio::join!(
                self.wait_of_pod(&on_shared, &self.shared_node),
                self.wait_of_pod(&on_own, &self.own_node)
            );
            waits.on_shared_node.push(shared);
            waits.on_own_node.push(own);
        }
        waits
    }

    /// Sends reviews to the attacked process and to the other one, one after the other, without end.
    async fn review(&self, times: &mut Vec<(Duration, Duration)>) {
        let review = review_of_creation("uid-1", self.ns.name(), &pod("web").labelled().build());
        let call = async |client: &WebhookClient| {
            let started = Instant::now();
            let reply = client.review(MUTATE, &review).await.unwrap();
            assert!(reply.status == 200 && reply.body.contains("\"patch\""), "{reply:?}");
            started.elapsed()
        };
        loop {
            times.push((call(&self.attacked).await, call(&self.other).await));
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Starts the process that is attacked, with the webhook for both namespaces, and one that is not.
async fn set(ns: &Namespace, tenant: &Namespace, proxy: &Proxy) -> Scene {
    let nodes = ns.dedicated_nodes(SHARED_NODES + 1).await;
    let args = ["--namespaces=", "--max-concurrent-per-node=1", "--response-timeout=5s", "--request-timeout=5s"];
    let launch = |args: &[&str], kubeconfig| {
        let args = args.iter().map(|argument| (*argument).to_owned()).collect();
        let options =
            SnapwatcherOptions { binary: SNAPWATCHER.into(), args, kubeconfig, ..SnapwatcherOptions::default() };
        ns.launch_snapwatcher(options)
    };
    let watcher = launch(&args, proxy.kubeconfig()).await;
    ns.install_webhooks_at(watcher.webhook_addr(), "Fail").await;
    watcher.ready().await.unwrap();
    ns.admission_works().await;
    tenant.install_webhooks(&watcher).await;
    tenant.set_ca_bundle(&String::from_utf8(ca_bundle(ns).await.unwrap()).unwrap()).await;
    let other = launch(&["--backend=log"], ns.access().kubeconfig()).await;
    let clients = [WebhookClient::of(ns, &watcher).await.unwrap(), WebhookClient::of(ns, &other).await.unwrap()];
    let [attacked, other] = clients.map(|client| client.without_keep_alive().unwrap());
    let [shared_node, own_node] = [&nodes[0], &nodes[SHARED_NODES]].map(String::clone);
    Scene { ns: ns.clone(), watcher, attacked, other, shared_node, own_node }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_tenant_delays_no_other_and_brings_no_process_down() {
    let cluster = Cluster::start(Options::from_environment().unwrap()).await.unwrap();
    crd::install(cluster.access(), SNAPWATCHER.as_ref()).await.unwrap();
    let proxy = Proxy::start(cluster.access()).await;
    let (access, proxy) = (cluster.access(), &proxy);
    in_namespace_of(access, "harmed", |ns| async move {
        in_namespace_of(access, "attacker", |attacker| async move {
            let scene = set(&ns, &attacker, proxy).await;
            let pid = scene.watcher.pid().await;
            let limit = MemoryLimit::apply(pid, MEMORY_LIMIT);
            let quiet = scene.waits("quiet", |round| round == 2).await;
            let nodes = (1..=SHARED_NODES).map(|number| format!("{}-{number}", ns.name())).collect();
            let admin = scene.watcher.admin_url().trim_start_matches("http://").parse().unwrap();
            let tenant = Tenant { ns: attacker, nodes, admin, webhook: scene.attacked.clone() };
            tenant.prepare(ns.snaphook()).await;
            // Until then, attempts in annotations could be those of a former leader, and hold a slot.
            sleep(LONGEST_SLOT).await;

            let (attacks, started, calls) = (tenant.attack(), Instant::now(), proxy.calls().len());
            let time = Size::chosen().of(Duration::from_secs(30), Duration::from_secs(300));
            let mut reviews = Vec::new();
            let waits = tokio::select! {
                waits = scene.waits("attacked", |_| started.elapsed() > time) => waits,
                () = scene.review(&mut reviews) => unreachable!("it has no end"),
            };
            let lasted = started.elapsed();
            // The calls for the other tenant's own pods are not what the attack costs.
            let of_attack = |call: &Call| call.namespace.as_deref() != Some(ns.name());
            let calls = proxy.calls().into_iter().skip(calls).filter(of_attack);
            let calls = print_calls(calls, lasted);
            for (attack, count) in attacks.counts() {
                print_result(&format!("adversary: {attack}: {count}"));
                assert!(count > 0, "{attack}: it did nothing");
            }
            drop(attacks);
            // Attempts whose texts no Checkpoint can have are ignored, and would attack nothing.
            let ignored = scene
                .watcher
                .metric("snapwatcher_checkpoint_ignored_attempts_total")
                .await
                .unwrap()
                .unwrap_or_default();
            assert!(ignored < 1.0, "{ignored} forged attempts were ignored");
            print_and_assert(&quiet, &waits, reviews, calls);
            match limit.as_ref().map(MemoryLimit::peak) {
                Ok(peak) => print_result(&format!("adversary: {} MiB at most", peak.unwrap() / 1024 / 1024)),
                Err(error) if Size::chosen() == Size::Short => {
                    print_result(&format!("adversary: memory is not limited: {error}"));
                }
                Err(error) => unreachable!("the long form needs the limit, which needs root: {error}"),
            }
            assert_eq!(scene.watcher.pid().await, pid);
            scene.watcher.ready().await.unwrap();
            // Its control group can be removed when it has ended.
            scene.watcher.stop().await.unwrap();
        })
        .await;
    })
    .await;
    cluster.stop().await.unwrap();
}

/// Prints how often each of these calls was made, and returns how many there were in a second.
fn print_calls(calls: impl Iterator<Item = Call>, lasted: Duration) -> f64 {
    let a_second = |count: u32| f64::from(count) / lasted.as_secs_f64();
    let mut counts = BTreeMap::<String, u32>::new();
    for call in calls {
        *counts.entry(format!("{:?} {}", call.verb, call.resource)).or_default() += 1;
    }
    for (call, count) in &counts {
        print_result(&format!("adversary: {:.1} times a second: {call}", a_second(*count)));
    }
    a_second(counts.values().sum())
}

fn print_and_assert(quiet: &Waits, attacked: &Waits, reviews: Vec<(Duration, Duration)>, calls: f64) {
    let (mut ours, mut others): (Vec<_>, Vec<_>) = reviews.into_iter().unzip();
    let p99 = |times: &mut Vec<Duration>| {
        times.sort();
        times[times.len() * 99 / 100]
    };
    let (ours_p99, others_p99) = (p99(&mut ours), p99(&mut others));
    print_result(&format!(
        "adversary: {} reviews, p99 {ours_p99:.1?} (another process: {others_p99:.1?}); {calls:.0} API calls a second (budget: {CALLS_PER_SECOND:.0})",
        ours.len()
    ));
    let cases = [
        ("on a shared node", &quiet.on_shared_node, &attacked.on_shared_node, LONGEST_SLOT),
        ("on another node", &quiet.on_own_node, &attacked.on_own_node, RESPONSE_TIMEOUT),
    ];
    let longest = |waits: &[Duration]| waits.iter().max().copied().unwrap_or_default();
    for (case, quiet, attacked, _) in cases {
        let (count, quiet, attacked) = (attacked.len(), longest(quiet), longest(attacked));
        print_result(&format!("adversary: {count} pods {case} waited {attacked:.1?} at most (quiet: {quiet:.1?})"));
    }
    let busy = Size::chosen().of(BUSY, Duration::ZERO);
    for (case, quiet, attacked, more) in cases {
        assert!(longest(attacked) <= longest(quiet) + more + busy, "{case}: {attacked:?}, quiet {quiet:?}");
    }
    assert!(ours_p99 <= (others_p99 * 3 / 2).max(UNNOTICED), "{ours_p99:?}, another process {others_p99:?}");
    assert!(calls <= CALLS_PER_SECOND, "{calls} API calls a second");
}
