//! Whether an answer of the API server is about one object, although its code can be that of an outage: a pure function of its text.
//!
//! The API server keeps the code that an admission webhook chooses, and has 500 for many other faults of one object. What a webhook
//! writes follows the API server's own words, so only the beginning counts: a webhook can neither hide an outage nor make one up.
//! Sources: `ToStatusErr`, `ErrCallingWebhook`, the mutating dispatcher and the quota evaluator of k8s.io/apiserver;
//! `github.com/evanphx/json-patch`; `ErrGRPCRequestTooLarge` of go.etcd.io/etcd/api.

use kube::core::Status;

/// Begins the message of each 500 that `NewInternalError` makes.
const INTERNAL: &str = "Internal error occurred: ";

/// Begins the message about what an admission webhook has answered: a denial, or a patch where none is allowed.
const OF_WEBHOOK: &str = "admission webhook \"";

/// Begin other messages about one object or one namespace.
const BEGINNINGS: [&str; 18] = [
    // A webhook that cannot be called.
    "failed calling webhook",
    // A patch of a webhook or a policy that does not fit the object.
    "add operation",
    "remove operation",
    "replace operation",
    "move operation",
    "copy operation",
    "test operation",
    "testing value",
    "operation missing path",
    "operation, missing",
    "error in add for ",
    "error in copy for ",
    "error in move for ",
    "error in remove for ",
    "error in test for ",
    "Unexpected kind: ",
    "Object 'Kind' is missing in",
    // The quotas of each namespace are evaluated one after the other.
    "resource quota evaluation timed out",
];

/// In the message about an object that is too large: of etcd, and of its gRPC client, if etcd takes more than that. The code is 500,
/// as for an etcd that is full. A person can fill an object up to the limit, so that a status has no room.
const TOO_LARGE: [&str; 2] = ["etcdserver: request is too large", "trying to send message larger than max"];

/// In the message of a policy, which can choose 401.
const OF_POLICY: &str = " is forbidden: ValidatingAdmissionPolicy '";

/// Whether an admission webhook has denied the request, with a code of its choice.
pub(super) fn is_denial(status: &Status) -> bool {
    own_words(status).starts_with(OF_WEBHOOK)
}

/// Whether the object was not written, for a reason that no other object shares.
pub(super) fn is_rejection(status: &Status) -> bool {
    let message = own_words(status);
    is_denial(status)
        || BEGINNINGS.iter().any(|beginning| message.starts_with(beginning))
        || is_too_large(status)
        || message.contains(OF_POLICY)
}

/// Whether the object is too large to be stored.
pub(super) fn is_too_large(status: &Status) -> bool {
    let message = own_words(status);
    !is_denial(status) && (status.code == 413 || TOO_LARGE.iter().any(|text| message.contains(text)))
}

fn own_words(status: &Status) -> &str {
    status.message.strip_prefix(INTERNAL).unwrap_or(&status.message)
}
