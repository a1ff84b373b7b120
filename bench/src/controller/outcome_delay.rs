//! From the answers of SnapHook to the requests that write the outcomes.

use std::collections::HashMap;
use std::time::Duration;

use lab::proxy::Call;
use lab::snaphook::RecordedRequest;
use serde_json::Value;

/// One delay for each pod with a request, sorted. SnapHook answers in the moment in which it receives a request.
pub(crate) fn outcome_delays(requests: &[RecordedRequest], writes: &[Call]) -> Result<Vec<Duration>, String> {
    let mut written = HashMap::new();
    for call in writes {
        if let Some(pod) = succeeded_pod(&call.body) {
            written.entry(pod).or_insert(call.at);
        }
    }
    let delay = |request: &RecordedRequest| {
        let pod = &request.subject.pod;
        let at = written.get(pod).ok_or_else(|| format!("no outcome was written for the pod `{pod}`"))?;
        Ok(Duration::try_from(at.duration_since(request.at)).unwrap_or_default())
    };
    let mut delays = requests.iter().map(delay).collect::<Result<Vec<_>, String>>()?;
    delays.sort();
    Ok(delays)
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
    use jiff::{SignedDuration, Timestamp};
    use lab::proxy::Verb;
    use lab::snaphook::{Contract, Subject};

    use super::*;

    fn request(pod: &str) -> RecordedRequest {
        RecordedRequest {
            at: Timestamp::UNIX_EPOCH,
            path: Contract::KubeletCheckpoint.path().to_owned(),
            headers: std::collections::BTreeMap::new(),
            body: Value::Null,
            contract: Some(Contract::KubeletCheckpoint),
            subject: Subject { pod: pod.to_owned(), ..Subject::default() },
            violation: None,
        }
    }

    fn write(pod: &str, phase: &str, after: i64) -> Call {
        let body = serde_json::json!({"status": {"phase": phase, "pod": {"name": pod}}}).to_string();
        let at = Timestamp::UNIX_EPOCH + SignedDuration::from_millis(after);
        Call { at, verb: Verb::Update, resource: String::new(), namespace: None, name: None, body }
    }

    #[test]
    fn only_the_first_write_of_the_outcome_counts() {
        let requests = ["a", "b"].map(request);
        let writes = [
            write("a", "InProgress", 1),
            write("b", "Succeeded", 9),
            write("a", "Succeeded", 5),
            write("a", "Succeeded", 7),
        ];
        assert_eq!(outcome_delays(&requests, &writes).unwrap(), [5, 9].map(Duration::from_millis));
    }

    #[test]
    fn a_pod_without_an_outcome_is_an_error() {
        let writes = [write("a", "InProgress", 1)];
        assert!(outcome_delays(&[request("a")], &writes).unwrap_err().contains("`a`"));
    }
}
