//! The process is killed (SIGKILL) at each step of an attempt, and started again. The write under way is delivered or
//! lost. The Checkpoint says what may have happened, and no request is sent twice.
//!
//! If only the connection breaks at these steps, the outcome is that of an undisturbed attempt. The kills are repeated
//! while many pods are created, in an order that STORM_SEED decides.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use lab::objects::pod;
use lab::proxy::{Fault, HeldCall, Proxy, Verb, When};
use lab::snaphook::{Behaviour, Gate};
use lab::storm::{self, Size};
use lab::terminal::print_result;
use lab::{CheckpointCounts, Namespace, Snapwatcher, SnapwatcherOptions, in_namespace};
use serde_json::json;
use snapwatcher_api::keys::DELAY;
use tokio::time::timeout;

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

/// The default of `--max-concurrent`: a kill can interrupt no more than these.
const MAX_CONCURRENT: usize = 8;

/// Long enough that a kill meets other requests under way.
const ANSWER_AFTER: Duration = Duration::from_millis(150);

/// A claim without an attempt is made after 2 s.
const SLOT_AFTER: Duration = Duration::from_secs(3);

const TIMEOUT: Duration = Duration::from_secs(120);

/// The writes of an attempt.
#[derive(Clone, Copy, Debug)]
enum Write {
    /// The creation of a Checkpoint, which is its first attempt.
    Claim,
    /// Another attempt, in the status: here of a Checkpoint that a person creates.
    Attempt,
    Outcome,
}

/// What happens to a write that was under way at the kill.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// It never arrives.
    Lost,
    /// It arrives before the process is started again.
    Arrives,
    /// It arrives when the process that was started again has finished the Checkpoint.
    ArrivesLate,
    /// It had arrived, and its response was under way.
    Arrived,
}

impl Fate {
    const ALL: [Self; 4] = [Self::Lost, Self::Arrives, Self::ArrivesLate, Self::Arrived];
}

impl Write {
    const ALL: [Self; 3] = [Self::Claim, Self::Attempt, Self::Outcome];

