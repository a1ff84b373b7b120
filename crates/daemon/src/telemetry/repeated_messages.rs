//! A limit on messages that repeat: what is wrong with one pod is usually wrong with all pods of its workload. The same message
//! appears once an hour, and the log has at most ten different ones about a namespace in that time.
//!
//! Each namespace has its own share, so that what people write in one does not silence messages about another.
//! `lines_per_minute.rs` limits lines that differ each time.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The same message may appear again after this time.
const REPEAT_AFTER: Duration = Duration::from_secs(3600);
/// How many different messages of all namespaces are kept. When there are more, the namespace with the most loses one.
const MAX_MESSAGES: usize = 1000;
/// When there are as many of as many namespaces, one namespace without a message replaces the oldest one in this time. A pod that reaches
/// the HTTPS port can make up any number of namespaces, and so causes at most 900 lines an hour more.
const REPLACE_AFTER: Duration = Duration::from_secs(4);
/// How many of them may be about one namespace, in the log.
const MAX_LINES: usize = 10;

/// The messages that appeared within [`REPEAT_AFTER`].
#[derive(Debug)]
pub struct RepeatedMessages {
    max_of_namespace: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    messages: Messages,
    /// When a message of one namespace last replaced the only one of another.
    replaced: Option<Instant>,
}

/// By namespace and key, with the time of each.
type Messages = HashMap<String, HashMap<String, Instant>>;

impl Default for RepeatedMessages {
    /// For log lines: ten different ones about one namespace within an hour.
    fn default() -> Self {
        Self::new(MAX_LINES)
    }
}

impl RepeatedMessages {
    /// Allows that many different messages about one namespace within an hour.
    pub fn new(max_of_namespace: usize) -> Self {
        Self { max_of_namespace, kept: Mutex::default() }
    }

    /// Whether the message with this key may appear now; if so, it counts as having appeared.
    pub fn should_log(&self, namespace: &str, key: &str, now: Instant) -> bool {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let Kept { messages, replaced } = &mut *kept;
        messages.retain(|_, of| {
            of.retain(|_, at| now.saturating_duration_since(*at) < REPEAT_AFTER);
            !of.is_empty()
        });
        let (own, is_repeat) = messages.get(namespace).map_or((0, false), |of| (of.len(), of.contains_key(key)));
        let is_full = messages.values().map(HashMap::len).sum::<usize>() >= MAX_MESSAGES;
        let is_allowed = own < self.max_of_namespace
            && !is_repeat
            && (!is_full || make_room(messages, own) || own == 0 && replace_oldest(messages, replaced, now));
        if is_allowed {
            messages.entry(namespace.to_owned()).or_default().insert(key.to_owned(), now);
        }
        is_allowed
    }
}

/// Forgets the oldest message of the namespace with the most, for one more of a namespace that has `own`. False if none has at
/// least two more than that: two namespaces with as many would take each other's places again and again, and log each time.
fn make_room(messages: &mut Messages, own: usize) -> bool {
    let most = messages.values_mut().max_by_key(|of| of.len());
    let Some(most) = most.filter(|of| of.len() > own + 1) else { return false };
    let oldest = most.iter().min_by_key(|(_, at)| **at).map(|(key, _)| key.clone());
    oldest.is_some_and(|oldest| most.remove(&oldest).is_some())
}

