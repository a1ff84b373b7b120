//! The lab's output: results go to standard output, progress and errors to standard error.
//!
//! So `lab demo | less` and redirections work. Only this module prints.

use std::error::Error;

/// Prints a line to standard output.
#[expect(clippy::print_stdout, reason = "the one door to standard output of a terminal program")]
pub fn print_result(line: &str) {
    println!("{line}");
}

/// Prints a line to standard error.
#[expect(clippy::print_stderr, reason = "the one door to standard error of a terminal program")]
pub fn print_progress(line: &str) {
    eprintln!("{line}");
}

/// Renders an error and its causes in one line. Leaves out a cause that the text contains already.
///
/// The errors of kube print their sources in their own `Display`, those of the lab do not.
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
    #[error("failed: {source}")]
    struct Talkative {
        source: io::Error,
    }

    #[test]
    fn causes_follow_in_one_line() {
        let error = Outer { source: io::Error::other("disk on fire") };
        assert_eq!(error_chain(&error), "could not read `kubeconfig`: disk on fire");
    }

    #[test]
    fn a_cause_that_is_in_the_text_already_is_not_repeated() {
        let error = Talkative { source: io::Error::other("disk on fire") };
        assert_eq!(error_chain(&error), "failed: disk on fire");
    }
}
