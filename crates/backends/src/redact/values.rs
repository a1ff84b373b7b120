//! Finds the value that follows a secret-like name, a flag or a scheme.

use std::ops::Range;

use regex::Regex;

use super::mark::MARK;
use super::ordinary::is_ordinary;

/// Words before a secret that say what it is: `api_key: Token ...`.
const SCHEMES: [&str; 8] = ["token", "bearer", "basic", "apikey", "negotiate", "ntlm", "plain", "login"];

/// What a value without quotes is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Words {
    /// One word, or two if the first is one of [`SCHEMES`].
    One,
    /// One word, or two if the first can be the name of a scheme.
    SchemeAndOne,
}

/// The values that follow an introduction and are accepted.
pub(super) fn introduced(
    text: &str,
    introduction: &Regex,
    words: Words,
    accepts: impl Fn(&str) -> bool,
) -> Vec<Range<usize>> {
    let mut reader = Reader { text, last_word: 0..0 };
    let mut spans = Vec::new();
    let mut from = 0;
    while let Some(found) = introduction.find_at(text, from) {
        let value = reader.value(found.end(), words);
        // A word can hold the next key (`token=a,password:`), so the search continues inside it.
        let (Value::Word(span) | Value::Quoted(span)) = &value;
        from = if matches!(value, Value::Word(_)) { span.start.max(found.end()) } else { span.end };
        if accepts(&text[span.clone()]) {
            spans.push(span.clone());
        }
    }
    spans
}

enum Value {
    Word(Range<usize>),
    /// In quotes or brackets.
    Quoted(Range<usize>),
}

struct Reader<'a> {
    text: &'a str,
    /// Cached, because one long word can hold many introductions.
    last_word: Range<usize>,
}

impl Reader<'_> {
    fn value(&mut self, at: usize, words: Words) -> Value {
        let start = self.after_spaces(at);
        let rest = &self.text[start..];
        // A mark is a word, not a list.
        if rest.starts_with(['[', '(', '{']) && !rest.starts_with(MARK) {
            return Value::Quoted(start..start + bracketed(rest));
        }
        let bare = rest.trim_start_matches('\\');
        if let Some(quote @ ('"' | '\'')) = bare.chars().next() {
            let inside = self.text.len() - bare.len() + 1;
            return Value::Quoted(inside..inside + quoted(&bare[1..], quote, rest.len() - bare.len()));
        }
        let end = self.word_end(start);
        let first = &self.text[start..end];
        if is_ordinary(first) && !is_scheme(first) {
            return Value::Word(start..start);
        }
        let has_second = is_scheme(first) || is_block(first) || (words == Words::SchemeAndOne && is_name(first));
        if has_second {
            let second = self.after_spaces(end);
            let second_end = self.word_end(second);
            if is_ordinary(&self.text[second..second_end]) {
                return Value::Word(start..if is_scheme(first) || is_block(first) { start } else { end });
            }
            return Value::Word(start..second_end);
        }
        Value::Word(start..end)
    }

    fn after_spaces(&self, at: usize) -> usize {
        self.text.len() - self.text[at..].trim_start().len()
    }

    fn word_end(&mut self, at: usize) -> usize {
        if !self.last_word.contains(&at) {
            let end = self.text[at..].find(char::is_whitespace).map_or(self.text.len(), |length| at + length);
            self.last_word = at..end;
        }
        self.last_word.end
    }
}

fn is_scheme(word: &str) -> bool {
    SCHEMES.iter().any(|scheme| word.eq_ignore_ascii_case(scheme))
}

/// Whether a word can be the name of a scheme of HTTP.
fn is_name(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Whether a word announces a block of text in YAML: `|`, `>-`.
fn is_block(word: &str) -> bool {
    word.starts_with(['|', '>']) && word[1..].bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-'))
}

/// Length of a list or object, with its brackets: to the end of the text if none closes it.
fn bracketed(text: &str) -> usize {
    let (mut depth, mut quote, mut before) = (0_usize, None, ' ');
    for (at, character) in text.char_indices() {
        match (quote, character) {
            (Some(open), _) => quote = quote.filter(|_| character != open || before == '\\'),
            // An apostrophe inside a word opens nothing.
            (None, '"' | '\'') if !before.is_alphanumeric() => quote = Some(character),
            (None, '[' | '(' | '{') => depth += 1,
            (None, ']' | ')' | '}') => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
        before = character;
    }
    text.len()
}

/// Length of the text before the closing quote: the first quote that is not escaped more deeply than the opening one.
fn quoted(text: &str, quote: char, escapes: usize) -> usize {
    let mut run = 0;
    for (at, character) in text.char_indices() {
        match character {
            '\\' => run += 1,
            _ if character == quote && run <= escapes => return at - run,
            _ => run = 0,
        }
    }
    text.len()
}
