use futures::future::join_all;
use kube::core::Status;
use serde_json::value::RawValue;

use snapwatcher_api::fixtures::pod;
use snapwatcher_kubernetes::cluster::{PodDetail, PodText};

use super::*;
use crate::operation::test_io::server;
use crate::record::transitions::{Holder, RetryPolicy, UnknownResult};

fn settings() -> OperationSettings {
    let policy = RetryPolicy {
        unknown_result: UnknownResult::Keep,
        max_attempts: 5,
        longest_wait: Duration::from_secs(300),
        holder_grace: Duration::from_secs(30),
    };
    let holder = Holder { instance: "snapwatcher-0".into(), boot: "b1".into() };
    OperationSettings { holder, policy, max_pods_per_revision: 3, longest_request: Duration::from_secs(120) }
}

/// The memory of this process, in MiB.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096 / (1 << 20)
}

#[tokio::test(start_paused = true)]
async fn attempts_whose_outcome_is_rejected_keep_no_text_of_their_pods() {
    let io = server(|_, _| Some(Status::failure("admission webhook \"v\" denied the request: no", "").with_code(503)));
    let settings = settings();
    let attempt = || async {
        let text = RawValue::from_string(format!("\"{}\"", "x".repeat(500 << 10))).unwrap();
        let live = LivePod { facts: pod("web").facts(), detail: PodDetail::Text(PodText::Whole(text)) };
        let (checkpoint, write_started) = (io.stored.clone(), Duration::ZERO);
        let attempt = WrittenAttempt { checkpoint, pod: live, write_started, is_in_annotation: false };
        send(&io, &settings, attempt, &|_| {}).await
    };
    let before = resident();
    let mut attempts = std::pin::pin!(join_all((0..400).map(|_| attempt())));
    assert!(futures::poll!(attempts.as_mut()).is_pending(), "all wait for another try");
    let taken = resident().saturating_sub(before);
    assert!(taken < 150, "{taken} MiB, of 200 MiB of texts");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_an_attempt_says_that_its_outcome_was_rejected() {
    let io = server(|_, _| Some(Status::failure("admission webhook \"v\" denied the request: no", "").with_code(503)));
    let live = LivePod { facts: pod("web").facts(), detail: PodDetail::Nothing };
    let (checkpoint, write_started) = (io.stored.clone(), Duration::ZERO);
    let attempt = WrittenAttempt { checkpoint, pod: live, write_started, is_in_annotation: false };
    let AttemptResult::Sent(sent) = send(&io, &settings(), attempt, &|_| {}).await else { panic!("not sent") };
    assert!(matches!(sent.written, OutcomeWrite::Rejected(_)));
}
