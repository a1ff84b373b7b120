//! Ordinary calls to the API server. kube sets no time limit on them; [`call`] does.

use std::sync::Arc;
use std::time::Duration;

use kube::core::Status;

use crate::tls::certificate_error;

use super::rejection::{is_denial, is_rejection, is_too_large};
use super::response_limit::ResponseTooLong;

/// The longest an ordinary call may take. The API server's own limit is 60 s.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a call to the API server has no result.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("could not {what}: the API server did not answer within {} s", CALL_TIMEOUT.as_secs())]
    TimedOut { what: String },
    #[error("could not {what}")]
    Failed { what: String, source: Box<kube::Error> },
    /// Every call fails so until the operator changes something.
    #[error("could not {what}: the certificate of the API server is not trusted ({cause}): {remedy}")]
    Untrusted { what: String, cause: String, remedy: &'static str },
    /// A proxy that rewrites the path of a request could do that.
    #[error(
        "could not {what}: the response is about `{received}`. Check the proxies between SnapWatcher and the API server"
    )]
    OtherObject { what: String, received: String },
    /// The error of a call whose result several operations wait for.
    #[error(transparent)]
    Shared(Arc<Self>),
    /// A write that got no response or a 5xx. A read after it, which the API server answered, shows that it has had no effect.
    #[error(transparent)]
    WithoutEffect(Box<Self>),
}

impl CallError {
    /// The API server's answer, if it gave one.
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Failed { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => Some(status),
                _ => None,
            },
            Self::TimedOut { .. } | Self::OtherObject { .. } | Self::Untrusted { .. } => None,
            Self::Shared(error) => error.status(),
            Self::WithoutEffect(error) => error.status(),
        }
    }

    /// The API server's answer, if no webhook has chosen its code.
    fn own_status(&self) -> Option<&Status> {
        self.status().filter(|status| !is_denial(status))
    }

    /// Whether the call failed for what it is about, so that others can still succeed: the API server rejected it, or it could
    /// not be made, or its response could not be read.
    pub fn is_about_object(&self) -> bool {
        match self {
            Self::TimedOut { .. } | Self::Untrusted { .. } => false,
            Self::OtherObject { .. } => true,
            Self::Shared(error) => error.is_about_object(),
            // The server answers reads. If it has answered the write too, it may reject all writes, as with a full etcd.
            Self::WithoutEffect(error) => error.status().is_none() || error.is_about_object(),
            Self::Failed { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => {
                    is_rejection(status) || status.code < 500 && !matches!(status.code, 401 | 408 | 429)
                }
                kube::Error::BuildRequest(_) | kube::Error::SerdeError(_) => true,
                kube::Error::Service(error) => error.is::<ResponseTooLong>(),
                _ => false,
            },
        }
    }

    /// Whether the API server did not respond within [`CALL_TIMEOUT`].
    pub fn is_timeout(&self) -> bool {
        match self {
            Self::TimedOut { .. } => true,
            Self::Shared(error) => error.is_timeout(),
            Self::WithoutEffect(error) => error.is_timeout(),
            Self::Failed { .. } | Self::OtherObject { .. } | Self::Untrusted { .. } => false,
        }
    }

    /// 404. A webhook that denies a request may choose this code, and those below, too.
    pub fn is_not_found(&self) -> bool {
        self.own_status().is_some_and(|status| status.code == 404)
    }

    /// 409 because of another resourceVersion.
    pub fn is_conflict(&self) -> bool {
        self.own_status().is_some_and(Status::is_conflict)
    }

    /// 409 because an object of that name exists.
    pub fn already_exists(&self) -> bool {
        self.own_status().is_some_and(Status::is_already_exists)
    }

    /// 403 because the namespace is being deleted, see `NamespaceTerminatingCause` of k8s.io/api.
    pub fn is_namespace_terminating(&self) -> bool {
        let causes =
            |status: &Status| status.details.iter().flat_map(|details| details.causes.clone()).collect::<Vec<_>>();
        self.own_status()
            .is_some_and(|status| causes(status).iter().any(|cause| cause.reason == "NamespaceTerminating"))
    }

    /// The object is too large to be stored.
    pub fn is_too_large(&self) -> bool {
        self.status().is_some_and(is_too_large)
    }

    /// Whether the server may have carried out the request: a timeout, a broken connection, or a 5xx that is not a rejection.
    pub fn is_ambiguous(&self) -> bool {
        self.status().is_none_or(|status| status.code >= 500 && !is_rejection(status))
    }

    /// The error of a write that is known to have had no effect, by a read after it.
    #[must_use]
    pub fn without_effect(self) -> Self {
        Self::WithoutEffect(Box::new(self))
    }
}

