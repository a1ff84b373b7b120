//! What the lab says to the person in front of it.
//!
//! The lab is a terminal program: progress of long builds goes to standard error, results to standard output, so that
//! `lab demo | less` and shell redirections behave. All of it passes through here; nothing else may print.

use std::error::Error;

/// Prints a line of result to standard output.
#[expect(clippy::print_stdout, reason = "the one door to standard output of a terminal program")]
pub fn print_result(line: &str) {
    println!("{line}");
}

/// Prints a line of progress or trouble to standard error.
#[expect(clippy::print_stderr, reason = "the one door to standard error of a terminal program")]
pub fn print_progress(line: &str) {
    eprintln!("{line}");
}

/// Renders an error with its causes in one line, leaving out a cause that the text already contains.
///
/// kube's errors print their sources in their own `Display`; ours never do.
pub fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let message = inner.to_string();
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("could not read `kubeconfig`")]
    struct Outer {
        source: io::Error,
    }

    #[derive(Debug, thiserror::Error)]
    #[error("gave up: {source}")]
    struct Talkative {
        source: io::Error,
    }

    #[test]
    fn causes_follow_in_one_line() {
        let error = Outer { source: io::Error::other("disk on fire") };
        assert_eq!(error_chain(&error), "could not read `kubeconfig`: disk on fire");
    }

    #[test]
    fn a_cause_that_was_said_already_is_not_repeated() {
        let error = Talkative { source: io::Error::other("disk on fire") };
        assert_eq!(error_chain(&error), "gave up: disk on fire");
    }
}
