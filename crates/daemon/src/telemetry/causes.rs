//! The words of what went wrong: of an error with its causes, and of a panic.
//!
//! An error is rendered once, at the place where it is handled. Our own error types keep the cause out of their
//! `Display`; kube's and some others print it. A line that joins both kinds says everything exactly once.

use std::any::Any;
use std::error::Error;

use kube::core::Status;
use tokio::task::JoinError;

/// The error and its causes in one line, `: ` between them; a cause whose text already stands in the line is skipped.
/// What the API server answered is told as its message and code.
pub fn error_chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = match status(cause) {
            Some(status) => {
                // kube prints the answer twice, once with all its fields.
                line = line.replace(&format!("ApiError: {status} ({status:?})"), &answer(status));
                if !status.message.is_empty() {
                    line = line.replace(&status.to_string(), &answer(status));
                }
                answer(status)
            }
            None => cause.to_string(),
        };
        if !line.contains(&words) {
            line.push_str(": ");
            line.push_str(&words);
        }
        next = cause.source();
    }
    line
}

fn status<'e>(cause: &'e (dyn Error + 'static)) -> Option<&'e Status> {
    cause.downcast_ref().or_else(|| cause.downcast_ref::<Box<Status>>().map(AsRef::as_ref))
}

fn answer(status: &Status) -> String {
    match (status.message.as_str(), status.reason.as_str()) {
        ("", "") => format!("HTTP {}", status.code),
        ("", words) | (words, _) => format!("{words} ({})", status.code),
    }
}

/// What a panic said; `panic!` carries a `&str` or a `String`.
pub fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let words = panic.downcast_ref::<&str>().copied();
    words.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no words")
}

/// What a task that did not end by itself said.
pub fn join_error_message(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => panic_message(panic.as_ref()).to_owned(),
        Err(error) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{words}")]
    struct Link {
        words: &'static str,
        source: Option<Box<Self>>,
    }

    fn linked(words: &[&'static str]) -> Link {
        let (first, rest) = words.split_first().unwrap();
        Link { words: first, source: (!rest.is_empty()).then(|| Box::new(linked(rest))) }
    }

    #[test]
    fn a_chain_says_each_cause_once() {
        for (causes, expected) in [
            (&["could not read"][..], "could not read"),
            (&["could not read", "permission denied"], "could not read: permission denied"),
            (&["watch failed: no route", "no route"], "watch failed: no route"),
            (&["watch failed: no route", "no route", "errno 113"], "watch failed: no route: errno 113"),
            (&["a", "b", "c"], "a: b: c"),
        ] {
            assert_eq!(error_chain(&linked(causes)), expected);
        }
    }
}