/// Forgets the oldest message of all, unless another one was forgotten so a short time ago.
fn replace_oldest(messages: &mut Messages, replaced: &mut Option<Instant>, now: Instant) -> bool {
    if replaced.is_some_and(|at| now.saturating_duration_since(at) < REPLACE_AFTER) {
        return false;
    }
    let all = messages.iter().flat_map(|(namespace, of)| of.iter().map(move |(key, at)| (*at, namespace, key)));
    let oldest = all.min_by_key(|(at, ..)| *at).map(|(_, namespace, key)| (namespace.clone(), key.clone()));
    let Some((namespace, key)) = oldest else { return false };
    if let Some(of) = messages.get_mut(&namespace) {
        of.remove(&key);
    }
    messages.retain(|_, of| !of.is_empty());
    *replaced = Some(now);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(messages: &RepeatedMessages) -> usize {
        messages.kept.lock().unwrap().messages.values().map(HashMap::len).sum()
    }

    #[test]
    fn a_line_is_logged_once_an_hour() {
        let (messages, start) = (RepeatedMessages::default(), Instant::now());
        assert!(messages.should_log("shop", "web-", start) && messages.should_log("shop", "db-", start));
        assert!(messages.should_log("blog", "web-", start), "another namespace");
        assert!(!messages.should_log("shop", "web-", start + Duration::from_secs(3599)));
        assert!(messages.should_log("shop", "web-", start + Duration::from_secs(3600)));
    }

    #[test]
    fn the_lines_about_one_namespace_do_not_silence_those_about_another() {
        let (messages, start) = (RepeatedMessages::default(), Instant::now());
        let logged = (0..1000).filter(|number| messages.should_log("loud", &number.to_string(), start)).count();
        assert_eq!(logged, MAX_LINES);
        assert!(messages.should_log("quiet", "web-", start));
        assert!(messages.should_log("loud", "later", start + REPEAT_AFTER));
    }

    #[test]
    fn the_number_of_messages_is_bounded() {
        let (messages, start) = (RepeatedMessages::new(3), Instant::now());
        for namespace in (0..MAX_MESSAGES).map(|number| number.to_string()) {
            let logged = (0..5).filter(|key| messages.should_log(&namespace, &key.to_string(), start)).count();
            assert!((1..=3).contains(&logged), "namespace {namespace}: {logged}");
        }
        assert_eq!(kept(&messages), MAX_MESSAGES);
        assert!(messages.should_log("0", "later", start + REPEAT_AFTER));
        assert_eq!(messages.kept.lock().unwrap().messages.len(), 1);
    }

    #[test]
    fn made_up_namespaces_fill_no_log_and_a_true_one_has_its_line_seconds_after_their_end() {
        let (messages, start) = (RepeatedMessages::default(), Instant::now());
        let log = |prefix: &str, now| {
            let made_up = (0..2 * MAX_MESSAGES).map(|number| format!("{prefix}-{number}"));
            made_up.filter(|namespace| messages.should_log(namespace, "web-", now)).count()
        };
        assert_eq!((log("a", start), log("b", start)), (MAX_MESSAGES + 1, 0));
        assert!(!messages.should_log("true", "web-", start + Duration::from_secs(3)));
        assert!(messages.should_log("true", "web-", start + REPLACE_AFTER));
        assert!(!messages.should_log("true", "web-", start + 2 * REPLACE_AFTER), "a repeat");
        assert_eq!((log("c", start + 2 * REPLACE_AFTER), kept(&messages)), (1, MAX_MESSAGES));
    }

    #[test]
    fn namespaces_that_fill_the_memory_silence_no_other_namespace_and_gain_nothing() {
        let (messages, start) = (RepeatedMessages::new(100), Instant::now());
        let loud: Vec<String> = (0..10).map(|number| format!("loud-{number}")).collect();
        let log = |keys: std::ops::Range<usize>| {
            let pairs = loud.iter().flat_map(|namespace| keys.clone().map(move |key| (namespace, key.to_string())));
            pairs.filter(|(namespace, key)| messages.should_log(namespace, key, start)).count()
        };
        assert_eq!(log(0..100), MAX_MESSAGES);
        for (quiet, expected) in [("quiet-1", true), ("quiet-2", true), ("quiet-1", false)] {
            assert_eq!(messages.should_log(quiet, "web-", start), expected, "{quiet}");
        }
        assert_eq!(log(0..200), 0, "messages that were forgotten, or new ones");
        assert_eq!(kept(&messages), MAX_MESSAGES);
    }
}
