//! Response bodies on their way to the client. Watches pass line by line, so that new rules reach open watches.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use axum::body::Bytes;
use futures::{Stream, stream};
use serde_json::{Value, json};

use super::call::{Call, Verb};
use super::rule::Fault;
use super::rules::Rules;

/// A watch on its way to the client.
struct Passing {
    call: Call,
    upstream: reqwest::Response,
    rules: Arc<Rules>,
    /// The bytes of an incomplete line.
    partial: Vec<u8>,
    lines: VecDeque<Bytes>,
}

/// The events of a watch that the rules let pass.
pub(super) fn passed_on(
    call: Call,
    upstream: reqwest::Response,
    rules: Arc<Rules>,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let passing = Passing { call, upstream, rules, partial: Vec::new(), lines: VecDeque::new() };
    stream::unfold(Some(passing), |passing| async {
        let mut passing = passing?;
        match passing.next().await {
            Ok(Some(line)) => Some((Ok(line), Some(passing))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    })
}

impl Passing {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let mut changed = self.rules.subscribe();
        loop {
            let faults = self.rules.lasting_faults(&self.call);
            if faults.contains(&Fault::BlackHole) {
                return std::future::pending().await;
            }
            if faults.contains(&Fault::Reset) {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            if let Some(line) = self.lines.pop_front() {
                if let Some(line) = through(&line, &faults) {
                    return Ok(Some(line));
                }
                continue;
            }
            let chunk = tokio::select! {
                chunk = self.upstream.chunk() => chunk.map_err(io::Error::other)?,
                _ = changed.changed() => continue,
            };
            let Some(chunk) = chunk else { return Ok(None) };
            self.partial.extend_from_slice(&chunk);
            while let Some(end) = self.partial.iter().position(|&byte| byte == b'\n') {
                let rest = self.partial.split_off(end + 1);
                self.lines.push_back(std::mem::replace(&mut self.partial, rest).into());
            }
        }
    }
}

/// One event after the faults have changed it. None: the event does not pass.
fn through(line: &Bytes, faults: &[Fault]) -> Option<Bytes> {
    let concerns = |fault: &Fault| matches!(fault, Fault::OnlyBookmarks | Fault::Corrupt(_));
    if !faults.iter().any(concerns) {
        return Some(line.clone());
    }
    let Ok(mut event) = serde_json::from_slice::<Value>(line) else { return Some(line.clone()) };
    for fault in faults {
        match fault {
            Fault::OnlyBookmarks if event["type"] != "BOOKMARK" => return None,
            Fault::Corrupt(name) => corrupt(&mut event["object"], name),
            _ => {}
        }
    }
    Some(format!("{event}\n").into())
}

/// A list in which the objects of the faults' name cannot be decoded. None: no fault applies.
pub(super) fn corrupted(body: &[u8], call: &Call, faults: &[Fault]) -> Option<Vec<u8>> {
    let mut names = faults.iter().filter_map(|fault| if let Fault::Corrupt(name) = fault { Some(name) } else { None });
    let name = names.next().filter(|_| call.verb == Verb::List)?;
    let mut listing: Value = serde_json::from_slice(body).ok()?;
    for object in listing["items"].as_array_mut()? {
        corrupt(object, name);
    }
    Some(listing.to_string().into_bytes())
}

fn corrupt(object: &mut Value, name: &str) {
    if object["metadata"]["name"] == name {
        (object["spec"], object["status"]) = (json!(7), json!(7));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bookmarks_pass_if_the_fault_says_so() {
        let only = [Fault::OnlyBookmarks];
        assert_eq!(through(&Bytes::from_static(br#"{"type":"ADDED","object":{}}"#), &only), None);
        assert!(through(&Bytes::from_static(br#"{"type":"BOOKMARK","object":{}}"#), &only).is_some());
    }

    #[test]
    fn only_the_named_object_is_corrupted() {
        let faults = [Fault::Corrupt("bad".to_owned())];
        let line = |name: &str| Bytes::from(json!({"object": {"metadata": {"name": name}, "spec": {}}}).to_string());
        let spec =
            |line: Option<Bytes>| serde_json::from_slice::<Value>(&line.unwrap()).unwrap()["object"]["spec"].take();
        assert_eq!(spec(through(&line("bad"), &faults)), 7);
        assert_eq!(spec(through(&line("good"), &faults)), json!({}));
    }
}
