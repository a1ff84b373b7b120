//! From the bytes of a body to those of the answer: what the two routes do, with nothing remembered and nothing counted.
//! For benchmarks and fuzzing.

use axum::http::StatusCode;
use serde::de::IgnoredAny;

use super::criu::PodSpec;
use super::mutate;
use super::refusal::Refusal;
use super::review::Request;
use super::validate::{self, ValidationMode};

/// The AdmissionReview that answers this one, or the status of a refusal.
pub fn answer_to_mutate(body: &[u8]) -> Result<Vec<u8>, StatusCode> {
    let answer = || -> Result<String, Refusal> {
        let request: Request<'_, IgnoredAny> = Request::decode(body)?;
        mutate::decide(&request).answer(&request.uid)?.encode()
    };
    answer().map(String::into_bytes).map_err(|refusal| refusal.status())
}

/// The same for validation.
pub fn answer_to_validate(body: &[u8], mode: ValidationMode) -> Result<Vec<u8>, StatusCode> {
    let answer = || -> Result<String, Refusal> {
        let request: Request<'_, PodSpec<'_>> = Request::decode(body)?;
        validate::judge(&request, mode).answer(&request.uid).encode()
    };
    answer().map(String::into_bytes).map_err(|refusal| refusal.status())
}
