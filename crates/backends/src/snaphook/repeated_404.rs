//! Whether a 404 is about the URL of SnapHook, although it does not look so.
//!
//! A gateway before SnapHook answers in its own words: `no Route matched with those values`. Only the repetition shows that they
//! are about no pod: SnapHook names the pod, or says that it knows no such pod.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use snapwatcher_api::pod::PodName;

/// How many pods in a row get the same text before it is about the URL.
const PODS: usize = 3;

/// Words of a text that is about a pod, whatever is repeated.
const ABOUT_POD: [&str; 2] = ["pod", "container"];

/// The texts of the last answers with status 404.
#[derive(Debug, Default)]
pub(super) struct Repeated404 {
    last: Mutex<Last>,
    /// SnapHook has answered otherwise before. From then on, the pods of one namespace alone do not pause all others.
    was_reached: AtomicBool,
}

#[derive(Debug, Default)]
struct Last {
    text: String,
    /// The pods that got the text, at most [`PODS`].
    pods: Vec<PodName>,
}

impl Repeated404 {
    /// Notes a 404 with this text about a pod, and returns whether it is about the URL.
    pub(super) fn is_about_url(&self, text: &str, pod: &PodName) -> bool {
        let lower = text.to_lowercase();
        let mut names = lower.split(|next: char| !next.is_ascii_alphanumeric() && !matches!(next, '-' | '.'));
        if ABOUT_POD.iter().any(|word| lower.contains(word)) || names.any(|name| name.trim_matches('.') == &*pod.name) {
            self.reset();
            return false;
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.text != text {
            *last = Last { text: text.to_owned(), pods: Vec::new() };
        }
        if last.pods.contains(pod) {
            // It is counted.
        } else if last.pods.len() < PODS {
            last.pods.push(pod.clone());
        } else if pod.namespace != last.pods[0].namespace {
            last.pods[PODS - 1] = pod.clone();
        }
        let is_of_several = last.pods.iter().any(|pod| pod.namespace != last.pods[0].namespace);
        last.pods.len() == PODS && (is_of_several || !self.was_reached.load(Ordering::Relaxed))
    }

    /// Notes an answer of another kind: SnapHook is reached.
    pub(super) fn reset(&self) {
        self.was_reached.store(true, Ordering::Relaxed);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Last::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATEWAY: &str = "no Route matched with those values";

    fn pod(name: &str) -> PodName {
        PodName { namespace: "shop".into(), name: name.into() }
    }

    fn verdicts(answers: &[(&str, &str)]) -> Vec<bool> {
        let repeated = Repeated404::default();
        answers.iter().map(|(text, name)| repeated.is_about_url(text, &pod(name))).collect()
    }

    #[test]
    fn the_same_text_for_three_pods_in_a_row_is_about_the_url() {
        assert_eq!(
            verdicts(&[(GATEWAY, "a"), (GATEWAY, "b"), (GATEWAY, "c"), (GATEWAY, "c")]),
            [false, false, true, true]
        );
    }

    #[test]
    fn the_pods_of_one_namespace_say_nothing_about_the_url_once_snaphook_was_reached() {
        let repeated = Repeated404::default();
        repeated.reset();
        let verdict = |namespace: &str, name: &str| {
            repeated.is_about_url(GATEWAY, &PodName { namespace: namespace.into(), name: name.into() })
        };
        assert_eq!(["a", "b", "c", "d", "e"].map(|name| verdict("hostile", name)), [false; 5]);
        assert!(verdict("other", "f"), "a pod of another namespace gets the same text");
        assert!(verdict("hostile", "a"));
    }

    #[test]
    fn one_pod_alone_says_nothing_about_the_url() {
        assert_eq!(verdicts(&[(GATEWAY, "a"); 5]), [false; 5]);
    }

    #[test]
    fn another_text_or_another_answer_starts_the_count_again() {
        assert_eq!(verdicts(&[(GATEWAY, "a"), (GATEWAY, "b"), ("gone", "c"), (GATEWAY, "d")]), [false; 4]);
        let repeated = Repeated404::default();
        for name in ["a", "b"] {
            assert!(!repeated.is_about_url(GATEWAY, &pod(name)));
        }
        repeated.reset();
        assert!(!repeated.is_about_url(GATEWAY, &pod("c")));
    }

    #[test]
    fn a_text_about_a_pod_is_never_about_the_url() {
        for text in ["pod not found", "No such container", "unknown workload a.", "Pod a is not known"] {
            assert_eq!(verdicts(&[(text, "a"); 4]), [false; 4]);
        }
        assert_eq!(verdicts(&[("pod not found", "a"), ("pod not found", "b"), ("pod not found", "c")]), [false; 3]);
    }
}
