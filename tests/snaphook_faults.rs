//! SnapHook unreachable, busy, broken or wrong: every pod is checkpointed in the end, a failing one is not retried for ever,
//! no secret of SnapHook is shown, and admission keeps its speed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use lab::objects::{deployment, pod};
use lab::snaphook::Behaviour;
use lab::storm::Size;
use lab::terminal::print_result;
use lab::{CheckpointCounts, WebhookClient, in_namespace, try_until};
use snapwatcher_admission::{MUTATE, VALIDATE};

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

const REVIEWS: usize = 1_000;

/// The API server waits three seconds.
const SLOWEST_REVIEW: Duration = Duration::from_secs(1);

const TOKEN: &str = "eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.eyJzdWIiOiJzeXN0ZW0ifQ.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg";
const PASSWORD: &str = "correct-horse-battery";

fn says(code: u16, headers: &[(&str, &str)], body: &str) -> Behaviour {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Behaviour::Status { code, headers, body: body.to_owned() }
}

/// Waits until a fault has lasted this long.
async fn lasts(time: Duration, fault: &str) {
    let started = Instant::now();
    let over = async || if started.elapsed() >= time { Ok(()) } else { Err(format!("{:?}", started.elapsed())) };
    try_until(&format!("SnapHook has {fault} long enough"), time * 2, over).await.unwrap();
}

#[tokio::test]
async fn a_rollout_is_checkpointed_once_snaphook_is_reachable_and_accepts_the_token() {
    let size = Size::chosen();
    let pods = size.of(20, 100);
    let (unreachable, unauthorized) = (Duration::from_secs(size.of(4, 180)), Duration::from_secs(size.of(2, 60)));
    // `--longest-wait`, and how long the test waits for a state.
    let (longest_wait, wait_limit) = size.of(("500ms", 25), ("5m", 600));
    let wait_limit = Duration::from_secs(wait_limit);
    in_namespace("a_rollout_is_checkpointed_once", |ns| async move {
        ns.snaphook().close_port().await;
        ns.start_snapwatcher(SNAPWATCHER, &["--longest-wait", longest_wait]).await;
        let replicas = i32::try_from(pods).unwrap();
        ns.create_object(&deployment("web").replicas(replicas).labelled().build()).await;
        let names = ns.pods_made("web", pods).await;
        ns.until("a Checkpoint waits because SnapHook is unreachable", async || {
            ns.records().await.iter().any(|record| record.state() == "Pending(Unreachable)")
        })
        .await;
        lasts(unreachable, "been unreachable").await;
        ns.snaphook().answer_with(Behaviour::status(401));
        ns.snaphook().reopen_port().await.unwrap();
        try_until("a Checkpoint waits because SnapHook rejects the token", wait_limit, async || {
            ns.records().await.iter().any(|record| record.state() == "Pending(Unauthorized)")
        })
        .await
        .unwrap();
        lasts(unauthorized, "rejected the token").await;
        let rejected = ns.snaphook().requests().len();
        ns.snaphook().answer_with(Behaviour::Succeed);

        let records = ns.all_records(pods, "Succeeded", wait_limit).await;
        assert!(
            records.iter().all(|record| record.failures() == 0),
            "an unreachable SnapHook is no failure of the checkpoint"
        );
        assert_eq!(ns.snaphook().requests().len(), rejected + pods, "one for each pod, after the rejected ones");
        let counts = CheckpointCounts::of(&ns, &names).await;
        assert_eq!((&counts.lost, &counts.doubled, &counts.unknown), (&vec![], &vec![], &vec![]));
        print_result(&counts.to_string());
    })
    .await;
}

#[tokio::test]
async fn a_busy_snaphook_receives_no_request_before_its_retry_after() {
    const RETRY_AFTER: Duration = Duration::from_secs(3);
    in_namespace("a_busy_snaphook_receives_no_request", |ns| async move {
        ns.start_snapwatcher(SNAPWATCHER, &["--longest-wait", "50ms"]).await;
        ns.snaphook().answer_next_with(1, &says(503, &[("retry-after", "3")], "busy"));
        ns.create_object(&pod("first").labelled().build()).await;
        ns.record_of("first", "Pending(Busy)").await;
        ns.create_object(&pod("second").labelled().build()).await;
        for name in ["first", "second"] {
            let record = ns.record_of(name, "Succeeded").await;
            assert_eq!(record.failures(), 0, "{name}");
        }
        let requests = ns.snaphook().requests();
        let [busy, next, _] = requests.as_slice() else { panic!("{requests:?}") };
        let waited = Duration::try_from(next.at.duration_since(busy.at)).unwrap();
        assert!(waited >= RETRY_AFTER, "another request after {waited:?}, for any pod");
    })
    .await;
}