    fn when(self) -> When {
        match self {
            Self::Claim => When::call(Verb::Create, "checkpoints").holding("snap.weaversoft.io/attempt"),
            Self::Attempt => When::call(Verb::Update, "checkpoints/status").holding(r#""phase":"InProgress""#),
            Self::Outcome => When::call(Verb::Update, "checkpoints/status").holding(r#""phase":"Succeeded""#),
        }
    }

    /// Creates a pod of which this write follows.
    async fn provoke(self, ns: &Namespace, name: &str) {
        match self {
            Self::Claim | Self::Outcome => drop(ns.create_object(&pod(name).labelled().build()).await),
            Self::Attempt => {
                ns.create_object(&pod(name).labelled().annotate(DELAY, "1h").build()).await;
                ns.apply_checkpoint(&format!("{name}-now"), &json!({"pod": {"name": name}})).await.unwrap();
            }
        }
    }

    fn hold(self, proxy: &Proxy, fate: Fate) -> HeldCall {
        match fate {
            Fate::Arrived => proxy.hold_response(self.when()),
            Fate::Lost | Fate::Arrives | Fate::ArrivesLate => proxy.hold_request(self.when()),
        }
    }
}

/// Starts the process behind a proxy.
async fn behind(ns: &Namespace, proxy: &Proxy, unknown_result: &str) -> Arc<Snapwatcher> {
    let args = ["--instance", "step", "--unknown-result", unknown_result].map(str::to_owned).to_vec();
    let (binary, kubeconfig) = (SNAPWATCHER.into(), proxy.kubeconfig());
    ns.start_snapwatcher_with(SnapwatcherOptions { binary, kubeconfig, args, ..SnapwatcherOptions::default() }).await
}

/// Kills at one write. Returns the final Checkpoint and the number of requests to SnapHook.
async fn killed_at(
    ns: &Namespace,
    watcher: &Snapwatcher,
    proxy: &Proxy,
    (write, fate): (Write, Fate),
    state: &str,
) -> usize {
    let name = format!("{write:?}-{fate:?}").to_lowercase();
    let held = write.hold(proxy, fate);
    write.provoke(ns, &name).await;
    held.received().await;
    watcher.kill().await.unwrap();
    if matches!(fate, Fate::Arrives) {
        held.deliver();
        ns.until("the delivered write has arrived", async || has_arrived(ns, &name, write).await).await;
    } else if !matches!(fate, Fate::ArrivesLate) {
        held.lose();
    }
    watcher.start_again().await.unwrap();
    let record = ns.record_of(&name, state).await;
    if matches!(fate, Fate::ArrivesLate) {
        held.deliver();
    }
    ns.later_pod_is_requested(&format!("{name}-later")).await;
    ns.record_of(&format!("{name}-later"), "Succeeded").await;
    assert_eq!(ns.records_of(&name).await, [record], "it stays as it was");
    ns.request_count(&name)
}

async fn has_arrived(ns: &Namespace, pod: &str, write: Write) -> bool {
    let records = ns.records_of(pod).await;
    let phase = records.first().map(|record| record.text("/phase").unwrap_or("Pending").to_owned());
    phase.as_deref()
        == Some(match write {
            Write::Claim => "Pending",
            Write::Attempt => "InProgress",
            Write::Outcome => "Succeeded",
        })
}

async fn killed_at_each(ns: &Namespace, unknown_result: &str, cases: &[(Write, Fate, &str, usize)]) {
    let proxy = Proxy::start(ns.access()).await;
    let watcher = behind(ns, &proxy, unknown_result).await;
    for &(write, fate, state, times) in cases {
        let requests = killed_at(ns, &watcher, &proxy, (write, fate), state).await;
        assert_eq!(requests, times, "{write:?} {fate:?}");
    }
}

#[tokio::test]
async fn killed_at_a_write_with_keep_the_checkpoint_says_what_may_have_happened() {
    in_namespace("killed_at_a_write_with_keep", |ns| async move {
        let cases = [
            (Write::Claim, Fate::Lost, "Succeeded", 1),
            (Write::Claim, Fate::Arrives, "Unknown(Interrupted)", 0),
            (Write::Claim, Fate::ArrivesLate, "Succeeded", 1),
            (Write::Claim, Fate::Arrived, "Unknown(Interrupted)", 0),
            (Write::Attempt, Fate::Lost, "Succeeded", 1),
            (Write::Attempt, Fate::Arrives, "Unknown(Interrupted)", 0),
            (Write::Attempt, Fate::ArrivesLate, "Succeeded", 1),
            (Write::Attempt, Fate::Arrived, "Unknown(Interrupted)", 0),
            (Write::Outcome, Fate::Lost, "Unknown(Interrupted)", 1),
            (Write::Outcome, Fate::Arrives, "Succeeded", 1),
            (Write::Outcome, Fate::ArrivesLate, "Unknown(Interrupted)", 1),
            (Write::Outcome, Fate::Arrived, "Succeeded", 1),
        ];
        killed_at_each(&ns, "keep", &cases).await;
    })
    .await;
}

#[tokio::test]
async fn killed_at_a_write_with_retry_every_pod_succeeds() {
    in_namespace("killed_at_a_write_with_retry", |ns| async move {
        let cases = [
            (Write::Claim, Fate::Lost, "Succeeded", 1),
            (Write::Claim, Fate::Arrives, "Succeeded", 1),
            (Write::Claim, Fate::Arrived, "Succeeded", 1),
            (Write::Attempt, Fate::Arrives, "Succeeded", 1),
            (Write::Attempt, Fate::Arrived, "Succeeded", 1),
            (Write::Outcome, Fate::Lost, "Succeeded", 2),
            (Write::Outcome, Fate::Arrived, "Succeeded", 1),
        ];
        killed_at_each(&ns, "retry", &cases).await;
    })
    .await;
}

/// Kills at one step after another while pods are created, and waits until every Checkpoint is finished.
async fn storm(ns: &Namespace, unknown_result: &str, seed: u64) -> CheckpointCounts {
    let (pods, kills): (usize, usize) = Size::chosen().of((20, 4), (500, 36));
    ns.snaphook().answer_with(Behaviour::Delay(ANSWER_AFTER));
    let proxy = Proxy::start(ns.access()).await;
    let watcher = behind(ns, &proxy, unknown_result).await;
    // Each write is met, also in the short form.
    let mut fates = Fate::ALL;
    fastrand::Rng::with_seed(seed).shuffle(&mut fates);
    let steps: Vec<_> = fates.iter().flat_map(|&fate| Write::ALL.map(|write| (write, fate))).collect();
    let mut met = [0; Write::ALL.len()];
    let names: Vec<String> = (0..pods).map(|number| format!("web-{number}")).collect();
    let mut later = Vec::new();
    for (batch, &(write, fate)) in names.chunks(pods.div_ceil(kills)).zip(steps.iter().cycle()) {
        let held = write.hold(&proxy, fate);
        for name in batch {
            ns.create_object(&pod(name).labelled().build()).await;
        }
        if matches!(write, Write::Attempt) {
            write.provoke(ns, &format!("{}-manual", batch[0])).await;
        }
        // With all slots taken, claims are made without an attempt. A pod that is created later finds a free slot.
        for number in 0..10 {
            if timeout(SLOT_AFTER, held.received()).await.is_ok() {
                break;
            }
            let name = format!("{}-{number}", batch[0]);
            ns.create_object(&pod(&name).labelled().build()).await;
            later.push(name);
        }
        held.received().await;
        met[write as usize] += 1;
        watcher.kill().await.unwrap();
        match fate {
            Fate::Lost | Fate::Arrived => held.lose(),
            Fate::Arrives => held.deliver(),
            Fate::ArrivesLate => {}
        }
        watcher.start_again().await.unwrap();
        if matches!(fate, Fate::ArrivesLate) {
            held.deliver();
        }
    }
    print_result(&format!("kills at claims, attempts and outcomes: {met:?}"));
    assert!(!met.contains(&0), "{met:?}");
    let names = [names.clone(), later].concat();
    let counts = ns.counts_when_finished(&names, TIMEOUT).await;
    assert!(counts.unknown.len() <= kills * MAX_CONCURRENT, "{counts}: {kills} kills");
    counts
}

#[tokio::test]
async fn killed_at_each_step_of_a_storm_with_keep_no_pod_is_lost_or_doubled() {
    let seed = storm::seed("killed_at_each_step_with_keep");
    in_namespace("killed_at_each_step_with_keep", |ns| async move {
        print_result(&storm(&ns, "keep", seed).await.to_string());
    })
    .await;
}

#[tokio::test]
async fn killed_at_each_step_of_a_storm_with_retry_every_pod_succeeds() {
    let seed = storm::seed("killed_at_each_step_with_retry");
    in_namespace("killed_at_each_step_with_retry", |ns| async move {
        let counts = storm(&ns, "retry", seed).await;
        for record in ns.records().await {
            assert_eq!(record.state(), "Succeeded", "{record:?}");
        }
        print_result(&counts.to_string());
    })
    .await;
}

#[tokio::test]
async fn killed_while_snaphook_works_the_outcome_is_unknown() {
    in_namespace("killed_while_snaphook_works", |ns| async move {
        let gate = Gate::default();
        ns.snaphook().answer_pod_with("web", Behaviour::Wait(gate.clone()));
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &["--instance", "step"]).await;
        ns.create_object(&pod("web").labelled().build()).await;
        ns.until_requested("web", 1).await;
        watcher.kill().await.unwrap();
        watcher.start_again().await.unwrap();
        let record = ns.record_of("web", "Unknown(Interrupted)").await;
        assert_eq!(record.attempt(), 1);
        gate.open();
        ns.later_pod_is_requested("later").await;
        assert_eq!(ns.request_count("web"), 1);
    })
    .await;
}

#[tokio::test]
async fn a_write_lost_in_the_network_is_repeated() {
    in_namespace("a_write_lost_in_the_network", |ns| async move {
        let proxy = Proxy::start(ns.access()).await;
        let _watcher = behind(&ns, &proxy, "keep").await;
        for write in Write::ALL {
            for (fault, reported) in
                [(Fault::Reset, "reset"), (Fault::LoseAnswer, "unanswered"), (Fault::Answer(504), "late")]
            {
                let name = format!("{write:?}-{reported}").to_lowercase();
                let rule = proxy.fail_times(1, write.when(), fault);
                write.provoke(&ns, &name).await;
                let record = ns.record_of(&name, "Succeeded").await;
                assert_eq!((record.attempt(), ns.request_count(&name)), (1, 1), "{name}");
                proxy.remove_rule(rule);
            }
        }
    })
    .await;
}
