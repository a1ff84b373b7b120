//! How the stand-in answers: success, and each failure that SnapWatcher has to handle.

use std::str::FromStr;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use futures::{StreamExt, stream};
use tokio::sync::watch;

use super::contract::{Contract, Subject};
use super::kubelets::Kubelets;
use crate::server::ResetHandle;

/// Size of the response of `Behaviour::Huge`.
pub const HUGE: usize = 64 * 1024 * 1024;

/// What the stand-in does with a valid request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// 200, as SNAP answers after a checkpoint.
    Succeed,
    /// This status, with these headers and this body.
    Status { code: u16, headers: Vec<(String, String)>, body: String },
    /// 200 with `"success": false`, by which SNAP reports a failure.
    SuccessFalse { message: String },
    /// Success after this time.
    Delay(Duration),
    /// Reads the request and never answers.
    Hang,
    /// Announces a body, sends half of it and closes the connection.
    HalfBody,
    /// Reads the request and resets the connection.
    Reset,
    /// 200 without a body.
    Empty,
    /// 200 with a body that is not JSON.
    Garbage,
    /// 200 with JSON that is not an object.
    NotAnObject,
    /// 307 to another address.
    Redirect { to: String },
    /// 200 with 64 MiB of JSON.
    Huge,
    /// Success, sent one byte at a time with this pause between two bytes.
    Drip(Duration),
    /// Success as soon as the test opens the gate.
    Wait(Gate),
    /// Has the node's kubelet take a checkpoint and answers with its result.
    Kubelet(Kubelets),
}

/// Holds back responses until the test opens it. Clones share one gate.
#[derive(Clone, Debug, Default)]
pub struct Gate(watch::Sender<bool>);

impl Gate {
    /// Lets all waiting and future requests pass.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    async fn pass(&self) {
        // The sender lives in `self`, so the wait ends only when the gate is open.
        drop(self.0.subscribe().wait_for(|open| *open).await);
    }
}

impl PartialEq for Gate {
    fn eq(&self, other: &Self) -> bool {
        self.0.same_channel(&other.0)
    }
}

impl Eq for Gate {}

#[derive(Debug, thiserror::Error)]
#[error(
    "unknown behaviour `{0}`; allowed: success, status=CODE, success-false, delay=SECONDS, hang, half-body, reset, \
     empty, garbage, not-an-object, redirect=URL, huge, drip=MILLISECONDS"
)]
pub struct UnknownBehaviour(String);

impl FromStr for Behaviour {
    type Err = UnknownBehaviour;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || UnknownBehaviour(text.to_owned());
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        Ok(match name {
            "success" => Self::Succeed,
            "status" => {
                let code =
                    value.parse().ok().filter(|code| StatusCode::from_u16(*code).is_ok_and(|c| c.as_u16() >= 200));
                Self::status(code.ok_or_else(unknown)?)
            }
            "success-false" => Self::SuccessFalse { message: "checkpoint failed".to_owned() },
            "delay" => Self::Delay(Duration::from_secs(value.parse().map_err(|_| unknown())?)),
            "hang" => Self::Hang,
            "half-body" => Self::HalfBody,
            "reset" => Self::Reset,
            "empty" => Self::Empty,
            "garbage" => Self::Garbage,
            "not-an-object" => Self::NotAnObject,
            "redirect" if !value.is_empty() => Self::Redirect { to: value.to_owned() },
            "huge" => Self::Huge,
            "drip" => Self::Drip(Duration::from_millis(value.parse().map_err(|_| unknown())?)),
            _ => return Err(unknown()),
        })
    }
}

impl Behaviour {
    /// A response with this status and a plain text.
    pub fn status(code: u16) -> Self {
        Self::Status { code, headers: Vec::new(), body: format!("the stand-in answers {code}") }
    }