#[tokio::test]
async fn after_five_failures_no_further_request_is_sent() {
    in_namespace("after_five_failures_no_further_request", |ns| async move {
        ns.start_snapwatcher(SNAPWATCHER, &["--longest-wait", "50ms"]).await;
        ns.snaphook().answer_pod_with("broken", says(500, &[], "Internal Server Error"));
        ns.create_object(&pod("broken").labelled().build()).await;
        let record = ns.record_of("broken", "Failed(BackendError)").await;
        assert_eq!((record.attempt(), record.failures()), (5, 5));
        ns.later_pod_is_requested("later").await;
        let requests = ns.snaphook().requests_for(ns.name(), "broken");
        let keys: Vec<_> = requests.iter().filter_map(|request| request.idempotency_key()).collect();
        let expected: Vec<_> = (0..5).map(|failures| format!("{}-{failures}", record.uid)).collect();
        assert_eq!(keys, expected, "another key after each response");
    })
    .await;
}

/// Responses with secrets, and broken ones, each with the state of the record that follows.
fn faults() -> Vec<(&'static str, Behaviour, &'static str)> {
    let secret = format!(
        "command failed: curl -H 'Authorization: Bearer {TOKEN}' https://node:10250/checkpoint && \
         buildah push --creds admin:{PASSWORD} registry.invalid/snap"
    );
    let redirect = format!("http://admin:{PASSWORD}@127.0.0.1:9/?token={TOKEN}");
    vec![
        ("refused", Behaviour::SuccessFalse { message: secret.clone() }, "Failed(BackendFailed)"),
        ("failed", says(500, &[], &secret), "Failed(BackendError)"),
        ("rejected", says(422, &[], &secret), "Failed(Rejected)"),
        ("redirected", says(302, &[("location", &redirect)], &secret), "Failed(Rejected)"),
        ("garbage", says(200, &[], &secret), "Unknown(InvalidResponse)"),
        ("huge", Behaviour::Huge, "Unknown(InvalidResponse)"),
        ("drip", Behaviour::Drip(Duration::from_millis(300)), "Unknown(NoResponse)"),
        ("half", Behaviour::HalfBody, "Unknown(NoResponse)"),
        ("hang", Behaviour::Hang, "Unknown(NoResponse)"),
        ("unauthorized", says(401, &[("www-authenticate", TOKEN)], &secret), "Pending(Unauthorized)"),
        ("busy", says(429, &[], &secret), "Pending(Busy)"),
    ]
}

#[tokio::test]
async fn whatever_snaphook_does_no_secret_is_shown_and_reviews_are_answered_in_time() {
    in_namespace("whatever_snaphook_does_no_secret_is_shown", |ns| async move {
        let args = ["--longest-wait", "50ms", "--response-timeout", "4s", "--log-level", "DEBUG"];
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &args).await;
        let webhook_client = WebhookClient::of(&ns, &watcher).await.unwrap();
        for (name, behaviour, _) in faults() {
            ns.snaphook().answer_pod_with(name, behaviour);
            ns.create_object(&pod(name).labelled().build()).await;
        }
        ns.until("a request hangs", async || ns.request_count("hang") == 1).await;
        let slowest = webhook_client.slowest_review(REVIEWS, ns.name(), &[MUTATE, VALIDATE]).await.unwrap();
        assert!(slowest < SLOWEST_REVIEW, "the slowest review took {slowest:?}");

        for (name, _, state) in faults() {
            ns.record_of(name, state).await;
            let reason = state.split(['(', ')']).nth(1).unwrap();
            ns.event_of(name, reason).await;
            // The count first: some are retried all the time, and each attempt is written before it is made.
            let requested = ns.request_count(name);
            let record = ns.record_of(name, state).await;
            assert!(requested <= usize::try_from(record.attempt()).unwrap(), "{name}");
        }
        let reported = ns.all_output(&watcher).await;
        assert!(reported.contains("command failed: curl"), "text without secrets is kept");
        let parts: BTreeSet<&str> = TOKEN.split('.').chain([TOKEN, PASSWORD]).collect();
        for secret in parts {
            let line = reported.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "the output contains {secret}");
        }
    })
    .await;
}
