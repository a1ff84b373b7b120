//! Counts the Checkpoints and requests of many pods: no pod may be lost, none may be doubled.
//!
//! A pod is *lost* if it has no Checkpoint, one that is not finished, or one that is Unknown without a kill. A pod is
//! *doubled* if it has two Checkpoints, more requests than written attempts, more than one request for an Unknown, or a
//! request after its Checkpoint has succeeded.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Display};
use std::time::Duration;

use jiff::Timestamp;

use crate::must::must;
use crate::namespace::Namespace;
use crate::record::Record;
use crate::snaphook::RecordedRequest;
use crate::until::try_until;

/// Length of the UID at the start of each idempotency key.
const UID: usize = 36;

/// The counts for the pods of one test, with the names behind each number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckpointCounts {
    pub pods: usize,
    pub lost: Vec<String>,
    pub doubled: Vec<String>,
    /// Checkpoints that are Unknown because SnapWatcher was killed.
    pub unknown: Vec<String>,
}

impl CheckpointCounts {
    /// Counts for these pods of a namespace. Each of them should have one Checkpoint.
    pub async fn of(ns: &Namespace, pods: impl IntoIterator<Item: AsRef<str>>) -> Self {
        Self::count(pods, &ns.records().await, &ns.snaphook().requests())
    }

    /// Counts from Checkpoints and requests that were already read.
    pub fn count(pods: impl IntoIterator<Item: AsRef<str>>, records: &[Record], requests: &[RecordedRequest]) -> Self {
        let mut by_record: HashMap<&str, Vec<Timestamp>> = HashMap::new();
        for request in requests.iter().filter(|request| request.violation.is_none()) {
            let uid = request.idempotency_key().and_then(|key| key.get(..UID)).unwrap_or_default();
            by_record.entry(uid).or_default().push(request.at);
        }
        let mut counts = Self::default();
        for pod in pods {
            counts.pods += 1;
            let of_pod: Vec<&Record> = records.iter().filter(|record| record.is_about(pod.as_ref())).collect();
            if of_pod.is_empty() {
                counts.lost.push(format!("{} has no Checkpoint", pod.as_ref()));
            }
            if of_pod.len() > 1 {
                counts.doubled.push(format!("{} has {} Checkpoints", pod.as_ref(), of_pod.len()));
            }
            for record in of_pod {
                counts.add(record, by_record.get(record.uid.as_str()).map(Vec::as_slice).unwrap_or_default());
            }
        }
        counts
    }

    fn add(&mut self, record: &Record, requests: &[Timestamp]) {
        let (name, state) = (&record.name, record.state());
        let describe = || format!("{name} is {state}, attempt {}, {} requests", record.attempt(), requests.len());
        match state.as_str() {
            "Unknown(Interrupted)" => self.unknown.push(name.clone()),
            "Succeeded" => {}
            other if other.starts_with("Failed") => {}
            _ => self.lost.push(describe()),
        }
        let attempts = usize::try_from(record.attempt()).unwrap_or_default();
        let succeeded = record.text("/completionTime").filter(|_| state == "Succeeded");
        let succeeded: Option<Timestamp> = succeeded.and_then(|time| time.parse().ok());
        let is_unclear = state == "Unknown(Interrupted)" && requests.len() > 1;
        let is_late = succeeded.is_some_and(|done| requests.iter().any(|at| *at > done));
        if requests.len() > attempts || is_unclear || is_late {
            self.doubled.push(describe());
        }
    }
}

impl Namespace {
    /// Waits until each of these pods has a finished Checkpoint and until a wrong second request would have been sent.
    /// Then counts.
    ///
    /// # Panics
    ///
    /// If a pod is lost or doubled.
    pub async fn counts_when_finished(&self, pods: &[String], timeout: Duration) -> CheckpointCounts {
        let finished = try_until("every pod has a finished Checkpoint", timeout, async || {
            let counts = CheckpointCounts::of(self, pods).await;
            if counts.lost.is_empty() { Ok(()) } else { Err(format!("{counts}: {:?}", counts.lost)) }
        });
        must("see every pod checkpointed", finished.await);
        self.later_pod_is_requested("later").await;
        self.record_of("later", "Succeeded").await;
        let counts = CheckpointCounts::of(self, pods).await;
        assert!(counts.lost.is_empty() && counts.doubled.is_empty(), "{counts}: {counts:?}");
        counts
    }

