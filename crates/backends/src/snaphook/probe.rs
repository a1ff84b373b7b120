//! Whether SnapHook is there and knows the path of the contract, without asking it for anything: a `GET` of the path to
//! which checkpoints are posted.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::AUTHORIZATION;
use tokio::time::Instant;

use crate::exchange::{Times, bearer, exchange};
use crate::{NotSent, redact};
use snapwatcher_api::outcome::Reason;

use super::SnapHook;

/// How long connecting may take at the most, and how long the answer: a person waits for it.
const PATIENCE: Duration = Duration::from_secs(5);

/// What came of it; words are free of secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    Answered(StatusCode),
    /// The token file can't be used.
    BadToken(String),
    /// The connection never stood.
    Unreachable(String),
    /// The connection stood, and no complete answer came.
    NoAnswer(String),
}

impl SnapHook {
    /// Asks once.
    pub async fn probe(&self) -> Probe {
        let words = |text: &str| redact::redact(text).to_string();
        let token = match self.token().await {
            Ok(token) => token,
            Err(NotSent(_, message)) => return Probe::BadToken(words(&message)),
        };
        let mut request = self.client.get(self.endpoint.clone());
        if let Some(token) = &token {
            match bearer(token) {
                Ok(value) => request = request.header(AUTHORIZATION, value),
                Err(error) => return Probe::BadToken(words(&error.to_string())),
            }
        }
        let times = Times { connect: self.settings.request_timeout.min(PATIENCE), answer: PATIENCE };
        match exchange(request, token.as_deref(), times, Instant::now()).await {
            Ok(answer) => Probe::Answered(answer.status),
            Err(broken) => match broken.told("SnapHook", &self.shown) {
                (Reason::NoResponse, message) => Probe::NoAnswer(words(&message)),
                (_, message) => Probe::Unreachable(words(&message)),
            },
        }
    }

    /// Whom it asks, for people: without user, password and query.
    pub fn shown(&self) -> &str {
        &self.shown
    }
}
