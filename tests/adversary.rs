//! A tenant who may edit one namespace does there all at once what could harm others. Meanwhile the pods of another tenant are
//! admitted and checkpointed as before, and the process stays below the memory limit of the chart.
//!
//! The long form, `make adversary`, takes about six minutes. As root, the kernel enforces the limit; else the peak is compared
//! with it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "adversary/tenant.rs"]
mod tenant;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use lab::memory_limit::MemoryLimit;
use lab::objects::pod;
use lab::proxy::{Proxy, When};
use lab::snaphook::Behaviour;
use lab::storm::Size;
use lab::terminal::print_result;
use lab::{Namespace, Snapwatcher, SnapwatcherOptions, WebhookClient, in_namespace, review_of_creation, try_until};
use serde_json::json;
use snapwatcher_admission::MUTATE;
use snapwatcher_api::keys::MUTATED;
use tenant::{HANGING, Tenant};

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

/// The memory limit of the chart.
const MEMORY: u64 = 256 << 20;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);
/// No attempt holds its slot for longer: its write, its request, and the time in which a back-end may still work on it.
const LONGEST_SLOT: Duration = Duration::from_secs(5 + 5 + 15);
/// For this long after its start, a leader reckons with attempts of another one before it, which people can forge.
const FORMER_LEADER_COUNTS: Duration = Duration::from_secs(45);
/// How long the API server may take on a busy machine.
const API_SERVER: Duration = Duration::from_secs(60);
/// The calls that SnapWatcher may make in a second, on average, whatever a tenant does.
const CALLS_PER_SECOND: f64 = 200.0;

/// How long the pods and reviews of the other tenant took, in order of their start.
#[derive(Default)]
struct Times {
    created: Vec<Duration>,
    checkpointed: Vec<Duration>,
    /// By the attacked process, and by another one beside it.
    reviewed: [Vec<Duration>; 2],
}

fn percentile(times: &[Duration], percent: usize) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort();
    sorted.get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

impl Times {
    /// One more pod, from its creation to its checkpoint.
    async fn add_pod(&mut self, ns: &Namespace, name: &str) {
        let start = Instant::now();
        let created = ns.create_object(&pod(name).labelled().build()).await;
        self.created.push(start.elapsed());
        assert!(created.labels().contains_key(MUTATED), "pod `{name}` was not admitted");
        let awaited = format!("pod `{name}` is Ready");
        let pods = ns.api::<Pod>();
        let ready = try_until(&awaited, API_SERVER, async || pods.get(name).await.is_ok_and(|pod| lab::is_ready(&pod)));
        ready.await.unwrap();
        let (start, awaited) = (Instant::now(), format!("pod `{name}` is checkpointed"));
        let checkpointed = try_until(&awaited, 2 * LONGEST_SLOT + API_SERVER, async || {
            ns.snaphook().requests_for(ns.name(), name).len() == 1
        });
        checkpointed.await.unwrap();
        self.checkpointed.push(start.elapsed());
    }

    /// One more review by each process.
    async fn add_reviews(&mut self, clients: &[WebhookClient; 2]) {
        let review = review_of_creation("uid-1", "shop", &pod("web").labelled().build());
        for (client, times) in clients.iter().zip(&mut self.reviewed) {
            let start = Instant::now();
            let reply = client.review(MUTATE, &review).await.unwrap();
            assert_eq!(reply.status, 200, "{}", reply.body);
            times.push(start.elapsed());
        }
    }

    fn print(&self, when: &str) {
        let shown = |times: &[Duration]| format!("{:.0?} / {:.0?}", percentile(times, 50), percentile(times, 99));
        let [ours, other] = &self.reviewed;
        print_result(&format!(
            "adversary, {when}: {} pods, p50 / p99: creation {}, Ready to request {}; {} reviews {}, by another process {}",
            self.created.len(),
            shown(&self.created),
            shown(&self.checkpointed),
            ours.len(),
            shown(ours),
            shown(other),
        ));
    }
}