/// Makes one call that ends within [`CALL_TIMEOUT`]; `what` completes the sentence "could not ...".
pub async fn call<T>(what: impl Into<String>, request: impl Future<Output = kube::Result<T>>) -> Result<T, CallError> {
    match tokio::time::timeout(CALL_TIMEOUT, request).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(failed(what.into(), source)),
        Err(_) => Err(CallError::TimedOut { what: what.into() }),
    }
}

const GIVE_THE_CA: &str = "name its CA, or the certificate itself, by `certificate-authority` in the kubeconfig (in a pod: in \
                           ConfigMap `kube-root-ca.crt`)";

/// The text of rustls about a certificate names objects by number, and no way out.
fn failed(what: String, source: kube::Error) -> CallError {
    match certificate_error::in_chain(&source) {
        None => CallError::Failed { what, source: Box::new(source) },
        Some(why) => CallError::Untrusted {
            what,
            cause: certificate_error::cause(why),
            remedy: certificate_error::remedy(why).unwrap_or(GIVE_THE_CA),
        },
    }
}

#[cfg(test)]
mod tests {
    use snapwatcher_daemon::telemetry::error_chain;

    use super::*;

    #[test]
    fn the_text_of_a_kube_error_is_not_repeated() {
        let broken = serde_json::from_str::<u8>("{").unwrap_err();
        let words = broken.to_string();
        let line = error_chain(&kube::Error::SerdeError(broken));
        assert_eq!(line.matches(&words).count(), 1, "{line}");
    }

    #[test]
    fn an_answer_of_the_api_server_is_shown_as_message_and_code() {
        let status = Status::failure("leases is forbidden", "Forbidden").with_code(403);
        let api = || kube::Error::Api(Box::new(status.clone()));
        assert_eq!(error_chain(&api()), "leases is forbidden (403)");
        let call = CallError::Failed { what: "read the Lease".to_owned(), source: Box::new(api()) };
        assert_eq!(error_chain(&call), "could not read the Lease: leases is forbidden (403)");
    }

    #[test]
    fn only_an_error_that_concerns_all_calls_is_not_about_an_object() {
        let failed = |source| CallError::Failed { what: "read the pod".to_owned(), source: Box::new(source) };
        let code = |code| failed(kube::Error::Api(Box::new(Status::failure("no", "No").with_code(code))));
        let invalid = http::Request::get("/api/v1/namespaces/default/pods/a b").body(()).unwrap_err();
        let unbuilt = failed(kube::Error::BuildRequest(kube::core::request::Error::BuildRequest(invalid)));
        let undecoded = failed(kube::Error::SerdeError(serde_json::from_str::<u8>("{").unwrap_err()));
        for (case, error, expected) in [
            ("cannot be sent", unbuilt, true),
            ("a response that cannot be read", undecoded, true),
            ("a response that is too long", failed(kube::Error::Service(Box::new(ResponseTooLong))), true),
            ("no service", failed(kube::Error::Service("broken".into())), false),
            ("not found", code(404), true),
            ("gone", code(410), true),
            ("invalid", code(422), true),
            ("token not accepted", code(401), false),
            ("too many requests", code(429), false),
            ("unavailable", code(503), false),
            ("no connection", failed(kube::Error::LinesCodecMaxLineLengthExceeded), false),
            ("no answer", CallError::TimedOut { what: "read the pod".to_owned() }, false),
        ] {
            assert_eq!(error.is_about_object(), expected, "{case}");
            assert_eq!(CallError::Shared(Arc::new(error)).is_about_object(), expected, "{case}, shared");
        }
    }

