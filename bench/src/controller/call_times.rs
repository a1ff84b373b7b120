//! When the calls for each pod were made: the parts of the time from Ready to the request, and the delay of the outcome.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use lab::proxy::{Call, Verb};
use lab::snaphook::RecordedRequest;
use serde_json::Value;

/// The calls for one pod, as a proxy in front of the API server and SnapHook received them.
#[derive(Debug, Clone, Copy, Default)]
struct PodCalls {
    /// The live read before the claim.
    read: Option<Timestamp>,
    created: Option<Timestamp>,
    /// The write of the outcome.
    written: Option<Timestamp>,
}

/// Times between calls, one for each pod, sorted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct CallTimes {
    pub(crate) ready_to_read: Vec<Duration>,
    pub(crate) read_to_creation: Vec<Duration>,
    pub(crate) creation_to_request: Vec<Duration>,
    /// SnapHook answers in the moment in which it receives a request.
    pub(crate) answer_to_outcome: Vec<Duration>,
}

impl CallTimes {
    /// The times of each pod for which SnapHook received a request. `ready` has the time at which the pod became Ready, by name.
    pub(crate) fn of(
        ready: &HashMap<String, Timestamp>,
        requests: &[RecordedRequest],
        calls: &[Call],
    ) -> Result<Self, String> {
        let mut by_pod = HashMap::<String, PodCalls>::new();
        for call in calls {
            let (pod, time): (_, fn(&mut PodCalls) -> &mut Option<Timestamp>) = match (call.verb, &*call.resource) {
                (Verb::Get, "pods") => (call.name.clone(), |of| &mut of.read),
                (Verb::Create, "checkpoints") => (claimed_pod(&call.body), |of| &mut of.created),
                (Verb::Update, "checkpoints/status") => (succeeded_pod(&call.body), |of| &mut of.written),
                _ => continue,
            };
            if let Some(pod) = pod {
                time(by_pod.entry(pod).or_default()).get_or_insert(call.at);
            }
        }
        let mut times = Self::default();
        for RecordedRequest { subject, at, .. } in requests {
            let pod = &subject.pod;
            let calls = by_pod.get(pod).copied().unwrap_or_default();
            let seen = |time: Option<Timestamp>, what: &str| time.ok_or_else(|| format!("{what} for the pod `{pod}`"));
            let read = seen(calls.read, "no read of the pod")?;
            let created = seen(calls.created, "no Checkpoint was created")?;
            // A program may see a pod before this process does.
            times.ready_to_read.push(between(seen(ready.get(pod).copied(), "no Ready")?, read));
            times.read_to_creation.push(between(read, created));
            times.creation_to_request.push(between(created, *at));
            times.answer_to_outcome.push(between(*at, seen(calls.written, "no outcome was written")?));
        }
        let Self { ready_to_read, read_to_creation, creation_to_request, answer_to_outcome } = &mut times;
        for list in [ready_to_read, read_to_creation, creation_to_request, answer_to_outcome] {
            list.sort();
        }
        Ok(times)
    }
}

fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

/// The pod in the spec of a Checkpoint.
fn claimed_pod(body: &str) -> Option<String> {
    let checkpoint: Value = serde_json::from_str(body).ok()?;
    checkpoint["spec"]["pod"]["name"].as_str().map(str::to_owned)
}

/// The pod of a Checkpoint whose status says that it has succeeded.
fn succeeded_pod(body: &str) -> Option<String> {
    let checkpoint: Value = serde_json::from_str(body).ok()?;
    let status = &checkpoint["status"];
    if status["phase"] != "Succeeded" {
        return None;
    }
    status["pod"]["name"].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use lab::snaphook::{Contract, Subject};
    use serde_json::json;

    use super::*;

    fn at(millisecond: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_millis(millisecond)
    }

    fn request(pod: &str, millisecond: i64) -> RecordedRequest {
        RecordedRequest {
            at: at(millisecond),
            path: Contract::KubeletCheckpoint.path().to_owned(),
            headers: std::collections::BTreeMap::new(),
            body: Value::Null,
            contract: Some(Contract::KubeletCheckpoint),
            subject: Subject { pod: pod.to_owned(), ..Subject::default() },
            violation: None,
        }
    }

    fn call(verb: Verb, resource: &str, name: &str, body: &Value, millisecond: i64) -> Call {
        let (resource, name) = (resource.to_owned(), Some(name.to_owned()));
        Call { at: at(millisecond), verb, resource, namespace: None, name, body: body.to_string() }
    }

    fn write(pod: &str, phase: &str, millisecond: i64) -> Call {
        let body = json!({"status": {"phase": phase, "pod": {"name": pod}}});
        call(Verb::Update, "checkpoints/status", "c", &body, millisecond)
    }

    fn calls(pod: &str, start: i64) -> Vec<Call> {
        let spec = json!({"spec": {"pod": {"name": pod}}});
        vec![
            call(Verb::Get, "pods", pod, &Value::Null, start + 1),
            call(Verb::Create, "checkpoints", "c", &spec, start + 3),
            write(pod, "InProgress", start + 7),
            write(pod, "Succeeded", start + 15),
            write(pod, "Succeeded", start + 40),
        ]
    }

    #[test]
    fn each_time_is_between_two_first_calls() {
        let all: Vec<Call> = calls("a", 0).into_iter().chain(calls("b", 100)).collect();
        let ready = HashMap::from([("a".to_owned(), at(0)), ("b".to_owned(), at(200))]);
        let times = CallTimes::of(&ready, &[request("a", 7), request("b", 106)], &all).unwrap();
        let milliseconds = |list: [u64; 2]| list.map(Duration::from_millis).to_vec();
        assert_eq!(times.ready_to_read, milliseconds([0, 1]), "b was read before it was seen Ready");
        assert_eq!(times.read_to_creation, milliseconds([2, 2]));
        assert_eq!(times.creation_to_request, milliseconds([3, 4]));
        assert_eq!(times.answer_to_outcome, milliseconds([8, 9]));
    }

    #[test]
    fn a_pod_without_an_outcome_is_an_error() {
        let ready = HashMap::from([("a".to_owned(), at(0))]);
        let error = CallTimes::of(&ready, &[request("a", 7)], &calls("a", 0)[..3]).unwrap_err();
        assert_eq!(error, "no outcome was written for the pod `a`");
    }
}
