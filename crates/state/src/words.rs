//! Strings that many timelines share: namespaces, names of containers, outcomes.

use std::sync::Arc;

use snapwatcher_api::shared_values::SharedValues;

/// The longest stored text, in bytes. Kubernetes limits the names of objects to 253.
pub(super) const LONGEST_TEXT: usize = 256;

/// Cuts a text to what is stored of it.
pub(super) fn cut(text: &str) -> &str {
    let end = (0..=LONGEST_TEXT.min(text.len())).rev().find(|&at| text.is_char_boundary(at));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

/// One copy of each shared string.
#[derive(Debug, Default)]
pub(super) struct Words(SharedValues<str>);

impl Words {
    /// The shared copy of a text, cut.
    pub(super) fn shared(&mut self, text: &str) -> Arc<str> {
        self.0.shared(cut(text))
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
}