    fn answered(code: u16, reason: &str, message: &str) -> CallError {
        let status = Status::failure(message, reason).with_code(code);
        let source = Box::new(kube::Error::Api(Box::new(status)));
        CallError::Failed { what: "create Checkpoint `a/b`".to_owned(), source }
    }

    #[test]
    fn a_webhook_that_fails_and_an_object_without_room_pause_no_other_object() {
        for message in [
            "Internal error occurred: failed calling webhook \"a.example.com\": connection refused",
            "etcdserver: request is too large",
            "rpc error: code = ResourceExhausted desc = trying to send message larger than max (2097160 vs. 2097152)",
            "Internal error occurred: admission webhook \"v.example.com\" denied the request: boom",
            "Internal error occurred: admission webhook \"v.example.com\" attempted to modify the object, which is not supported",
            "Internal error occurred: add operation does not apply: doc is missing path: \"/a/b\": missing value",
            "Internal error occurred: testing value /a failed: test failed",
            "Internal error occurred: error in remove for path: '/a': Unable to remove nonexistent key: a: missing value",
            "Internal error occurred: Object 'Kind' is missing in '{}'",
            "Internal error occurred: resource quota evaluation timed out",
        ] {
            let error = answered(500, "InternalError", message);
            assert!(error.is_about_object() && !error.is_ambiguous(), "{message}");
        }
    }

    #[test]
    fn a_denial_is_about_its_object_whatever_code_its_author_chooses() {
        let of_webhook = "admission webhook \"v.example.com\" denied the request: boom";
        let of_policy =
            "checkpoints \"b\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no";
        for (code, reason) in [
            (401, "Unauthorized"),
            (404, "NotFound"),
            (408, "Timeout"),
            (409, "Conflict"),
            (409, "AlreadyExists"),
            (429, "TooManyRequests"),
            (500, "InternalError"),
            (503, "ServiceUnavailable"),
            (504, "Timeout"),
        ] {
            let denied = answered(code, reason, of_webhook);
            assert!(denied.is_about_object() && !denied.is_ambiguous(), "{code}");
            assert!(!denied.is_not_found() && !denied.is_conflict() && !denied.already_exists(), "{code} {reason}");
        }
        assert!(answered(401, "Unauthorized", of_policy).is_about_object());
    }

    #[test]
    fn a_text_that_only_quotes_a_denial_is_no_denial() {
        for message in [
            "etcdserver: request timed out",
            "etcdserver: mvcc: database space exceeded",
            "Internal error occurred: resource quota",
            "Unauthorized: admission webhook \"v.example.com\" denied the request",
            "the server was asked: failed calling webhook",
        ] {
            for code in [401, 429, 500, 503] {
                assert!(!answered(code, "", message).is_about_object(), "{code} {message}");
            }
        }
        let denied =
            "admission webhook \"v.example.com\" denied the request: etcdserver: mvcc: database space exceeded";
        assert!(answered(500, "", denied).is_about_object());
    }

    #[test]
    fn a_write_without_a_response_and_without_effect_is_about_its_object() {
        let lost = || CallError::TimedOut { what: "create Checkpoint `a/b`".to_owned() };
        assert!(!lost().is_about_object() && lost().without_effect().is_about_object());
        let source = Box::new(kube::Error::Api(Box::new(Status::failure("no space", "No").with_code(500))));
        let rejected = CallError::Failed { what: "create Checkpoint `a/b`".to_owned(), source };
        assert!(!rejected.without_effect().is_about_object(), "the server may reject all writes");
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_without_an_answer_ends() {
        let error = call("read the Lease", std::future::pending::<kube::Result<()>>()).await.unwrap_err();
        assert_eq!(error.to_string(), "could not read the Lease: the API server did not answer within 10 s");
        assert!(error.is_ambiguous() && !error.is_not_found());
    }
}
