use serde_json::{Value, json};

use snapwatcher_api::pod::PodName;

use super::*;

const GIB: u64 = 1 << 30;
const NODE_MEMORY: u64 = 8 * GIB;

fn request(checkpoint: &str, is_automatic: bool, limits: &Value) -> CheckpointRequest {
    let pod = json!({"spec": {"containers": [{"name": "app", "resources": {"limits": limits}}]}});
    CheckpointRequest {
        pod: PodName { namespace: "shop".into(), name: "web-0".into() },
        node: "n1".to_owned(),
        container: "app".to_owned(),
        pod_uid: "u".to_owned(),
        checkpoint_uid: checkpoint.to_owned(),
        is_automatic,
        idempotency_key: format!("{checkpoint}-0"),
        pod_detail: PodDetail::Limits(serde_json::from_str(&pod.to_string()).unwrap()),
    }
}

fn succeeded() -> Outcome {
    Outcome::Succeeded(Location { archive: Some("/a.tar".to_owned()), ..Location::default() })
}

fn failed(reason: Reason) -> Outcome {
    Outcome::Failed { reason, message: Redacted::own("no"), retry_after: None }
}

fn taken(checkpoint: &str, is_automatic: bool, hours: u64) -> TakenCheckpoint {
    TakenCheckpoint {
        checkpoint_uid: checkpoint.to_owned(),
        namespace: "shop".to_owned(),
        pod_uid: "u".to_owned(),
        container: "app".to_owned(),
        node: "n1".to_owned(),
        is_automatic,
        counted_bytes: Some(4 * GIB),
        age: Duration::from_secs(3600 * hours),
    }
}

fn message(outcome: &Result<u64, Outcome>) -> String {
    outcome.as_ref().unwrap_err().to_string()
}

#[test]
fn an_archive_counts_as_large_as_memory_huge_pages_and_changed_files_may_be() {
    for (limits, gib) in [
        (json!({"memory": "2Gi", "ephemeral-storage": "3Gi"}), 5),
        (json!({"memory": "2Gi"}), 3),
        (json!({"memory": "2Gi", "ephemeral-storage": "0"}), 3),
        (json!({"ephemeral-storage": "3Gi"}), 11),
        (json!({}), 9),
        (json!({"memory": "1Gi", "hugepages-1Gi": "20Gi", "hugepages-2Mi": "1Gi", "ephemeral-storage": "1Gi"}), 23),
    ] {
        let archives = ArchiveLimits::new(100 * GIB).unwrap();
        assert_eq!(archives.take(&request("c", false, &limits), NODE_MEMORY), Ok(gib * GIB), "{limits}");
    }
}

#[test]
fn what_a_container_can_do_to_have_more_archives_is_said() {
    for (limits, words) in [
        (
            json!({"memory": "4Gi", "ephemeral-storage": "1Gi"}),
            "min. To have it sooner, raise `--kubelet-archive-budget`",
        ),
        (json!({"memory": "4Gi"}), "give the container a limit on ephemeral storage"),
        (json!({}), "give the container a memory limit"),
    ] {
        let archives = ArchiveLimits::new(4 * GIB).unwrap();
        archives.take(&request("c", false, &limits), NODE_MEMORY).unwrap();
        let second = archives.take(&request("d", false, &limits), NODE_MEMORY);
        assert!(message(&second).starts_with("TooSoon: ") && message(&second).contains(words), "{second:?}");
    }
}

#[test]
fn an_archive_that_may_have_been_written_counts() {
    let of = |reason: Reason| {
        let archives = ArchiveLimits::new(4 * GIB).unwrap();
        let first = request("c", false, &json!({"memory": "3Gi"}));
        let bytes = archives.take(&first, NODE_MEMORY).unwrap();
        archives.ended(&first, bytes, &mut failed(reason));
        archives.take(&request("d", false, &json!({"memory": "3Gi"})), NODE_MEMORY).is_ok()
    };
    for reason in [Reason::CheckpointFailed, Reason::NoResponse, Reason::BackendError] {
        assert!(!of(reason), "{reason}");
    }
    for reason in [Reason::Unreachable, Reason::Busy, Reason::CheckpointUnsupported, Reason::NodeNotPrepared] {
        assert!(of(reason), "{reason}");
    }
}

