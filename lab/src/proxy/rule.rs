//! What happens to which requests.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::json;
use tokio::sync::watch;

use super::call::{Call, Verb};

/// Chooses requests; all that is said has to hold.
#[derive(Clone, Debug, Default)]
pub struct When {
    verb: Option<Verb>,
    resource: Option<String>,
    name: Option<String>,
    text: Option<String>,
}

impl When {
    /// Every request.
    pub fn any() -> Self {
        Self::default()
    }

    /// This verb on this resource: `When::call(Verb::Update, "checkpoints/status")`.
    pub fn call(verb: Verb, resource: &str) -> Self {
        Self { verb: Some(verb), resource: Some(resource.to_owned()), ..Self::default() }
    }

    /// Every request about this resource, but not about its subresources.
    pub fn about(resource: &str) -> Self {
        Self { resource: Some(resource.to_owned()), ..Self::default() }
    }

    /// Only for the object of this name (which a creation does not have in its path).
    pub fn named(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Only where the body holds this text.
    pub fn holding(mut self, text: &str) -> Self {
        self.text = Some(text.to_owned());
        self
    }

    pub fn meets(&self, call: &Call) -> bool {
        self.verb.is_none_or(|verb| verb == call.verb)
            && self.resource.as_ref().is_none_or(|resource| *resource == call.resource)
            && self.name.as_ref().is_none_or(|name| Some(name) == call.name.as_ref())
            && self.text.as_ref().is_none_or(|text| call.body.contains(text))
    }
}

/// What goes wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Taken in, never answered, and the connection stays open. Watches that run already fall silent for ever.
    BlackHole,
    /// The connection is reset and nothing is forwarded. Watches that run already are reset too.
    Reset,
    /// Forwarded; in place of the answer the connection is reset.
    LoseAnswer,
    /// Answered with this status, as the API server words it, and not forwarded.
    Answer(u16),
    /// 200 with nothing in it: a watch that ends at once.
    EndAtOnce,
    /// 200, one ERROR event with this code, and the end: what a watch is told that is too old, for example 410.
    ErrorEvent(u16),
    /// A watch, also one that runs already, tells its bookmarks only.
    OnlyBookmarks,
    /// Objects of this name can't be decoded, in listings and in watches: spec and status are a number.
    Garble(String),
    /// Forwarded after a while.
    Delay(Duration),
}

/// What the test decided about a request that was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Deliver,
    Lose,
}

/// Where a request is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Request,
    Answer,
}

/// A request that is held until the test decides; the other half of [`super::Stop`].
#[derive(Clone, Debug)]
pub(super) struct Hold {
    pub(super) place: Place,
    pub(super) reached: watch::Sender<Option<Call>>,
    pub(super) decided: watch::Receiver<Option<Decision>>,
}

impl Hold {
    /// Says that the request is here, and waits for the decision; a test that has gone wants nothing more.
    pub(super) async fn decision(mut self, call: &Call) -> Decision {
        self.reached.send_replace(Some(call.clone()));
        let decided = self.decided.wait_for(Option::is_some).await;
        decided.ok().and_then(|decision| *decision).unwrap_or(Decision::Lose)
    }
}

#[derive(Clone, Debug)]
pub(super) enum Action {
    Fail(Fault),
    Hold(Hold),
}

/// One rule; `left` of None holds until it is lifted.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) id: u64,
    pub(super) when: When,
    pub(super) action: Action,
    pub(super) left: Option<usize>,
}

/// A Status object as the API server answers it.
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
    fn a_rule_meets_a_request_when_all_it_says_holds() {
        let path = "/apis/x.io/v1/namespaces/a/checkpoints/r/status".parse().unwrap();
        let call = Call::read(&"PUT".parse().unwrap(), &path, br#"{"phase":"InProgress"}"#);
        let update = When::call(Verb::Update, "checkpoints/status");
        assert!(When::any().meets(&call) && update.meets(&call));
        assert!(update.clone().named("r").holding("InProgress").meets(&call));
        assert!(!update.clone().named("other").meets(&call) && !update.holding("Succeeded").meets(&call));
        assert!(!When::about("checkpoints").meets(&call), "a subresource is another resource");
    }
}
