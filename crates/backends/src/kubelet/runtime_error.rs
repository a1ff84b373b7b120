//! What the errors of container runtimes mean. A kubelet passes them on with status 500.
//!
//! Each kubelet uses the form `checkpointing of NAMESPACE/POD/CONTAINER failed (ERROR)`. The phrases below are those of
//! containerd and its shims, CRI-O, runc and crun as of 2026. Other runtimes say in a sentence of their own that they take no
//! checkpoints, so that is recognized too. Any other error is a checkpoint that failed.
//!
//! Phrases are looked for in the runtime's own words only. A container that could choose them would have its request counted as
//! not sent, and with another namespace pause its node for all pods.

use std::sync::LazyLock;

use regex::Regex;

use snapwatcher_api::outcome::Reason;

use super::own_words::own_words;

/// The form of a kubelet's response. Names have neither spaces nor parentheses, so a name is never taken for an error.
const FORM: (&str, &str) = ("checkpointing of ", " failed (");

/// The kubelet could not ask the API server about the right of the token. The runtime got no request.
const NOT_AUTHORIZED: &str = "authorization error";

/// The runtime can't take checkpoints, and only another runtime helps. In lower case, as all that follow.
const UNSUPPORTED: [&str; 12] = [
    // gRPC: the method is unknown (containerd before 2.0), or the task's shim has none (Kata, gVisor, Windows).
    "code = unimplemented",
    // ttrpc for Rust, of shims without the method (Kata, WebAssembly): `/containerd.task.v3.Task/Checkpoint is not supported`,
    // with the code NotFound. Its servers say the other two of a method and of a service that they don't register.
    ".task/checkpoint is not supported",
    ".task/checkpoint does not exist",
    ".task service does not exist",
    // ttrpc for Rust, of an error of the shim itself.
    "others(\"not supported\")",
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
const NOT_PREPARED: [&str; 12] = [
    // containerd 2.0 to 2.3, then later; with `enable_criu = false`.
    "criu binary not found",
    "criu support is disabled by configuration",
    // CRI-O, if `enable_criu_support` is off or there is no CRIU.
    "checkpoint/restore support not available",
    // go-criu ("failed to check for criu version"); runc.
    "requires at least criu",
    "criu version",
    "criu lacks support",
    "exec: \"criu\"",
    // crun, which loads CRIU as a library.
    "could not load `libcriu",
    "in `libcriu.so`",
    "libcriu is too old",
    "criu: failed checking version",
    // youki.
    "failed to create criu instance",
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
    let unknown = r"(?:unknown|unrecogni[sz]ed|undefined|invalid|unexpected|no|no such|not an?|not a valid)";
    let command = r"(?:sub-?command|command|help topic for|choice)";
    let not_known = r"(?:(?:(?:is|was) not|wasn't|isn't|not) (?:found|recogni[sz]ed|known|defined)|is unknown|does not exist|doesn't exist)";
    let sentence = [
        // `checkpoint: operation not supported` is an error of a file system.
        format!(r#"checkpoint[a-z/()]*["'`]?(?:: | (?:[a-z]+ ){{0,3}}){not}\b"#),
        format!(r"{does_not} (?:[a-z]+ ){{0,3}}{object}"),
        format!(r"{not}(?: [a-z]+){{0,3}}:? {object}"),
        format!(r"(?:no|lacks|without) (?:[a-z]+ ){{0,2}}support for (?:[a-z]+ ){{0,2}}{object}"),
        format!(r"(?:no|lacks|without) {object}[a-z/]* support"),
        // Of a program without the command: `unrecognized subcommand 'checkpoint'`, `No help topic for 'checkpoint'`.
        format!(r#"{unknown} {command}(?: name)?:? ["'`]?checkpoint\b"#),
        format!(r#"{command} ["'`]?checkpoint["'`]? {not_known}\b"#),
        format!(r#"\bcheckpoint["'`]?(?:: | is ){unknown} {command}\b"#),
        format!(r#"\bcheckpoint["'`]?(?:: | ){command} not found"#),
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
    let Some(words) = own_words(error) else { return Reason::CheckpointFailed };
    let contains = |phrases: &[&str]| phrases.iter().any(|phrase| words.contains(phrase));
    if contains(&UNSUPPORTED) {
        Reason::CheckpointUnsupported
    } else if contains(&NOT_PREPARED) {
        Reason::NodeNotPrepared
    } else if contains(&NO_ANSWER) {
        if error.contains(NOT_CONNECTED) { Reason::Busy } else { Reason::NoResponse }
    } else if !words.contains(CRIU) && SAYS_UNSUPPORTED.is_match(&words) {
        Reason::CheckpointUnsupported
    } else {
        Reason::CheckpointFailed
    }
}

#[cfg(test)]
mod tests;
