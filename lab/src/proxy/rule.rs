//! Which requests a rule applies to, and how it makes them fail.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::json;

use super::call::{Call, Verb};

/// Selects requests. A request matches if it meets every condition.
#[derive(Clone, Debug, Default)]
pub struct When {
    verb: Option<Verb>,
    resource: Option<String>,
    name: Option<String>,
    text: Option<String>,
}

impl When {
    /// Matches every request.
    pub fn any() -> Self {
        Self::default()
    }

    /// Matches this verb on this resource: `When::call(Verb::Update, "checkpoints/status")`.
    pub fn call(verb: Verb, resource: &str) -> Self {
        Self { verb: Some(verb), resource: Some(resource.to_owned()), ..Self::default() }
    }

    /// Matches every request for this resource, but not for its subresources.
    pub fn about(resource: &str) -> Self {
        Self { resource: Some(resource.to_owned()), ..Self::default() }
    }

    /// Restricts the match to the object of this name. The path of a create request has no name.
    pub fn named(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Restricts the match to bodies that contain this text.
    pub fn holding(mut self, text: &str) -> Self {
        self.text = Some(text.to_owned());
        self
    }

    pub fn matches(&self, call: &Call) -> bool {
        self.verb.is_none_or(|verb| verb == call.verb)
            && self.resource.as_ref().is_none_or(|resource| *resource == call.resource)
            && self.name.as_ref().is_none_or(|name| Some(name) == call.name.as_ref())
            && self.text.as_ref().is_none_or(|text| call.body.contains(text))
    }
}

/// How the proxy makes a request fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The proxy reads the request, never answers, and leaves the connection open. Open watches receive nothing more.
    BlackHole,
    /// The proxy resets the connection and forwards nothing. It resets open watches too.
    Reset,
    /// The proxy forwards the request, and resets the connection in place of the response.
    LoseAnswer,
    /// The proxy answers with this status and a Status object, and does not forward the request.
    Answer(u16),
    /// The proxy answers 200 with an empty body: a watch that ends at once.
    EndAtOnce,
    /// The proxy answers 200 with one ERROR event of this code: how the API server ends a watch that is too old (410).
    ErrorEvent(u16),
    /// The proxy passes only the bookmarks of a watch. The fault reaches open watches too.
    OnlyBookmarks,
    /// The proxy makes objects of this name undecodable in lists and watches: it sets spec and status to a number.
    Corrupt(String),
    /// The proxy forwards the request after this time.
    Delay(Duration),
}

/// The Status object by which the API server reports this code.
pub(super) fn status_body(code: u16) -> String {
    let reason = match code {
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        410 => "Expired",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "InternalError",
    };
    let message = format!("the tests' proxy answers {code}");
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code});
    status.to_string()
}

pub(super) fn status_code(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_matches_when_it_meets_every_condition() {
        let path = "/apis/x.io/v1/namespaces/a/checkpoints/r/status".parse().unwrap();
        let call = Call::read(&"PUT".parse().unwrap(), &path, br#"{"phase":"InProgress"}"#);
        let update = When::call(Verb::Update, "checkpoints/status");
        assert!(When::any().matches(&call) && update.matches(&call));
        assert!(update.clone().named("r").holding("InProgress").matches(&call));
        assert!(!update.clone().named("other").matches(&call) && !update.holding("Succeeded").matches(&call));
        assert!(!When::about("checkpoints").matches(&call), "a subresource is another resource");
    }
}
