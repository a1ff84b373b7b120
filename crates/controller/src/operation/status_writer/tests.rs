use std::sync::atomic::Ordering;

use kube::core::Status;

use snapwatcher_api::fixtures::at;
use snapwatcher_api::outcome::{Outcome, Reason, Redacted};

use super::*;
use crate::operation::test_io::{OneCheckpoint, server};
use crate::record::transitions::{RetryPolicy, UnknownResult};

/// Writes a failure with a long message.
async fn write(io: &OneCheckpoint) -> Result<Option<Checkpoint>, CallError> {
    let policy = RetryPolicy {
        unknown_result: UnknownResult::Keep,
        max_attempts: 5,
        longest_wait: Duration::from_secs(300),
        holder_grace: Duration::from_secs(30),
    };
    let message = Redacted::own(&"x".repeat(500));
    let outcome = Outcome::Failed { reason: Reason::Rejected, message, retry_after: None };
    let writer = StatusWriter { io, longest: SignedDuration::from_secs(130) };
    let change = |found: &Checkpoint| transitions::after(found, &outcome, &policy, false, 0.5, at(1));
    writer.write_until_confirmed(&io.stored, change).await
}

fn denied() -> Status {
    Status::failure("admission webhook \"v.example.com\" denied the request: no", "Forbidden").with_code(403)
}

fn unreachable_webhook() -> Status {
    let message = "Internal error occurred: failed calling webhook \"v.example.com\": connection refused";
    Status::failure(message, "InternalError").with_code(500)
}

fn too_large(checkpoint: &Checkpoint) -> Option<Status> {
    let is_long = serde_json::to_string(&checkpoint.status).unwrap().len() > 1000;
    is_long.then(|| Status::failure("etcdserver: request is too large", "").with_code(500))
}

#[tokio::test(start_paused = true)]
async fn an_outcome_that_is_always_rejected_is_tried_for_minutes_only() {
    for answer in [
        |_: usize, _: &Checkpoint| Some(denied()),
        |_: usize, _: &Checkpoint| Some(Status { reason: "Conflict".to_owned(), ..denied().with_code(409) }),
        |_: usize, _: &Checkpoint| Some(denied().with_code(404)),
        |_: usize, _: &Checkpoint| Some(denied().with_code(503)),
    ] {
        let (io, start) = (server(answer), tokio::time::Instant::now());
        let result = tokio::time::timeout(Duration::from_secs(3600), write(&io)).await.unwrap();
        assert!(result.unwrap_err().is_about_object());
        let (writes, minutes) = (io.writes.lock().unwrap().len(), start.elapsed().as_secs() / 60);
        assert!(writes == MAX_REJECTIONS as usize && (3..=6).contains(&minutes), "{writes} writes, {minutes} min");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outcome_is_not_tried_much_longer_after_a_rejection_while_the_process_stops() {
    let (io, start) = (server(|_, _| Some(denied())), tokio::time::Instant::now());
    let stop = async {
        tokio::time::sleep(Duration::from_secs(100)).await;
        io.is_stopping.store(true, Ordering::Relaxed);
    };
    let (result, ()) =
        tokio::time::timeout(Duration::from_secs(3600), futures::future::join(write(&io), stop)).await.unwrap();
    assert!(result.is_err() && start.elapsed() < Duration::from_secs(120), "{:?}", start.elapsed());
    let before = io.writes.lock().unwrap().len();
    assert!(write(&io).await.is_err());
    assert_eq!(io.writes.lock().unwrap().len() - before, MAX_REJECTIONS_IN_STOP as usize);
}

#[tokio::test(start_paused = true)]
async fn an_outcome_is_written_after_a_webhook_was_drained_together_with_this_process() {
    let io = server(|number, _| (number < 10).then(unreachable_webhook));
    io.is_stopping.store(true, Ordering::Relaxed);
    let start = tokio::time::Instant::now();
    let message = write(&io).await.unwrap().unwrap().status.unwrap().message.unwrap();
    assert!(message.starts_with("xxx") && start.elapsed() < Duration::from_secs(15), "{message}");
}

#[tokio::test(start_paused = true)]
async fn one_rejection_that_is_not_about_the_size_costs_no_message() {
    for answer in [
        |number: usize, _: &Checkpoint| (number < 2).then(denied),
        |number: usize, _: &Checkpoint| (number < 3).then(denied),
        |number: usize, _: &Checkpoint| (number < 2).then(unreachable_webhook),
    ] {
        let message = write(&server(answer)).await.unwrap().unwrap().status.unwrap().message.unwrap();
        assert!(message.starts_with("xxx"), "{message}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_does_not_permit_a_message_gets_the_outcome_without_it_at_last() {
    let io = server(|_, checkpoint| too_large(checkpoint).map(|_| denied()));
    let written = write(&io).await.unwrap().unwrap();
    assert_eq!(written.reason(), Some(Reason::Rejected.as_str()));
    assert_eq!(io.writes.lock().unwrap().len(), MAX_REJECTIONS as usize);
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_with_nearly_no_room_gets_the_outcome_without_its_message() {
    let io = server(|_, checkpoint| too_large(checkpoint));
    let written = write(&io).await.unwrap().unwrap();
    assert_eq!((written.phase(), written.reason()), (Phase::Failed, Some(Reason::Rejected.as_str())));
    assert_eq!(io.writes.lock().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_outcome_is_written_after_a_webhook_failed_for_minutes() {
    let io = server(|number, _| (number < 10).then(denied));
    let message = write(&io).await.unwrap().unwrap().status.unwrap().message.unwrap();
    assert!(message.starts_with("xxx"), "with its message");
}

#[tokio::test(start_paused = true)]
async fn an_outcome_is_written_after_an_outage_however_long_it_is_and_also_while_stopping() {
    let io = server(|number, _| {
        (number < 5000).then(|| Status::failure("etcdserver: request timed out", "").with_code(500))
    });
    io.is_stopping.store(true, Ordering::Relaxed);
    assert!(write(&io).await.unwrap().is_some());
    assert_eq!(io.writes.lock().unwrap().len(), 5000);
}
