//! The path from a request's body to the response's body, without HTTP, logging, metrics and state: for benchmarks and
//! fuzzing.

use axum::http::StatusCode;

use super::mutate;
use super::request_error::RequestError;
use super::review::AdmissionRequest;
use super::validate::{self, ValidationMode};

/// The AdmissionReview that `/mutate` sends for this body, or the HTTP status of its error.
pub fn mutate_response(body: &[u8]) -> Result<Vec<u8>, StatusCode> {
    respond_to_mutate(body).map_err(|error| error.status())
}

/// The AdmissionReview that `/validate` sends for this body, or the HTTP status of its error.
pub fn validate_response(body: &[u8], mode: ValidationMode) -> Result<Vec<u8>, StatusCode> {
    respond_to_validate(body, mode).map_err(|error| error.status())
}

fn respond_to_mutate(body: &[u8]) -> Result<Vec<u8>, RequestError> {
    let request = AdmissionRequest::decode(body)?;
    let response = mutate::decide(&request).response(&request.uid).and_then(|response| response.encode());
    response.map_err(|source| RequestError::EncodeFailed { source })
}

fn respond_to_validate(body: &[u8], mode: ValidationMode) -> Result<Vec<u8>, RequestError> {
    let request = AdmissionRequest::decode(body)?;
    let decision = validate::decide(&request, mode)?;
    decision.response(&request.uid).encode().map_err(|source| RequestError::EncodeFailed { source })
}