    /// Waits until there are `count` Checkpoints and all of them are in this [state](Record::state).
    pub async fn all_records(&self, count: usize, state: &str, timeout: Duration) -> Vec<Record> {
        let awaited = format!("all {count} Checkpoints are {state}");
        let all = try_until(&awaited, timeout, async || {
            let records = self.records().await;
            let mut seen: BTreeMap<String, usize> = BTreeMap::new();
            for record in &records {
                *seen.entry(record.state()).or_default() += 1;
            }
            if seen.len() == 1 && seen.get(state) == Some(&count) { Ok(records) } else { Err(format!("{seen:?}")) }
        });
        must("see every Checkpoint finished", all.await)
    }
}

impl Display for CheckpointCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pods, lost, doubled, unknown } = self;
        write!(f, "{pods} pods: {} lost, {} doubled, {} unknown", lost.len(), doubled.len(), unknown.len())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::snaphook::Subject;

    const RECORD: &str = "00000000-0000-0000-0000-000000000000";

    fn record(pod: &str, phase: &str, reason: &str) -> Record {
        let complete = json!([{"type": "Complete", "reason": reason}]);
        let status =
            json!({"phase": phase, "attempt": 1, "conditions": complete, "completionTime": at(10).to_string()});
        Record { name: pod.to_owned(), uid: RECORD.to_owned(), spec: json!({"pod": {"name": pod}}), status }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn request(second: i64) -> RecordedRequest {
        RecordedRequest {
            at: at(second),
            path: String::new(),
            headers: [("idempotency-key".to_owned(), format!("{RECORD}-0"))].into(),
            body: json!(null),
            contract: None,
            subject: Subject::default(),
            violation: None,
        }
    }

    #[test]
    fn each_way_to_be_lost_or_doubled_is_counted() {
        let shown =
            |record, requests: &[RecordedRequest]| CheckpointCounts::count(["web"], &[record], requests).to_string();
        let succeeded = || record("web", "Succeeded", "Succeeded");
        assert_eq!(shown(succeeded(), &[request(5)]), "1 pods: 0 lost, 0 doubled, 0 unknown");
        assert_eq!(shown(succeeded(), &[request(5), request(6)]), "1 pods: 0 lost, 1 doubled, 0 unknown");
        assert_eq!(shown(succeeded(), &[request(11)]), "1 pods: 0 lost, 1 doubled, 0 unknown");
        assert_eq!(shown(record("web", "Pending", "Busy"), &[]), "1 pods: 1 lost, 0 doubled, 0 unknown");
        assert_eq!(shown(record("web", "Unknown", "NoResponse"), &[]), "1 pods: 1 lost, 0 doubled, 0 unknown");
        assert_eq!(shown(record("web", "Unknown", "Interrupted"), &[]), "1 pods: 0 lost, 0 doubled, 1 unknown");
        let twice = [request(5), request(6)];
        let mut interrupted = record("web", "Unknown", "Interrupted");
        interrupted.status["attempt"] = json!(2);
        assert_eq!(shown(interrupted, &twice), "1 pods: 0 lost, 1 doubled, 1 unknown");
        let two = [succeeded(), record("web", "Failed", "PodGone")];
        assert_eq!(CheckpointCounts::count(["web"], &two, &[]).to_string(), "1 pods: 0 lost, 1 doubled, 0 unknown");
        assert_eq!(shown(record("other", "Succeeded", ""), &[]), "1 pods: 1 lost, 0 doubled, 0 unknown");
    }
}
