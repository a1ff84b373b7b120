//! The errors that the API server answers with.

use kube::core::Status;
use kube::core::response::{StatusCause, StatusDetails};

/// Why the API server rejects a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// 400: the request contradicts itself. The text says how.
    BadRequest(&'static str),
    /// 403: the namespace is being deleted.
    NamespaceTerminating,
    /// 404: there is no such object, or for a creation no such namespace.
    NotFound,
    /// 409: an object of this name exists.
    AlreadyExists,
    /// 409: the object has another `resourceVersion` or another UID.
    Conflict,
    /// 410: the changes since that revision are forgotten.
    Expired,
    /// 422: the object breaks this rule.
    Invalid(&'static str),
    /// 500, without a reason: a creation names a `resourceVersion`.
    VersionInCreation,
}

impl Rejection {
    /// The HTTP code.
    pub fn code(self) -> u16 {
        match self {
            Self::BadRequest(_) => 400,
            Self::NamespaceTerminating => 403,
            Self::NotFound => 404,
            Self::AlreadyExists | Self::Conflict => 409,
            Self::Expired => 410,
            Self::Invalid(_) => 422,
            Self::VersionInCreation => 500,
        }
    }

    /// The reason in the answer.
    pub fn reason(self) -> &'static str {
        match self {
            Self::BadRequest(_) => "BadRequest",
            Self::NamespaceTerminating => "Forbidden",
            Self::NotFound => "NotFound",
            Self::AlreadyExists => "AlreadyExists",
            Self::Conflict => "Conflict",
            Self::Expired => "Expired",
            Self::Invalid(_) => "Invalid",
            Self::VersionInCreation => "",
        }
    }

    /// The reason of the cause in the answer, where a client reads it.
    pub fn cause(self) -> Option<&'static str> {
        matches!(self, Self::NamespaceTerminating).then_some("NamespaceTerminating")
    }

    /// The answer as a client gets it.
    pub fn status(self) -> Status {
        let message = match self {
            Self::BadRequest(message) | Self::Invalid(message) => message,
            Self::NamespaceTerminating => "the namespace is being deleted",
            Self::NotFound => "not found",
            Self::AlreadyExists => "the object exists already",
            Self::Conflict => "the object has been changed",
            Self::Expired => "the resourceVersion is too old",
            Self::VersionInCreation => "resourceVersion should not be set on objects to be created",
        };
        let status = Status::failure(message, self.reason()).with_code(self.code());
        let Some(cause) = self.cause() else { return status };
        let cause = StatusCause { reason: cause.to_owned(), message: String::new(), field: String::new() };
        status.with_details(StatusDetails {
            name: String::new(),
            group: String::new(),
            kind: String::new(),
            uid: String::new(),
            causes: vec![cause],
            retry_after_seconds: 0,
        })
    }
}
