//! Why something failed at a registry: what, on which repository, why, what to do, and what follows for the caller.

use std::fmt;
use std::time::Duration;

use snapwatcher_daemon::telemetry::innermost_cause;
use snapwatcher_kubernetes::tls::certificate_error;

use crate::answer::Answer;
use crate::auth::CredentialsError;
use crate::digest::{Digest, Reference, Tag};
use crate::http::{Failure, HopError};
use crate::repository_name::RepositoryName;

/// What failed at a registry. Its text has no credentials, no query of a URL, and what the registry said is redacted.
#[derive(Debug, thiserror::Error)]
#[error("could not {operation} in `{repository}`: {cause}")]
pub struct RegistryError {
    pub operation: Operation,
    pub repository: RepositoryName,
    pub cause: Cause,
}

/// What was to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    BeginUpload,
    /// The bytes that the registry has acknowledged so far.
    Upload {
        acknowledged: u64,
    },
    FinishUpload(Digest),
    CancelUpload,
    FindBlob(Digest),
    ReadBlob(Digest),
    PushManifest(Tag),
    Verify(Digest),
    ReadManifest(Reference),
    ListTags,
    DeleteManifest(Digest),
}

/// What follows from an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The same may succeed later: the registry is not reachable, not trusted, busy, or failed.
    RetryLater,
    /// The credentials are missing, wrong, or lack a right: an operator has to act.
    Credentials,
    /// The registry does not accept this, and repeating it changes nothing.
    Refused,
    /// The registry has lost the upload: the blob has to be uploaded from its first byte.
    UploadLost,
    /// The registry has other content than was sent. What it has must not be used, nor be relied on.
    WrongContent,
    /// What was to be read does not exist.
    NotFound,
}

