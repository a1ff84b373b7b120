//! How the lab's test helpers fail.

use std::fmt::Display;

/// Returns the value, or panics with what could not be done and why.
#[expect(clippy::panic, reason = "a test fails by panicking")]
pub(crate) fn must<T, E: Display>(what: &str, outcome: Result<T, E>) -> T {
    match outcome {
        Ok(value) => value,
        Err(error) => panic!("could not {what}: {error}"),
    }
}