/// Adds pods and reviews of the other tenant until `done`.
async fn use_it(ns: &Namespace, clients: &[WebhookClient; 2], kind: &str, done: impl Fn(usize) -> bool) -> Times {
    let (mut pods, mut reviews) = (Times::default(), Times::default());
    let ended = std::cell::Cell::new(false);
    let create = async {
        for number in 0.. {
            if done(number) {
                break;
            }
            pods.add_pod(ns, &format!("{kind}-{number}")).await;
        }
        ended.set(true);
    };
    let review = async {
        while !ended.get() {
            reviews.add_reviews(clients).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::join!(create, review);
    let times = Times { reviewed: reviews.reviewed, ..pods };
    times.print(kind);
    times
}

/// A process for both namespaces, which the API server calls for the pods of both.
async fn launch(a: &Namespace, b: &Namespace, proxy: &Proxy) -> Arc<Snapwatcher> {
    let namespaces = [a.name(), b.name()].join(",");
    let seconds = |time: Duration| format!("{}s", time.as_secs());
    let args = [
        ("--namespaces", namespaces),
        ("--request-timeout", seconds(REQUEST_TIMEOUT)),
        ("--response-timeout", seconds(RESPONSE_TIMEOUT)),
        ("--max-concurrent-per-node", "1".to_owned()),
    ];
    let options = SnapwatcherOptions {
        binary: SNAPWATCHER.into(),
        kubeconfig: proxy.kubeconfig(),
        args: args.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect(),
        ..SnapwatcherOptions::default()
    };
    let watcher = b.launch_snapwatcher(options).await;
    // With `Fail`, a pod that is not admitted is refused.
    b.install_webhooks_at(watcher.webhook_addr(), "Fail").await;
    let path = "/webhooks/0/namespaceSelector/matchExpressions/0/values/-";
    let both = json!([{"op": "add", "path": path, "value": a.name()}]);
    let both = Patch::Json::<()>(serde_json::from_value(both).unwrap());
    let mutating = Api::<MutatingWebhookConfiguration>::all(b.client());
    mutating.patch(b.name(), &PatchParams::default(), &both).await.unwrap();
    let validating = Api::<ValidatingWebhookConfiguration>::all(b.client());
    validating.patch(b.name(), &PatchParams::default(), &both).await.unwrap();
    watcher.ready().await.unwrap();
    b.admission_works().await;
    watcher
}

/// A process that is not attacked, for comparison: other work of the machine delays both.
async fn launch_other(b: &Namespace) -> Arc<Snapwatcher> {
    let args = ["--standalone", "--backend", "log"].map(str::to_owned).into();
    let options = SnapwatcherOptions { binary: SNAPWATCHER.into(), args, ..SnapwatcherOptions::default() };
    let other = b.launch_snapwatcher(options).await;
    other.ready().await.unwrap();
    other
}

/// The limit of the kernel, if this user may set it.
async fn limit(watcher: &Snapwatcher) -> Option<MemoryLimit> {
    match MemoryLimit::create(MEMORY) {
        Ok(limit) => {
            limit.add(watcher.pid().await).unwrap();
            Some(limit)
        }
        Err(error) => {
            print_result(&format!("adversary: no limit is enforced: {error}"));
            None
        }
    }
}

/// The most memory that a process has had, in bytes.
fn peak_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_at_full_speed_harms_no_other_tenant() {
    let size = Size::chosen();
    let (quiet_pods, lasts) = (size.of(5, 20), Duration::from_secs(size.of(30, 300)));
    in_namespace("adversary-attacks", |a| async move {
        in_namespace("adversary-other", |b| async move {
            let proxy = Proxy::start(b.access()).await;
            let watcher = launch(&a, &b, &proxy).await;
            let (launched, limit) = (Instant::now(), limit(&watcher).await);
            let other = launch_other(&b).await;
            let clients = [WebhookClient::of(&b, &watcher).await.unwrap(), WebhookClient::of(&b, &other).await.unwrap()];
            let is_over = |number| number >= quiet_pods && launched.elapsed() > FORMER_LEADER_COUNTS;
            let quiet = use_it(&b, &clients, "quiet", is_over).await;

            let mut running = Vec::new();
            for number in 0..HANGING {
                let name = format!("hanging-{number}");
                b.snaphook().answer_pod_with(&name, Behaviour::Hang);
                a.create_object(&pod(&name).labelled().build()).await;
                running.push(a.pod_ready(&name).await);
            }
            let tenant = Tenant::of(&a, &watcher, clients[0].clone()).await;
            let (pid, calls, start) = (watcher.pid().await, proxy.count(&When::any()), Instant::now());
            let mut tasks = tenant.attack(size, &running);
            let attacked = use_it(&b, &clients, "attacked", |_| start.elapsed() > lasts).await;
            let (made, seconds) = (proxy.count(&When::any()) - calls, start.elapsed().as_secs_f64());
            tasks.shutdown().await;
            tenant::remove_role(&a).await;

            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            let per_second = made as f64 / seconds;
            let peak = limit.as_ref().map_or_else(|| Ok(0), MemoryLimit::peak).unwrap();
            let resident = peak_memory(watcher.pid().await);
            let created = tenant.created.load(Ordering::Relaxed);
            print_result(&format!(
                "adversary: {created} objects in {seconds:.0} s; SnapWatcher made {per_second:.0} calls a second; its memory {} MiB, \
                 its group {} of 256 MiB",
                resident >> 20,
                peak >> 20
            ));
            assert_eq!(watcher.pid().await, pid, "the process was ended");
            watcher.ready().await.unwrap();
            assert!(created > size.of(100, 2000), "the tenant has created only {created} objects");
            assert!(resident < MEMORY, "{resident} bytes");
            assert!(per_second <= CALLS_PER_SECOND, "{per_second} calls a second");
            let (before, during) = (percentile(&quiet.checkpointed, 100), percentile(&attacked.checkpointed, 100));
            assert!(during <= before + LONGEST_SLOT, "Ready to request {during:?}, quiet {before:?}");
            if size == Size::Long {
                let [ours, other] = attacked.reviewed.each_ref().map(|times| percentile(times, 99));
                assert!(ours <= other.mul_f64(1.5).max(Duration::from_millis(20)), "reviews {ours:?}, by another process {other:?}");
            }
            watcher.stop().await.unwrap();
            other.stop().await.unwrap();
        })
        .await;
    })
    .await;
}
