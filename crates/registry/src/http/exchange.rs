//! Sends one request and waits for the head of its response, without redirect, authentication and repeat.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderMap, HeaderValue};
use reqwest::{Body, Client, Method, Response, Url};
use tokio::time::timeout;

use super::pace::Pace;
use super::paced_body::PacedBody;
use super::progress::Progress;

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// How long nothing may be sent, nor arrive.
    pub(crate) silence: Duration,
}

/// A request without a response.
#[derive(Debug)]
pub(crate) enum Failure {
    Transport(reqwest::Error),
    /// Nothing was sent, and nothing arrived, for this time.
    Silent(Duration),
}

/// Sends a request and returns the response, whatever its status is.
pub(crate) async fn send(
    client: &Client,
    outgoing: &Outgoing,
    authorization: Option<HeaderValue>,
    pace: &Arc<Mutex<Pace>>,
) -> Result<Response, Failure> {
    let progress = Progress::default();
    let mut request = client.request(outgoing.method.clone(), outgoing.url.clone()).headers(outgoing.headers.clone());
    if let Some(authorization) = authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    request = if !outgoing.body.is_empty() {
        request.body(Body::wrap(PacedBody::new(outgoing.body.clone(), Arc::clone(pace), progress.clone())))
    } else if outgoing.method == Method::GET || outgoing.method == Method::HEAD {
        request
    } else {
        // The specification requires it, and hyper sends none for a request without a body.
        request.header(CONTENT_LENGTH, 0)
    };
    tokio::select! {
        biased;
        result = request.send() => result.map_err(Failure::Transport),
        () = progress.stopped(outgoing.silence) => Err(Failure::Silent(outgoing.silence)),
    }
}

/// The next piece of a body; `None` at its end.
pub(crate) async fn next_piece(response: &mut Response, silence: Duration) -> Result<Option<Bytes>, Failure> {
    match timeout(silence, response.chunk()).await {
        Ok(result) => result.map_err(Failure::Transport),
        Err(_) => Err(Failure::Silent(silence)),
    }
}
