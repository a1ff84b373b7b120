//! Why an HTTP request gets no AdmissionReview as its response, and the HTTP status it gets instead.
//!
//! With each of these statuses, the API server acts by the failurePolicy of the webhook configuration; a fault of this
//! process is never `allowed: false`. The messages go back to the client, so they never quote the pod.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::error::Category;

/// How many characters of an unsupported apiVersion or kind are sent back to the client.
const MAX_QUOTED: usize = 64;

#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    #[error("expected content type `application/json`")]
    UnsupportedContentType,
    #[error("the body exceeds the limit of {} MiB", limit >> 20)]
    BodyTooLarge { limit: usize },
    #[error("the connection ended before the whole body arrived")]
    IncompleteBody,
    #[error("the body did not arrive in time")]
    BodyTimeout,
    #[error("too many concurrent large requests, try again")]
    TooManyLargeBodies,
    #[error("the body is empty; expected an AdmissionReview")]
    EmptyBody,
    #[error("the body is not UTF-8")]
    NotUtf8,
    #[error("the body {problem} at line {line} column {column}")]
    Undecodable { problem: &'static str, line: usize, column: usize },
    #[error("the pod's spec has an unexpected value at line {line} column {column} of the spec")]
    UndecodableSpec { line: usize, column: usize },
    #[error("expected `AdmissionReview` of `admission.k8s.io/v1`, found `{kind}` of `{api_version}`")]
    UnsupportedVersion { api_version: String, kind: String },
    #[error("the AdmissionReview has no request")]
    MissingRequest,
    #[error("the request's uid exceeds the limit of {limit} bytes")]
    UidTooLong { limit: usize },
    #[error("SnapWatcher is shutting down")]
    ShuttingDown,
    #[error("could not encode the response")]
    EncodeFailed { source: serde_json::Error },
}

impl RequestError {
    /// Keeps the kind and the position of serde_json's error; its message can quote the pod.
    pub(super) fn undecodable(error: &serde_json::Error) -> Self {
        let problem = match error.classify() {
            Category::Eof => "ends too early",
            Category::Data => "is not an AdmissionReview",
            Category::Syntax | Category::Io => "is not JSON",
        };
        Self::Undecodable { problem, line: error.line(), column: error.column() }
    }

    /// As [`Self::undecodable`], for the spec, which is known to be JSON.
    pub(super) fn undecodable_spec(error: &serde_json::Error) -> Self {
        Self::UndecodableSpec { line: error.line(), column: error.column() }
    }

    pub(super) fn unsupported_version(api_version: &str, kind: &str) -> Self {
        let cut = |text: &str| text.chars().take(MAX_QUOTED).collect();
        Self::UnsupportedVersion { api_version: cut(api_version), kind: cut(kind) }
    }

    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::UnsupportedContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::IncompleteBody
            | Self::EmptyBody
            | Self::NotUtf8
            | Self::Undecodable { .. }
            | Self::UndecodableSpec { .. }
            | Self::UnsupportedVersion { .. }
            | Self::MissingRequest
            | Self::UidTooLong { .. } => StatusCode::BAD_REQUEST,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::TooManyLargeBodies | Self::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
            Self::EncodeFailed { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for &RequestError {
    fn into_response(self) -> Response {
        (self.status(), format!("{self}\n")).into_response()
    }
}
