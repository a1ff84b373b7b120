//! A limit on repeated log lines: what is wrong with one pod is usually wrong with all pods of its workload.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The same line may be logged again after this time.
const REPEAT_AFTER: Duration = Duration::from_secs(3600);
/// How many different lines may be logged within [`REPEAT_AFTER`].
const MAX_LINES: usize = 100;

/// The lines that were logged within [`REPEAT_AFTER`], by key, with the time of each.
#[derive(Default)]
pub struct LogThrottle(Mutex<HashMap<String, Instant>>);

impl LogThrottle {
    /// Whether the line with this key may be logged now; if so, the line counts as logged.
    pub fn should_log(&self, key: &str, now: Instant) -> bool {
        let mut logged = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        logged.retain(|_, at| now.saturating_duration_since(*at) < REPEAT_AFTER);
        let should_log = logged.len() < MAX_LINES && !logged.contains_key(key);
        if should_log {
            logged.insert(key.to_owned(), now);
        }
        should_log
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_logged_once_an_hour() {
        let (throttle, start) = (LogThrottle::default(), Instant::now());
        assert!(throttle.should_log("shop/web-", start) && throttle.should_log("shop/db-", start));
        assert!(!throttle.should_log("shop/web-", start + Duration::from_secs(3599)));
        assert!(throttle.should_log("shop/web-", start + Duration::from_secs(3600)));
    }

    #[test]
    fn the_number_of_lines_is_bounded() {
        let (throttle, start) = (LogThrottle::default(), Instant::now());
        let logged = (0..1000).filter(|number| throttle.should_log(&number.to_string(), start)).count();
        assert_eq!(logged, MAX_LINES);
        assert!(throttle.should_log("later", start + REPEAT_AFTER));
    }
}
