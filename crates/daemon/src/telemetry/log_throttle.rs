//! A limit on repeated messages: what is wrong with one pod is usually wrong with all pods of its workload.
//!
//! Each namespace has its own share, so that what people write in one does not silence messages about another.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The same message may appear again after this time.
const REPEAT_AFTER: Duration = Duration::from_secs(3600);
/// How many different messages of all namespaces may appear within [`REPEAT_AFTER`].
const MAX_MESSAGES: usize = 1000;
/// How many of them may be about one namespace, in the log.
const MAX_LINES: usize = 10;

/// The messages that appeared within [`REPEAT_AFTER`].
#[derive(Debug)]
pub struct LogThrottle {
    max_of_namespace: usize,
    /// By namespace and key, with the time of each.
    messages: Mutex<HashMap<String, HashMap<String, Instant>>>,
}

impl Default for LogThrottle {
    /// For log lines: ten different ones about one namespace within an hour.
    fn default() -> Self {
        Self::new(MAX_LINES)
    }
}

impl LogThrottle {
    /// Allows that many different messages about one namespace within an hour.
    pub fn new(max_of_namespace: usize) -> Self {
        Self { max_of_namespace, messages: Mutex::default() }
    }

    /// Whether the message with this key may appear now; if so, it counts as having appeared.
    pub fn should_log(&self, namespace: &str, key: &str, now: Instant) -> bool {
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        messages.retain(|_, of| {
            of.retain(|_, at| now.saturating_duration_since(*at) < REPEAT_AFTER);
            !of.is_empty()
        });
        let of_namespace = messages.get(namespace);
        let is_allowed = messages.values().map(HashMap::len).sum::<usize>() < MAX_MESSAGES
            && of_namespace.is_none_or(|of| of.len() < self.max_of_namespace && !of.contains_key(key));
        if is_allowed {
            messages.entry(namespace.to_owned()).or_default().insert(key.to_owned(), now);
        }
        is_allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_logged_once_an_hour() {
        let (throttle, start) = (LogThrottle::default(), Instant::now());
        assert!(throttle.should_log("shop", "web-", start) && throttle.should_log("shop", "db-", start));
        assert!(throttle.should_log("blog", "web-", start), "another namespace");
        assert!(!throttle.should_log("shop", "web-", start + Duration::from_secs(3599)));
        assert!(throttle.should_log("shop", "web-", start + Duration::from_secs(3600)));
    }

    #[test]
    fn the_lines_about_one_namespace_do_not_silence_those_about_another() {
        let (throttle, start) = (LogThrottle::default(), Instant::now());
        let logged = (0..1000).filter(|number| throttle.should_log("loud", &number.to_string(), start)).count();
        assert_eq!(logged, MAX_LINES);
        assert!(throttle.should_log("quiet", "web-", start));
        assert!(throttle.should_log("loud", "later", start + REPEAT_AFTER));
    }

    #[test]
    fn the_number_of_messages_is_bounded() {
        let (throttle, start) = (LogThrottle::new(3), Instant::now());
        let namespaces = (0..MAX_MESSAGES).map(|number| number.to_string());
        let logged = namespaces.flat_map(|namespace| {
            (0..5).filter(|key| throttle.should_log(&namespace, &key.to_string(), start)).collect::<Vec<_>>()
        });
        assert_eq!(logged.count(), MAX_MESSAGES);
        assert!(throttle.should_log("0", "later", start + REPEAT_AFTER));
        assert_eq!(throttle.messages.lock().unwrap().len(), 1);
    }
}