/// Why it failed.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    #[error("could not connect to `{host}` ({why}); check that it runs, and that this node may connect to it")]
    Unreachable { host: String, why: String },
    #[error("the certificate of `{host}` is not trusted ({why}): {remedy}")]
    Untrusted { host: String, why: String, remedy: &'static str },
    #[error("no complete response from `{host}` ({why})")]
    NoResponse { host: String, why: String },
    #[error("nothing was sent to `{host}`, and nothing arrived, for {} s", limit.as_secs())]
    Silent { host: String, limit: Duration },
    #[error("`{host}` answered {answer}{remedy}")]
    Answered { host: String, answer: Answer, remedy: &'static str },
    #[error(
        "`{host}` does not accept the credentials of {origin} ({answer}); renew them, and let them push to the repository"
    )]
    Rejected { host: String, origin: String, answer: Answer },
    #[error("`{host}` requires credentials, and {origin} has none for it ({answer})")]
    NoCredentials { host: String, origin: String, answer: Answer },
    #[error(transparent)]
    CredentialsFile(#[from] CredentialsError),
    #[error("`{host}` requires an authentication that is not possible: {why}")]
    Authentication { host: String, why: String },
    #[error("`{host}` names another address, which is not used: {why}")]
    Hop { host: String, why: HopError },
    #[error("the answers of `{host}` are not as the specification of registries requires: {why}")]
    Protocol { host: String, why: String },
    #[error("{what} is longer than {limit} bytes")]
    TooLong { what: &'static str, limit: usize },
    #[error("the registry has other content: {why}")]
    WrongContent { why: String },
    #[error("the registry has lost the upload ({why}): upload the blob from its start")]
    UploadLost { why: &'static str },
    #[error("it does not exist")]
    NotFound,
    #[error("{last}; it was tried {failures} times within {} s", time.as_secs())]
    Repeated { last: Box<Self>, failures: u32, time: Duration },
}

impl RegistryError {
    /// What follows.
    pub fn kind(&self) -> ErrorKind {
        self.cause.kind()
    }

    /// The wait that the registry requests, longer than this client waits by itself.
    pub fn retry_after(&self) -> Option<Duration> {
        self.cause.answer().and_then(|answer| answer.retry_after)
    }
}

impl Cause {
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Unreachable { .. } | Self::Untrusted { .. } | Self::NoResponse { .. } | Self::Silent { .. } => {
                ErrorKind::RetryLater
            }
            Self::Answered { answer, .. } if answer.is_temporary() => ErrorKind::RetryLater,
            Self::Rejected { .. } | Self::NoCredentials { .. } | Self::CredentialsFile(_) => ErrorKind::Credentials,
            Self::Answered { .. }
            | Self::Authentication { .. }
            | Self::Hop { .. }
            | Self::Protocol { .. }
            | Self::TooLong { .. } => ErrorKind::Refused,
            Self::WrongContent { .. } => ErrorKind::WrongContent,
            Self::UploadLost { .. } => ErrorKind::UploadLost,
            Self::NotFound => ErrorKind::NotFound,
            Self::Repeated { last, .. } => last.kind(),
        }
    }

    /// Whether the request may be repeated at once: a certificate is not renewed within minutes.
    pub(crate) fn is_worth_repeating(&self) -> bool {
        self.kind() == ErrorKind::RetryLater && !matches!(self, Self::Untrusted { .. })
    }

    /// What the registry said, if that is the cause.
    pub(crate) fn answer(&self) -> Option<&Answer> {
        match self {
            Self::Answered { answer, .. } | Self::Rejected { answer, .. } | Self::NoCredentials { answer, .. } => {
                Some(answer)
            }
            Self::Repeated { last, .. } => last.answer(),
            _ => None,
        }
    }

    /// The status of the answer, or 0.
    pub(crate) fn status(&self) -> u16 {
        self.answer().map_or(0, |answer| answer.status.as_u16())
    }

    /// The cause of a request without a complete response. `host` is the server, for messages.
    pub(crate) fn of_failure(host: &str, failure: &Failure) -> Self {
        let host = host.to_owned();
        let error = match failure {
            Failure::Silent(limit) => return Self::Silent { host, limit: *limit },
            Failure::Transport(error) => error,
        };
        if let Some(why) = certificate_error::in_chain(error) {
            let remedy = certificate_error::remedy(why)
                .unwrap_or("name its CA, or the certificate itself, in the CA file of the registry");
            return Self::Untrusted { host, why: certificate_error::cause(why), remedy };
        }
        let why = innermost_cause(error);
        if error.is_connect() { Self::Unreachable { host, why } } else { Self::NoResponse { host, why } }
    }

    /// The cause of a 401 or 403. `origin` is where the credentials come from.
    pub(crate) fn of_unauthorized(host: &str, origin: &str, has_credentials: bool, answer: Answer) -> Self {
        let (host, origin) = (host.to_owned(), origin.to_owned());
        if has_credentials {
            Self::Rejected { host, origin, answer }
        } else {
            Self::NoCredentials { host, origin, answer }
        }
    }

    /// The cause of a refusal. `host` is the server, for messages.
    pub(crate) fn of_answer(host: &str, answer: Answer) -> Self {
        let remedy = match answer.status.as_u16() {
            413 => {
                ": it, or a proxy in front of it, limits the length of requests; raise that limit, or send shorter chunks"
            }
            404 if answer.has_code("NAME_UNKNOWN") => {
                ": create the repository, if this registry does not do it by itself"
            }
            _ => "",
        };
        Self::Answered { host: host.to_owned(), answer, remedy }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BeginUpload => f.write_str("begin an upload"),
            Self::Upload { acknowledged } => write!(f, "continue an upload at byte {acknowledged}"),
            Self::FinishUpload(digest) => write!(f, "finish the upload of blob {digest}"),
            Self::CancelUpload => f.write_str("cancel an upload"),
            Self::FindBlob(digest) => write!(f, "look for blob {digest}"),
            Self::ReadBlob(digest) => write!(f, "read blob {digest}"),
            Self::PushManifest(tag) => write!(f, "push manifest {tag}"),
            Self::Verify(digest) => write!(f, "verify manifest {digest}"),
            Self::ReadManifest(reference) => write!(f, "read manifest {reference}"),
            Self::ListTags => f.write_str("list the tags"),
            Self::DeleteManifest(digest) => write!(f, "delete manifest {digest}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;
    use snapwatcher_api::outcome::Redacted;

    use super::*;

    fn answered(status: u16, code: &str) -> Cause {
        let body = format!(r#"{{"errors":[{{"code":"{code}"}}]}}"#);
        let answer = Answer::of(StatusCode::from_u16(status).unwrap(), body.as_bytes(), None, Redacted::own);
        Cause::of_answer("a.example.com", answer)
    }

    #[test]
    fn each_cause_says_what_follows() {
        for (cause, expected) in [
            (answered(503, ""), ErrorKind::RetryLater),
            (answered(429, ""), ErrorKind::RetryLater),
            (answered(413, ""), ErrorKind::Refused),
            (answered(400, "MANIFEST_INVALID"), ErrorKind::Refused),
            (Cause::Silent { host: String::new(), limit: Duration::ZERO }, ErrorKind::RetryLater),
            (Cause::Hop { host: String::new(), why: HopError::Downgrade }, ErrorKind::Refused),
            (Cause::UploadLost { why: "" }, ErrorKind::UploadLost),
            (Cause::WrongContent { why: String::new() }, ErrorKind::WrongContent),
            (Cause::NotFound, ErrorKind::NotFound),
        ] {
            assert_eq!(cause.kind(), expected, "{cause}");
            let repeated = Cause::Repeated { last: Box::new(cause), failures: 8, time: Duration::from_secs(9) };
            assert_eq!(repeated.kind(), expected, "{repeated}");
        }
    }

    #[test]
    fn an_error_says_what_failed_where_why_and_what_to_do() {
        let error = RegistryError {
            operation: Operation::Upload { acknowledged: 8_388_608 },
            repository: "a.example.com/x".parse().unwrap(),
            cause: answered(413, ""),
        };
        assert_eq!(
            error.to_string(),
            "could not continue an upload at byte 8388608 in `a.example.com/x`: `a.example.com` answered 413: it, or a proxy in \
             front of it, limits the length of requests; raise that limit, or send shorter chunks"
        );
    }
}
