//! The part of an error that a container runtime says in its own words.
//!
//! The rest may hold texts that a container chooses, such as the names of its files: CRI-O passes on what runc and crun print, and
//! these print the errors of CRIU's log. A file can have any name, so only the own words show what the runtime can do.

use std::sync::LazyLock;

use regex::Regex;

/// CRIU's log: as runc and crun announce it, the place in CRIU's source of an error, the time of a line.
static CRIU_LOG: LazyLock<Regex> =
    LazyLock::new(|| regex(r"--- quoting|--- excerpt|\(criu/|error \([a-z0-9_./-]+:\d+\)|\(\d{2,}\.\d{6}\)"));

/// How CRI-O names the command that failed. Nothing in it is chosen by a container.
static COMMAND: LazyLock<Regex> =
    LazyLock::new(|| regex(r#"^(?P<before>[^"'`/]*)running "[^"]*"(?: \[[^\]]*\])? failed: (?:`[^`]*` failed: )?"#));

/// How containerd's shim names a runtime that its configuration names by a path. Only this start of an error is sure to be the shim's.
static RUNTIME: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r#"^(?P<before>[a-z =:]*container "?[a-z0-9-]+"?(?: failed)?: )/\S+ (?P<after>did not terminate successfully: exit status \d+: )"#,
    )
});

/// The start of a line that runc logs.
static LOG_LINE: LazyLock<Regex> = LazyLock::new(|| regex(r#"time="[^"]*" level=[a-z]+ msg=""#));

/// The start of what a container may have chosen: a path, or a quotation of more than one word.
static CHOSEN: LazyLock<Regex> = LazyLock::new(|| regex(r#"(?:^|[\s(\[=:,])(?:/|["'`](?:/|[^"'`\s]*\s))"#));

/// Sentences of shims that look like the start of such a text.
static OF_SHIM: LazyLock<Regex> = LazyLock::new(|| {
    regex(r#"^(?: /containerd\.task\.v\d+\.task/checkpoint (?:is not supported|does not exist)|\("not supported"\))"#)
});

/// The own words of the runtime in this error in lower case. `None`: the error quotes CRIU's log, so CRIU has run.
pub(super) fn own_words(error: &str) -> Option<String> {
    if CRIU_LOG.is_match(error) {
        return None;
    }
    // Inside a quotation, quotes are escaped.
    let error = error.replace("\\\"", "\"");
    let error = COMMAND.replace(&error, "$before");
    let error = RUNTIME.replace(&error, "$before$after");
    let error = LOG_LINE.replace_all(&error, "");
    let chosen = CHOSEN.find_iter(&error).find(|chosen| !OF_SHIM.is_match(&error[chosen.start()..]));
    Some(error[..chosen.map_or(error.len(), |chosen| chosen.start())].to_owned())
}

#[expect(clippy::expect_used, reason = "the patterns are constants; the tests of this module use each")]
fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a constant pattern")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_words_end_where_a_container_may_have_chosen_a_text() {
        for (error, expected) in [
            ("desc = criu binary not found in path", "desc = criu binary not found in path"),
            ("lstat /tmp/criu lacks support: no such file", "lstat"),
            ("mount to `/tmp/x` failed: libcriu is too old`", "mount to"),
            ("label \"a criu version\" is wrong", "label"),
            ("(/criu version)", ""),
            ("exec: \"criu\": not found", "exec: \"criu\": not found"),
            ("could not load `libcriu.so.2`: `a b`", "could not load `libcriu.so.2`:"),
            ("it doesn't work", "it doesn't work"),
            (
                ": /containerd.task.v2.task/checkpoint is not supported: /x",
                ": /containerd.task.v2.task/checkpoint is not supported:",
            ),
            ("open /containerd.task.v2.task/x criu lacks support", "open"),
            (
                "x: running \"/usr/bin/runc\" [\"checkpoint\" \"5d39\"] failed: `/usr/bin/runc --root /run` failed: no",
                "x: no",
            ),
            (
                "container \"5d39\" failed: /usr/bin/crun did not terminate successfully: exit status 1: no",
                "container \"5d39\" failed: did not terminate successfully: exit status 1: no",
            ),
            (
                "container 87ea: lstat /x did not terminate successfully: exit status 1: criu version",
                "container 87ea: lstat",
            ),
            ("mount \"/x\" running \"\" failed: criu version", "mount"),
            ("a: time=\"2026-01-01t00:00:00z\" level=error msg=\"exec: \\\"criu\\\": no\"", "a: exec: \"criu\": no\""),
            ("a: time=\"2026\" level=error msg=\"open /x: time=\\\"\\\" level=a msg=\\\"criu version\"", "a: open"),
        ] {
            assert_eq!(own_words(error).as_deref(), Some(expected), "{error}");
        }
    }

    #[test]
    fn an_error_with_a_log_of_criu_shows_that_criu_has_run() {
        for error in [
            "runc: --- quoting \"/run/dump.log\"",
            "crun: --- excerpt from criu log `/run/dump.log`",
            "49:(00.067001) can't dump",
            "error (criu/files-reg.c:1031): can't dump ghost file x of 1 size",
            "error (compel/src/lib/infect.c:12): x",
        ] {
            assert_eq!(own_words(error), None, "{error}");
        }
    }
}
