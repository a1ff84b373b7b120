//! The text of errors with their causes, and of panics.
//!
//! An error becomes text once, where it is handled. Our own error types leave the cause out of their `Display`. The types
//! of kube and of some other crates include it. The functions of this module name each cause exactly once.

use std::any::Any;
use std::error::Error;
use std::io;

use kube::core::Status;
use tokio::task::JoinError;

use super::auth_error::safe_text;

/// The longest text of an error, in characters. An admission policy, or a webhook of someone else, may write any message into
/// a response of the API server.
const LONGEST: usize = 1024;

/// The error and its causes in one line, separated by `: `, of at most 1,024 characters. A cause whose text is already in the
/// line is left out.
///
/// A response of the API server appears as its message and its code.
pub fn error_chain(error: &(dyn Error + 'static)) -> String {
    let mut line = whole_chain(error);
    let mut ends = line.char_indices().map(|(end, _)| end).skip(LONGEST - 1);
    if let (Some(end), Some(_)) = (ends.next(), ends.next()) {
        line.truncate(end);
        line.push('…');
    }
    line
}

fn whole_chain(error: &(dyn Error + 'static)) -> String {
    let mut line = safe_text(error).unwrap_or_else(|| error.to_string());
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(text) = safe_text(cause) {
            // Each error above may show the text of this one, and the causes below are part of it.
            let shown = line.replace(&cause.to_string(), &text);
            return if shown.contains(&text) { shown } else { format!("{shown}: {text}") };
        }
        let text = match status(cause) {
            Some(status) => {
                // kube prints the response twice, once with all its fields.
                line = line.replace(&format!("ApiError: {status} ({status:?})"), &response_text(status));
                if !status.message.is_empty() {
                    line = line.replace(&status.to_string(), &response_text(status));
                }
                response_text(status)
            }
            None => cause.to_string(),
        };
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        next = cause.source();
    }
    line
}

/// The text of the innermost cause. The text of an HTTP client's own error repeats the URL with its password.
pub fn innermost_cause(error: &(dyn Error + 'static)) -> String {
    let mut cause = error.source();
    while let Some(inner) = cause.and_then(|cause| cause.source()) {
        cause = Some(inner);
    }
    match cause {
        None => error.to_string(),
        Some(cause) => match cause.downcast_ref::<io::Error>() {
            Some(io) if io.raw_os_error().is_some() => io.kind().to_string(),
            _ => cause.to_string(),
        },
    }
}

fn status<'e>(cause: &'e (dyn Error + 'static)) -> Option<&'e Status> {
    cause.downcast_ref().or_else(|| cause.downcast_ref::<Box<Status>>().map(AsRef::as_ref))
}

fn response_text(status: &Status) -> String {
    match (status.message.as_str(), status.reason.as_str()) {
        ("", "") => format!("HTTP {}", status.code),
        ("", text) | (text, _) => format!("{text} ({})", status.code),
    }
}

/// The message of a panic. `panic!` has a `&str` or a `String` as its payload.
pub fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// The text of a task that panicked or was aborted.
pub fn join_error_message(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => panic_message(panic.as_ref()).to_owned(),
        Err(error) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Command, ExitStatus, Output};

    use kube::client::AuthError;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Link {
        text: &'static str,
        source: Option<Box<Self>>,
    }

    fn linked(texts: &[&'static str]) -> Link {
        let (first, rest) = texts.split_first().unwrap();
        Link { text: first, source: (!rest.is_empty()).then(|| Box::new(linked(rest))) }
    }

    #[test]
    fn a_chain_names_each_cause_once() {
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

    #[test]
    fn a_long_text_is_cut() {
        let exact: &'static str = "é".repeat(LONGEST).leak();
        assert_eq!(error_chain(&linked(&[exact])), exact);
        let line = error_chain(&linked(&["could not read", exact]));
        assert_eq!(line.chars().count(), LONGEST);
        assert!(line.starts_with("could not read: é") && line.ends_with("é…"), "{line}");
    }

    fn failed(cmd: String) -> kube::Error {
        let out =
            Output { status: ExitStatus::from_raw(3 << 8), stdout: b"tok-hunter2X".into(), stderr: b"hunter2X".into() };
        kube::Error::Auth(AuthError::AuthExecRun { cmd, out: Box::new(out) })
    }

    #[test]
    fn a_program_for_credentials_that_fails_is_named_without_its_variables_arguments_and_output() {
        let mut command = Command::new("/usr/bin/aws");
        command.arg("--key=hunter2X").env("SECRET", "env-\"hunter2X\\").env("TOKEN", "hunter2X");
        for (cmd, name) in [
            (format!("{command:?}"), "the program `aws` that"),
            ("gcloud --token hunter2X".to_owned(), "the program that"),
            ("A=hunter2X \"b\"".to_owned(), "the program that"),
        ] {
            let text = error_chain(&failed(cmd));
            assert!(text.contains(name) && text.contains("exit status: 3") && !text.contains("hunter2X"), "{text}");
        }
    }
}
