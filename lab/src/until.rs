//! Waits for a state with a deadline. A failure says what was awaited and what was last seen.

use std::fmt::Display;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Long enough for a busy machine.
const TIMEOUT: Duration = Duration::from_secs(30);

const POLL: Duration = Duration::from_millis(50);

/// The result of one check: the state is reached, or this was seen instead.
pub trait Observation {
    type Value;
    fn outcome(self) -> Result<Self::Value, String>;
}

impl Observation for bool {
    type Value = ();

    fn outcome(self) -> Result<(), String> {
        if self { Ok(()) } else { Err("false".to_owned()) }
    }
}

impl<T> Observation for Option<T> {
    type Value = T;

    fn outcome(self) -> Result<T, String> {
        self.ok_or_else(|| "nothing".to_owned())
    }
}

impl<T, E: Display> Observation for Result<T, E> {
    type Value = T;

    fn outcome(self) -> Result<T, String> {
        self.map_err(|seen| seen.to_string())
    }
}

/// The state was not reached in time.
#[derive(Debug, thiserror::Error)]
#[error("waited {} s until {awaited}; last seen: {seen}", timeout.as_secs())]
pub struct WaitTimeout {
    awaited: String,
    timeout: Duration,
    seen: String,
}

/// Checks until the state is reached, and returns the check's value.
pub async fn try_until<L: Observation>(
    awaited: &str,
    timeout: Duration,
    mut look: impl AsyncFnMut() -> L,
) -> Result<L::Value, WaitTimeout> {
    let deadline = Instant::now() + timeout;
    let mut seen = "no look came back".to_owned();
    loop {
        // A check that hangs, as on a frozen server, must not outlast the deadline.
        match tokio::time::timeout_at(deadline, look()).await.map(L::outcome) {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(instead)) => seen = instead,
            Err(_) => {}
        }
        if Instant::now() >= deadline {
            return Err(WaitTimeout { awaited: awaited.to_owned(), timeout, seen });
        }
        sleep(POLL).await;
    }
}

/// Waits up to 30 s, for tests.
///
/// # Panics
///
/// If the state is not reached.
#[expect(clippy::panic, reason = "a test fails by panicking")]
pub async fn until<L: Observation>(awaited: &str, look: impl AsyncFnMut() -> L) -> L::Value {
    match try_until(awaited, TIMEOUT, look).await {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_value_of_the_first_successful_check_is_returned() {
        let mut looks = 0;
        let value = until("the third look", async || {
            looks += 1;
            if looks == 3 { Ok(looks) } else { Err(format!("look {looks}")) }
        });
        assert_eq!(value.await, 3);
    }

    #[tokio::test]
    async fn a_failure_says_what_was_awaited_and_what_was_seen() {
        let brief = Duration::from_millis(120);
        let error = try_until("the moon is full", brief, async || Err::<(), _>("half a moon")).await.unwrap_err();
        let message = error.to_string();
        assert!(message.contains("the moon is full") && message.contains("half a moon"), "{message}");
    }

    #[tokio::test]
    async fn a_check_that_hangs_does_not_outlast_the_deadline() {
        let brief = Duration::from_millis(120);
        let hanging = try_until("an answer", brief, async || std::future::pending::<bool>().await);
        let message = hanging.await.unwrap_err().to_string();
        assert!(message.contains("no look came back"), "{message}");
    }
}
