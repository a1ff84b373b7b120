//! What the response of SnapHook means: the table "What each response becomes" of docs/contracts.md.
//!
//! Pure: `now` is a parameter, and nothing here reads from a connection.

#[cfg(test)]
mod tests;

use jiff::Timestamp;
use reqwest::StatusCode;
use serde_json::{Map, Value};

use snapwatcher_api::outcome::{Location, Outcome, Reason};

use crate::failure::failed;
use crate::http::BackendResponse;
use crate::redact;

/// `detail` of FastAPI, in which SnapHook is written, for a path that it does not serve.
const UNKNOWN_PATH: &str = "Not Found";

/// Texts of a 403 that are about the credentials of all requests: those of FastAPI, and what a server says that gives no reason.
const UNAUTHENTICATED: [&str; 5] =
    ["Not authenticated", "Invalid authentication credentials", "Invalid token", "Forbidden", "Unauthorized"];

/// The outcome of an attempt with this response. `url` is for messages; an archive in the response is on `node`. A 404
/// [about an unknown pod](unknown_pod) can be about the URL all the same.
pub(super) fn outcome(
    response: &BackendResponse,
    is_about_url: bool,
    url: &str,
    node: &str,
    now: Timestamp,
) -> Outcome {
    if response.status.is_success() {
        return success(response, url, node);
    }
    let status = response.status;
    let reason = reason(response);
    let reason = if is_about_url { reason.map(|_| Reason::EndpointNotFound) } else { reason };
    let Some(reason) = reason else {
        return failed(
            Reason::InvalidResponse,
            &format!("SnapHook at {url} answered with the unknown status {status}"),
        );
    };
    let body = response.body.trim();
    let text = response.shown(&own_message(body).unwrap_or_else(|| body.to_owned()));
    let separator = if text.is_empty() { "" } else { ": " };
    Outcome::Failed {
        reason,
        message: redact::redact(&format!("SnapHook at {url} answered {status}{}{separator}{text}", remedy(reason))),
        retry_after: response.retry_after(now),
    }
}

/// The text of a 404 that says of a pod that it is not known.
pub(super) fn unknown_pod(response: &BackendResponse) -> Option<String> {
    let is_about_pod = response.status == StatusCode::NOT_FOUND && reason(response) == Some(Reason::PodNotFound);
    if is_about_pod { own_message(response.body.trim()) } else { None }
}

/// The reason of a status that is not 2xx. 403 and 404 can be about one pod; they delay no other pod then.
fn reason(response: &BackendResponse) -> Option<Reason> {
    let text = own_message(response.body.trim());
    let is_about_path = || text.as_ref().is_none_or(|text| text.eq_ignore_ascii_case(UNKNOWN_PATH));
    let is_about_credentials =
        || text.as_ref().is_none_or(|text| UNAUTHENTICATED.iter().any(|known| text.eq_ignore_ascii_case(known)));
    match response.status.as_u16() {
        401 => Some(Reason::Unauthorized),
        403 if is_about_credentials() => Some(Reason::Unauthorized),
        403 => Some(Reason::PodForbidden),
        404 if is_about_path() => Some(Reason::EndpointNotFound),
        404 => Some(Reason::PodNotFound),
        429 | 503 => Some(Reason::Busy),
        408 | 425 | 500..=599 => Some(Reason::BackendError),
        300..=499 => Some(Reason::Rejected),
        _ => None,
    }
}

/// What to do. A message gives it before the text of SnapHook, because the end of a message may be cut off.
fn remedy(reason: Reason) -> &'static str {
    match reason {
        Reason::Unauthorized => " (set a valid token by `--snap-back-api-token-file`)",
        Reason::PodForbidden => " (allow the token of `--snap-back-api-token-file` to take checkpoints of this pod)",
        Reason::EndpointNotFound => " (check `--snap-back-api-url` and `--snap-back-api-contract`)",
        Reason::Rejected => " (compare `--snap-back-api-contract` with the server)",
        _ => "",
    }
}

fn success(response: &BackendResponse, url: &str, node: &str) -> Outcome {
    let invalid = |why: &str| {
        failed(Reason::InvalidResponse, &format!("SnapHook at {url} answered {}, but {why}", response.status))
    };
    if !response.is_readable {
        return invalid("the response is too long or not UTF-8");
    }
    if response.body.trim().is_empty() {
        return Outcome::Succeeded(Location::default());
    }
    let Ok(Value::Object(object)) = serde_json::from_str(&response.body) else {
        return invalid(&format!("the response is not a JSON object: {}", response.shown(&response.body)));
    };
    match object.get("success") {
        None | Some(Value::Bool(true)) => Outcome::Succeeded(location(&object, node)),
        // SNAP reports failures with status 200. What `false` means with another 2xx is not known.
        Some(Value::Bool(false)) if response.status == StatusCode::OK => {
            let text = message(&Value::Object(object));
            let text = text.map_or_else(|| "it gives no reason".to_owned(), |text| response.shown(&text));
            failed(Reason::BackendFailed, &format!("SnapHook at {url} failed: {text}"))
        }
        Some(_) => invalid(&format!("its field `success` has an unexpected value: {}", response.shown(&response.body))),
    }
}

/// The error text of a body that is JSON.
fn own_message(body: &str) -> Option<String> {
    serde_json::from_str(body).ok().as_ref().and_then(message)
}

/// The error text of the body: `message` of SNAP, `detail` of FastAPI, `error` of most others.
fn message(body: &Value) -> Option<String> {
    ["message", "detail", "error"].iter().find_map(|key| match body.get(key)? {
        Value::String(text) if !text.trim().is_empty() => Some(text.clone()),
        details @ (Value::Array(_) | Value::Object(_)) => Some(details.to_string()),
        _ => None,
    })
}

fn location(object: &Map<String, Value>, node: &str) -> Location {
    let place = |key: &str| object.get(key).and_then(Value::as_str).and_then(redact::redact_place);
    let archive = place("checkpoint_path");
    Location {
        node: archive.as_ref().map(|_| node.to_owned()),
        archive,
        image: place("image_tag"),
        counted_bytes: None,
    }
}
