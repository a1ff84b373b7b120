//! What an answer of SnapHook makes of an attempt: the table "What each answer becomes" of docs/contracts.md.
//!
//! Pure: `now` is a parameter, and nothing here reads from a connection.

#[cfg(test)]
mod tests;

use jiff::Timestamp;
use reqwest::StatusCode;
use serde_json::{Map, Value};

use crate::exchange::Answer;
use crate::{redact, stopped};
use snapwatcher_api::outcome::{Location, Outcome, Reason};

/// Which outcome an answer stands for. `url` is for people; `node` is where a path in the answer lies.
pub(super) fn judge(answer: &Answer, url: &str, node: &str, now: Timestamp) -> Outcome {
    if answer.status.is_success() {
        return judge_success(answer, url, node);
    }
    let Some(reason) = reason(answer.status) else {
        return stopped(
            Reason::InvalidResponse,
            &format!("SnapHook at {url} answered with the odd status {}", answer.status),
        );
    };
    let body = answer.body.trim();
    let said = serde_json::from_str(body).ok().as_ref().and_then(message).unwrap_or_else(|| body.to_owned());
    let separator = if said.is_empty() { "" } else { ": " };
    Outcome::Failed {
        reason,
        message: redact::redact(&format!("SnapHook at {url} answered {}{separator}{said}", answer.status)),
        retry_after: answer.wished_wait(now),
    }
}

/// The reason that a status which is not 2xx stands for.
fn reason(status: StatusCode) -> Option<Reason> {
    match status.as_u16() {
        401 | 403 => Some(Reason::Unauthorized),
        404 => Some(Reason::EndpointNotFound),
        429 | 503 => Some(Reason::Busy),
        408 | 425 | 500..=599 => Some(Reason::BackendError),
        300..=499 => Some(Reason::Rejected),
        _ => None,
    }
}

fn judge_success(answer: &Answer, url: &str, node: &str) -> Outcome {
    let bad = |why: &str| {
        stopped(Reason::InvalidResponse, &format!("SnapHook at {url} answered {}, but {why}", answer.status))
    };
    if !answer.is_legible {
        return bad("the answer is too long or not UTF-8");
    }
    if answer.body.trim().is_empty() {
        return Outcome::Succeeded(Location::default());
    }
    let Ok(Value::Object(object)) = serde_json::from_str(&answer.body) else {
        return bad(&format!("the answer is not a JSON object: {}", answer.body));
    };
    match object.get("success") {
        None | Some(Value::Bool(true)) => Outcome::Succeeded(location(&object, node)),
        // SNAP's way of failing; of any other 2xx it is not known, so nothing is concluded from it.
        Some(Value::Bool(false)) if answer.status == StatusCode::OK => {
            let said = message(&Value::Object(object)).unwrap_or_else(|| "it gives no reason".to_owned());
            stopped(Reason::BackendFailed, &format!("SnapHook at {url} failed: {said}"))
        }
        Some(_) => bad(&format!("its `success` can't be understood: {}", answer.body)),
    }
}

/// Where SNAP (`message`), FastAPI (`detail`) and most others (`error`) say what went wrong.
fn message(answer: &Value) -> Option<String> {
    ["message", "detail", "error"].iter().find_map(|key| match answer.get(key)? {
        Value::String(text) if !text.trim().is_empty() => Some(text.clone()),
        details @ (Value::Array(_) | Value::Object(_)) => Some(details.to_string()),
        _ => None,
    })
}

fn location(object: &Map<String, Value>, node: &str) -> Location {
    let place = |key: &str| object.get(key).and_then(Value::as_str).and_then(redact::redact_place);
    let archive = place("checkpoint_path");
    Location { node: archive.as_ref().map(|_| node.to_owned()), archive, image: place("image_tag") }
}
