//! The words of what went wrong: of an error with its causes, and of a panic.
//!
//! An error is rendered once, at the place where it is handled. Our own error types keep the cause out of their
//! `Display`; kube's and some others print it. A line that joins both kinds says everything exactly once.

use std::any::Any;
use std::error::Error;

/// The error and its causes in one line, `: ` between them; a cause whose text already stands in the line is skipped.
pub fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !line.contains(&words) {
            line.push_str(": ");
            line.push_str(&words);
        }
        next = cause.source();
    }
    line
}

/// What a panic said; `panic!` carries a `&str` or a `String`.
pub fn panic_words(panic: &(dyn Any + Send)) -> &str {
    let words = panic.downcast_ref::<&str>().copied();
    words.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no words")
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
            assert_eq!(chain(&linked(causes)), expected);
        }
    }

    #[test]
    fn an_error_of_kube_is_not_told_twice() {
        let broken = serde_json::from_str::<u8>("{").unwrap_err();
        let words = broken.to_string();
        let line = chain(&kube::Error::SerdeError(broken));
        assert_eq!(line.matches(&words).count(), 1, "{line}");
    }
}