    /// Answers one request.
    pub(super) async fn answer(
        &self,
        contract: Contract,
        subject: &Subject,
        connection: &ResetHandle,
    ) -> Response<Body> {
        let success = || contract.success(subject).to_string();
        match self {
            Self::Succeed => json_answer(success()),
            Self::Status { code, headers, body } => status_answer(*code, headers, body),
            Self::SuccessFalse { message } => {
                json_answer(serde_json::json!({"success": false, "message": message}).to_string())
            }
            Self::Delay(pause) => {
                tokio::time::sleep(*pause).await;
                json_answer(success())
            }
            Self::Hang => std::future::pending().await,
            Self::HalfBody => half(&success()),
            Self::Reset => connection.reset().await,
            Self::Empty => Response::new(Body::empty()),
            Self::Garbage => Response::new(Body::from("<html>it works!</html>")),
            Self::NotAnObject => json_answer(r#"["success", true]"#.to_owned()),
            Self::Redirect { to } => status_answer(307, &[("location".to_owned(), to.clone())], ""),
            Self::Huge => huge(),
            Self::Drip(pause) => drip(&success(), *pause),
            Self::Wait(gate) => {
                gate.pass().await;
                json_answer(success())
            }
            Self::Kubelet(kubelets) => json_answer(kubelets.answer(contract, subject).await.to_string()),
        }
    }
}

pub(super) fn json_answer(body: String) -> Response<Body> {
    let mut answer = Response::new(Body::from(body));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

fn status_answer(code: u16, headers: &[(String, String)], body: &str) -> Response<Body> {
    let mut answer = Response::new(Body::from(body.to_owned()));
    *answer.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in headers {
        // Invalid headers are left out.
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            answer.headers_mut().insert(name, value);
        }
    }
    answer
}

fn half(body: &str) -> Response<Body> {
    let first = Bytes::copy_from_slice(&body.as_bytes()[..body.len() / 2]);
    // The pause lets the first half leave before the error closes the connection.
    let broken = stream::once(async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Err(std::io::Error::other("half is enough"))
    });
    let parts = stream::once(async move { Ok(first) }).chain(broken);
    sized(Body::from_stream(parts), body.len())
}

fn drip(body: &str, pause: Duration) -> Response<Body> {
    let bytes = body.as_bytes().to_vec();
    let length = bytes.len();
    let drops = stream::iter(bytes).then(move |byte| async move {
        tokio::time::sleep(pause).await;
        Ok::<_, std::io::Error>(Bytes::copy_from_slice(&[byte]))
    });
    sized(Body::from_stream(drops), length)
}

fn huge() -> Response<Body> {
    const OPEN: &str = r#"{"success":true,"message":""#;
    const CLOSE: &str = r#""}"#;
    const PIECE: usize = 64 * 1024;
    let piece = Bytes::from(vec![b'x'; PIECE]);
    let pieces = (HUGE - OPEN.len() - CLOSE.len()) / PIECE;
    let parts = std::iter::once(Bytes::from_static(OPEN.as_bytes()))
        .chain(std::iter::repeat_n(piece, pieces))
        .chain(std::iter::once(Bytes::from_static(CLOSE.as_bytes())));
    let length = OPEN.len() + pieces * PIECE + CLOSE.len();
    sized(Body::from_stream(stream::iter(parts.map(Ok::<_, std::io::Error>))), length)
}

/// A response that announces `length` bytes.
fn sized(body: Body, length: usize) -> Response<Body> {
    let mut answer = Response::new(body);
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behaviours_are_parsed_by_name() {
        for (text, expected) in [
            ("success", Behaviour::Succeed),
            ("status=503", Behaviour::status(503)),
            ("delay=2", Behaviour::Delay(Duration::from_secs(2))),
            ("drip=10", Behaviour::Drip(Duration::from_millis(10))),
            ("redirect=http://b.invalid", Behaviour::Redirect { to: "http://b.invalid".to_owned() }),
        ] {
            assert_eq!(text.parse::<Behaviour>().unwrap(), expected);
        }
    }

    #[test]
    fn an_unknown_behaviour_is_rejected_with_the_known_ones() {
        for text in ["sulk", "status=", "status=99", "delay=soon", "redirect="] {
            let message = text.parse::<Behaviour>().unwrap_err().to_string();
            assert!(message.contains(text) && message.contains("half-body"), "{message}");
        }
    }
}
