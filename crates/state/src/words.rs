//! Strings that many timelines share: namespaces, names of containers, outcomes.

use std::collections::HashSet;
use std::sync::Arc;

/// The longest stored text, in bytes. Kubernetes limits the names of objects to 253.
pub(super) const LONGEST_TEXT: usize = 256;
/// How many different strings are shared. A further one is stored for its timeline alone.
const MAX_WORDS: usize = 1000;

/// Cuts a text to what is stored of it.
pub(super) fn cut(text: &str) -> &str {
    let end = (0..=LONGEST_TEXT.min(text.len())).rev().find(|&at| text.is_char_boundary(at));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

/// One copy of each shared string.
#[derive(Debug, Default)]
pub(super) struct Words(HashSet<Arc<str>>);

impl Words {
    /// The shared copy of a text, cut.
    pub(super) fn shared(&mut self, text: &str) -> Arc<str> {
        let text = cut(text);
        if let Some(word) = self.0.get(text) {
            return Arc::clone(word);
        }
        let word: Arc<str> = text.into();
        if self.0.len() >= MAX_WORDS {
            self.0.retain(|word| Arc::strong_count(word) > 1);
        }
        if self.0.len() < MAX_WORDS {
            self.0.insert(Arc::clone(&word));
        }
        word
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_share_one_copy() {
        let mut words = Words::default();
        assert!(Arc::ptr_eq(&words.shared("Succeeded"), &words.shared("Succeeded")));
    }

    #[test]
    fn a_long_text_is_cut_between_two_characters() {
        assert_eq!(cut(&format!("a{}", "é".repeat(200))).len(), 255);
        assert_eq!(cut("short"), "short");
    }

    #[test]
    fn the_number_of_words_is_bounded_and_unused_ones_make_room() {
        let mut words = Words::default();
        let mut held: Vec<_> = (0..MAX_WORDS + 10).map(|number| words.shared(&number.to_string())).collect();
        assert_eq!(words.0.len(), MAX_WORDS);
        held.truncate(1);
        assert!(Arc::ptr_eq(&words.shared("new"), &words.shared("new")));
        assert!(Arc::ptr_eq(&words.shared("0"), &held[0]) && words.0.len() < 10);
    }
}
