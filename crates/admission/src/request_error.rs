//! Why a request to the webhook gets no AdmissionReview: one list for all routes, each with its HTTP status.
//!
//! An own fault is never `allowed: false`: with any of these statuses the API server goes by the configuration's
//! failurePolicy. The words go back to the sender, so they never quote the body.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::error::Category;

use super::room::REVIEW_LIMIT;

/// How much of a wrong apiVersion or kind is repeated to the sender.
const QUOTED: usize = 64;

/// The API server's are UUIDs of 36 characters; a longer one would be remembered, and written into the pod.
pub(super) const LONGEST_UID: usize = 128;

#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("expected content type `application/json`")]
    ContentType,
    #[error("the body is longer than the {} MiB allowed", REVIEW_LIMIT >> 20)]
    TooLarge,
    #[error("the body did not arrive whole")]
    Lost,
    #[error("the body came too slowly")]
    Slow,
    #[error("too many long bodies are read at the moment")]
    Crowded,
    #[error("the body is empty; expected an AdmissionReview")]
    Empty,
    #[error("the body is not UTF-8")]
    NotUtf8,
    #[error("{problem} at line {line} column {column} of the body")]
    Undecodable { problem: &'static str, line: usize, column: usize },
    #[error("expected `AdmissionReview` of `admission.k8s.io/v1`, found `{kind}` of `{api_version}`")]
    Version { api_version: String, kind: String },
    #[error("the AdmissionReview holds no request")]
    NoRequest,
    #[error("the request's uid is longer than the {LONGEST_UID} characters allowed")]
    LongUid,
    #[error("could not write the answer")]
    Unwritable { source: serde_json::Error },
}

impl Refusal {
    /// Keeps of serde's error what quotes nothing.
    pub(super) fn undecodable(error: &serde_json::Error) -> Self {
        let problem = match error.classify() {
            Category::Eof => "the JSON ends too early",
            Category::Data => "the JSON is not an AdmissionReview",
            Category::Syntax | Category::Io => "the body is not JSON",
        };
        Self::Undecodable { problem, line: error.line(), column: error.column() }
    }

    pub(super) fn version(api_version: &str, kind: &str) -> Self {
        let quoted = |text: &str| text.chars().take(QUOTED).collect();
        Self::Version { api_version: quoted(api_version), kind: quoted(kind) }
    }

    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Lost
            | Self::Empty
            | Self::NotUtf8
            | Self::LongUid
            | Self::Undecodable { .. }
            | Self::Version { .. }
            | Self::NoRequest => StatusCode::BAD_REQUEST,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Crowded => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unwritable { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for &Refusal {
    fn into_response(self) -> Response {
        (self.status(), format!("{self}\n")).into_response()
    }
}
