//! What the answers of registries about an upload mean.

use reqwest::StatusCode;

use crate::error::Cause;

/// Registries answer 202 or 204 to what they accept. Some of them, and proxies in front, say 200.
pub(super) const ACCEPTED: [StatusCode; 3] = [StatusCode::ACCEPTED, StatusCode::NO_CONTENT, StatusCode::OK];

/// Whether the registry does not know the upload, or no longer.
pub(super) fn is_unknown(cause: &Cause) -> bool {
    let is_gone = matches!(cause.status(), 404 | 410);
    let codes = ["BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID"];
    is_gone || cause.answer().is_some_and(|answer| codes.iter().any(|code| answer.has_code(code)))
}

/// Whether the registry does not say how much of an upload it has. The registry of go-containerregistry takes the question for one
/// for a blob, and answers 400.
pub(super) fn is_without_state(cause: &Cause) -> bool {
    !is_unknown(cause)
        && cause.answer().is_some_and(|answer| answer.is_unsupported() || answer.status == StatusCode::BAD_REQUEST)
}

/// Whether the registry has another number of bytes than the request assumes.
pub(super) fn is_range_refused(cause: &Cause) -> bool {
    cause.status() == StatusCode::RANGE_NOT_SATISFIABLE.as_u16()
}

pub(super) fn lost() -> Cause {
    Cause::UploadLost { why: "it does not know it, or has other bytes of it" }
}
