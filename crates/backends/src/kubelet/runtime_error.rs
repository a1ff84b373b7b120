//! What the errors of container runtimes mean. A kubelet passes them on with status 500.
//!
//! Each kubelet uses the form `checkpointing of NAMESPACE/POD/CONTAINER failed (ERROR)`. The phrases below are those of
//! containerd and its shims, CRI-O, runc and crun as of 2026. Other runtimes say in a sentence of their own that they take no
//! checkpoints, so that is recognized too. Any other error is a checkpoint that failed.

use std::sync::LazyLock;

use regex::Regex;

use snapwatcher_api::outcome::Reason;

/// The form of a kubelet's response. Names have neither spaces nor parentheses, so a name is never taken for an error.
const FORM: (&str, &str) = ("checkpointing of ", " failed (");

/// The kubelet could not ask the API server about the right of the token. The runtime got no request.
const NOT_AUTHORIZED: &str = "authorization error";

/// The runtime can't take checkpoints, and only another runtime helps. In lower case, as all that follow.
const UNSUPPORTED: [&str; 11] = [
    // gRPC: the method is unknown (containerd before 2.0), or the task's shim has none (Kata, gVisor, Windows).
    "code = unimplemented",
    // ttrpc for Rust, of shims without the method (Kata, WebAssembly): `/containerd.task.v3.Task/Checkpoint is not supported`,
    // with the code NotFound. Its servers say the other two of a method and of a service that they don't register.
    ".task/checkpoint is not supported",
    ".task/checkpoint does not exist",
    ".task service does not exist",
    // cri-dockerd, which passes it on with the code Unknown.
    "desc = not implemented",
    "checkpointcontainer not implemented",
    // With the colon: CRIU says `function not implemented` (ENOSYS) of a system call.
    ": not implemented",
    // CRI-O, of runtimes that are not OCI runtimes.
    "configured runtime does not support checkpoint/restore",
    // runc and crun, built without CRIU.
    "has not been compiled with checkpoint/restore support",
    "compiled without criu support",
    // go-criu.
    "criu not supported",
];

/// The runtime can take checkpoints once its node is prepared.
const NOT_PREPARED: [&str; 8] = [
    // containerd 2.0 to 2.3, then later.
    "criu binary not found",
    // CRI-O, if `enable_criu_support` is off or there is no CRIU.
    "checkpoint/restore support not available",
    // go-criu ("failed to check for criu version"); runc.
    "requires at least criu",
    "criu version",
    "criu lacks support",
    "exec: \"criu\"",
    // crun, which loads CRIU as a library.
    "could not load `libcriu",
    "libcriu is too old",
];