#[test]
fn an_automatic_checkpoint_follows_the_last_one_of_its_container_after_the_interval_and_a_manual_one_at_once() {
    let archives = ArchiveLimits::new(100 * GIB).unwrap();
    let limits = json!({"memory": "1Gi"});
    let attempt = |checkpoint: &str, is_automatic: bool| {
        let request = request(checkpoint, is_automatic, &limits);
        let bytes = archives.take(&request, NODE_MEMORY)?;
        let mut outcome = succeeded();
        archives.ended(&request, bytes, &mut outcome);
        Ok(bytes)
    };
    assert!(attempt("manual", false).is_ok());
    assert!(attempt("first", true).is_ok(), "a manual one before it does not count");
    let again = attempt("created-again", true);
    assert!(message(&again).contains("checkpointed less than 10 min ago"), "{again:?}");
    assert!(message(&again).contains("create a manual Checkpoint"), "{again:?}");
    assert!(attempt("second-manual", false).is_ok());
}

#[test]
fn an_attempt_that_failed_starts_no_interval() {
    let archives = ArchiveLimits::new(100 * GIB).unwrap();
    let first = request("c", true, &json!({"memory": "1Gi"}));
    let bytes = archives.take(&first, NODE_MEMORY).unwrap();
    archives.ended(&first, bytes, &mut failed(Reason::CheckpointFailed));
    assert!(archives.take(&request("d", true, &json!({"memory": "1Gi"})), NODE_MEMORY).is_ok());
}

#[test]
fn a_success_says_how_its_archive_was_counted() {
    let archives = ArchiveLimits::new(100 * GIB).unwrap();
    let request = request("c", true, &json!({"memory": "1Gi"}));
    let bytes = archives.take(&request, NODE_MEMORY).unwrap();
    let mut outcome = succeeded();
    archives.ended(&request, bytes, &mut outcome);
    let Outcome::Succeeded(location) = outcome else { panic!("{outcome}") };
    assert_eq!(location.counted_bytes, Some(2 * GIB));
}

#[test]
fn after_a_restart_the_checkpoints_of_a_day_count() {
    let archives = ArchiveLimits::new(20 * GIB).unwrap();
    for (checkpoint, hours) in [("a", 1), ("b", 1), ("c", 0), ("d", 0), ("e", 0), ("old", 24), ("older", 900)] {
        archives.recall(&taken(checkpoint, false, hours));
    }
    let next = request("f", false, &json!({"memory": "1Gi"}));
    assert!(message(&archives.take(&next, NODE_MEMORY)).contains("have reached the limit of a day"));
    let of_another = CheckpointRequest { node: "n2".to_owned(), ..next };
    assert!(archives.take(&of_another, NODE_MEMORY).is_ok());
}

#[test]
fn after_a_restart_the_interval_holds() {
    let archives = ArchiveLimits::new(20 * GIB).unwrap();
    archives.recall(&taken("a", true, 0));
    assert!(archives.take(&request("b", true, &json!({"memory": "1Gi"})), NODE_MEMORY).is_err());
    let archives = ArchiveLimits::new(20 * GIB).unwrap();
    archives.recall(&taken("a", true, 1));
    assert!(archives.take(&request("b", true, &json!({"memory": "1Gi"})), NODE_MEMORY).is_ok());
}

#[test]
fn a_checkpoint_of_an_earlier_version_counts_its_files() {
    let archives = ArchiveLimits::new(2 * GIB).unwrap();
    archives.recall(&TakenCheckpoint { counted_bytes: None, ..taken("a", false, 0) });
    let next = |checkpoint| request(checkpoint, false, &json!({"memory": "1Gi", "ephemeral-storage": "16Mi"}));
    assert!(archives.take(&next("b"), NODE_MEMORY).is_err(), "1 GiB is left");
}