/// A sentence that says of checkpoints that they are not supported: CRI-O's `checkpointing not implemented for runtimeVM` (Kata),
/// `the runtime does not support checkpointing`. Few words are between the two, so that a sentence about a part of a checkpoint is
/// none: `checkpoint of containers with a terminal is not supported`.
#[expect(clippy::expect_used, reason = "the pattern is a constant; the tests of this module use it")]
static SAYS_UNSUPPORTED: LazyLock<Regex> = LazyLock::new(|| {
    let not = r"(?:not (?:yet |currently |be )?(?:supported|implemented|provided)|unsupported|unimplemented)";
    let does_not =
        r"(?:does not|do not|did not|can ?not|doesn't|don't|can't) (?:yet |currently )?(?:support|implement|provide)";
    let object = r#"["'`]?[a-z0-9./_-]*checkpoint"#;
    let sentence = [
        // `checkpoint: operation not supported` is an error of a file system.
        format!(r#"checkpoint[a-z/()]*["'`]?(?:: | (?:[a-z]+ ){{0,3}}){not}\b"#),
        format!(r"{does_not} (?:[a-z]+ ){{0,3}}{object}"),
        format!(r"{not}(?: [a-z]+){{0,3}}:? {object}"),
        format!(r"(?:no|lacks|without) (?:[a-z]+ ){{0,2}}support for (?:[a-z]+ ){{0,2}}{object}"),
        format!(r"(?:no|lacks|without) {object}[a-z/]* support"),
    ];
    Regex::new(&sentence.join("|")).expect("a constant pattern")
});

/// In the errors of CRIU, which can say of a part of a container that it is not supported.
const CRIU: &str = "criu";

/// The kubelet got no answer from its runtime. The checkpoint may exist.
const NO_ANSWER: [&str; 3] = ["code = deadlineexceeded", "code = canceled", "code = unavailable"];

/// The kubelet could not connect to its runtime.
const NOT_CONNECTED: &str = "error while dialing";

/// The reason of a response with status 500 and this body.
pub(super) fn reason(body: &str) -> Reason {
    let body = body.to_lowercase();
    if body.starts_with(NOT_AUTHORIZED) {
        return Reason::Unauthorized;
    }
    let error = body.strip_prefix(FORM.0).and_then(|rest| rest.split_once(FORM.1)).map(|(_, error)| error);
    let Some(error) = error else { return Reason::BackendError };
    let contains = |phrases: &[&str]| phrases.iter().any(|phrase| error.contains(phrase));
    if contains(&UNSUPPORTED) {
        Reason::CheckpointUnsupported
    } else if contains(&NOT_PREPARED) {
        Reason::NodeNotPrepared
    } else if contains(&NO_ANSWER) {
        if error.contains(NOT_CONNECTED) { Reason::Busy } else { Reason::NoResponse }
    } else if !error.contains(CRIU) && SAYS_UNSUPPORTED.is_match(error) {
        Reason::CheckpointUnsupported
    } else {
        Reason::CheckpointFailed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn each_error_of_a_runtime_has_its_reason() {
        for (error, expected) in [
            (
                "rpc error: code = Unimplemented desc = unknown method CheckpointContainer",
                Reason::CheckpointUnsupported,
            ),
            (
                "rpc error: code = Unimplemented desc = method CheckpointContainer not implemented",
                Reason::CheckpointUnsupported,
            ),
            (
                "rpc error: code = Unknown desc = checkpointing container \"5d39\" failed: service Checkpoint: not implemented",
                Reason::CheckpointUnsupported,
            ),
            (
                "rpc error: code = Unknown desc = configured runtime does not support checkpoint/restore",
                Reason::CheckpointUnsupported,
            ),
            (
                "rpc error: code = Unknown desc = failed to checkpoint container 87ea: running \"/usr/bin/runc\" failed: this \
                 runc binary has not been compiled with checkpoint/restore support enabled (runc_nocriu)",
                Reason::CheckpointUnsupported,
            ),
            (
                "rpc error: code = Unknown desc = failed to checkpoint container 87ea: crun: Compiled without CRIU support. \
                 Checkpointing not available.",
                Reason::CheckpointUnsupported,
            ),
            (
                "rpc error: code = Unknown desc = CRIU binary not found or too old (<31600). Failed to checkpoint container \
                 \"5d39\": failed to check for criu version: exec: \"criu\": executable file not found in $PATH",
                Reason::NodeNotPrepared,
            ),
            (
                "rpc error: code = Unknown desc = failed to checkpoint container \"7bc2\": criu binary not found in shim path \
                 or system PATH",
                Reason::NodeNotPrepared,
            ),
            (
                "rpc error: code = Unknown desc = CRIU binary not found or too old (<31600). Failed to checkpoint container \
                 \"5d39\": checkpoint/restore requires at least CRIU 31600, current version is 31100",
                Reason::NodeNotPrepared,
            ),
            ("rpc error: code = Unknown desc = checkpoint/restore support not available", Reason::NodeNotPrepared),
            (
                "rpc error: code = Unknown desc = failed to checkpoint container 87ea: crun: could not load `libcriu.so.2`: \
                 `libcriu.so.2: cannot open shared object file`",
                Reason::NodeNotPrepared,
            ),
            (
                "rpc error: code = Unknown desc = checkpointing container \"5d39\" failed: runc did not terminate \
                 successfully: exit status 1: criu failed: type NOTIFY errno 0 path= /run/containerd/criu-dump.log: unknown",
                Reason::CheckpointFailed,
            ),
            (
                "rpc error: code = Unknown desc = failed to checkpoint container 87ea: crun: CRIU checkpointing failed -52.  \
                 Please check CRIU logfile /var/lib/dump.log",
                Reason::CheckpointFailed,
            ),
            (
                "rpc error: code = Unknown desc = failed to checkpoint container 87ea: can't freeze: function not implemented",
                Reason::CheckpointFailed,
            ),
            (
                "rpc error: code = NotFound desc = checkpointing container \"5d39\" failed: /containerd.task.v2.Task/Checkpoint \
                 is not supported: not found",
                Reason::CheckpointUnsupported,
            ),
            (
                "rpc error: code = NotFound desc = failed to checkpoint container \"5d39\": /containerd.task.v3.Task/Checkpoint \
                 is not supported",
                Reason::CheckpointUnsupported,
            ),
            (
                "rpc error: code = InvalidArgument desc = failed to checkpoint container \"5d39\": \
                 /containerd.task.v2.Task/Checkpoint does not exist: invalid argument",
                Reason::CheckpointUnsupported,
            ),
            (
                "rpc error: code = InvalidArgument desc = failed to checkpoint container \"5d39\": containerd.task.v3.Task \
                 service does not exist: invalid argument",
                Reason::CheckpointUnsupported,
            ),
            (
                "rpc error: code = Unknown desc = failed to checkpoint container \"5d39\": Checkpoint method: not implemented",
                Reason::CheckpointUnsupported,
            ),
            ("rpc error: code = Unknown desc = not implemented", Reason::CheckpointUnsupported),
            (
                "rpc error: code = Unknown desc = method CheckpointContainer not implemented",
                Reason::CheckpointUnsupported,
            ),
            (
                "rpc error: code = NotFound desc = an error occurred when try to find container \"5d39\": not found",
                Reason::CheckpointFailed,
            ),
            (
                "rpc error: code = Unknown desc = criu failed: Error (criu/sk-inet.c:191): inet: SO_REUSEPORT is not supported",
                Reason::CheckpointFailed,
            ),
            (
                "rpc error: code = Unknown desc = failed to checkpoint container 87ea: checkpointing not implemented for runtimeVM",
                Reason::CheckpointUnsupported,
            ),
            ("container app not found", Reason::CheckpointFailed),
            (
                "rpc error: code = Unknown desc = container \"5d39\" is in CONTAINER_EXITED state. only CONTAINER_RUNNING \
                 containers can be checkpointed",
                Reason::CheckpointFailed,
            ),
            ("rpc error: code = DeadlineExceeded desc = context deadline exceeded", Reason::NoResponse),
            ("rpc error: code = Canceled desc = context canceled", Reason::NoResponse),
            ("rpc error: code = Unavailable desc = error reading from server: EOF", Reason::NoResponse),
            (
                "rpc error: code = Unavailable desc = connection error: desc = \"transport: Error while dialing: dial unix \
                 /run/containerd/containerd.sock: connect: connection refused\"",
                Reason::Busy,
            ),
        ] {
            assert_eq!(reason(&format!("checkpointing of shop/web-0/app failed ({error})")), expected, "{error}");
        }
    }

    #[test]
    fn a_sentence_that_says_that_checkpoints_are_not_supported_is_recognized() {
        for (error, expected) in [
            ("checkpointing not implemented for runtimePod", true),
            ("checkpoint is not supported by this runtime", true),
            ("Checkpoint/restore is currently not supported", true),
            ("checkpoint operation is unsupported", true),
            ("the runtime handler kata does not support checkpointing", true),
            ("runtime \"runsc\" doesn't support container checkpoints", true),
            ("this shim cannot provide checkpoints", true),
            ("unsupported operation: checkpoint", true),
            ("not implemented: Checkpoint", true),
            ("method Checkpoint() not implemented", true),
            ("the sandbox has no support for checkpointing", true),
            ("runtime without checkpoint support", true),
            ("checkpoint of containers with a terminal attached is not supported", false),
            ("failed to write the checkpoint: open /x: operation not supported", false),
            ("failed to write the checkpoint: operation not supported", false),
            ("checkpointing container \"5d39\" failed: mount type nfs is not supported", false),
            ("criu failed: checkpoint is not supported for this socket", false),
            ("cannot checkpoint: file system does not support rename", false),
        ] {
            let expected = if expected { Reason::CheckpointUnsupported } else { Reason::CheckpointFailed };
            let body = format!("checkpointing of shop/web-0/app failed (rpc error: code = Unknown desc = {error})");
            assert_eq!(reason(&body), expected, "{error}");
        }
    }

    #[test]
    fn a_body_that_is_not_in_the_form_of_a_kubelet_is_no_error_of_a_runtime() {
        for (body, expected) in [
            ("", Reason::BackendError),
            ("criu binary not found", Reason::BackendError),
            ("Internal Server Error", Reason::BackendError),
            (
                "Authorization error (user=system:serviceaccount:snap:snapwatcher-kubelet, verb=create, resource=nodes, \
                 subresource=checkpoint)",
                Reason::Unauthorized,
            ),
            ("checkpointing of shop/web-0/libcriu failed (container libcriu not found)", Reason::CheckpointFailed),
        ] {
            assert_eq!(reason(body), expected, "{body}");
        }
    }
}
