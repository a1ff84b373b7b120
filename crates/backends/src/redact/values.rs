//! Finds the value that follows a secret-like name, a flag or a scheme.

use std::ops::Range;

use regex::Regex;

use super::mark::MARK;
use super::ordinary::is_ordinary;

/// Words before a secret that say what it is: `api_key: Token ...`.
const SCHEMES: [&str; 9] = ["token", "bearer", "basic", "apikey", "key", "negotiate", "ntlm", "plain", "login"];

/// Signs that open a text, and those that close it.
const QUOTES: [(char, char); 6] =
    [('"', '"'), ('\'', '\''), ('`', '`'), ('\u{201c}', '\u{201d}'), ('\u{2018}', '\u{2019}'), ('«', '»')];

/// Quotes of Python and TOML for a text of several lines.
const TRIPLES: [&str; 2] = ["\"\"\"", "'''"];

/// The longest name of a type around a value: `Some("...")`, `SecretStr('...')`.
const LONGEST_WRAPPER: usize = 24;

/// What Python, Rust and C write before a quote.
const PREFIXES: [&str; 6] = ["b", "f", "l", "r", "rb", "u"];

/// What a value without quotes is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Words {
    /// No value: only a text in quotes or brackets is.
    None,
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
        let is_word = matches!(value, Value::Word(_));
        from = if is_word { span.start.max(found.end()) } else { span.end };
        if !(is_word && words == Words::None) && accepts(&text[span.clone()]) {
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
        // What follows a mark can belong to the text around a list that it replaces.
        let after_mark = rest.strip_prefix(MARK).map(|rest| rest.trim_start_matches('"'));
        if after_mark.is_some_and(|after| after.starts_with([',', ')', ']', '}', ';'])) {
            return Value::Word(start..start + MARK.len());
        }
        // A mark is a word, not a list.
        if is_list(rest) && !rest.starts_with(MARK) {
            return Value::Quoted(start..start + bracketed(rest));
        }
        let bare = rest.trim_start_matches('\\');
        if let Some(triple) = TRIPLES.iter().find(|triple| bare.starts_with(**triple)) {
            let inside = self.text.len() - bare.len() + triple.len();
            let length = self.text[inside..].find(triple).unwrap_or(self.text.len() - inside);
            return Value::Quoted(inside..inside + length);
        }
        if let Some((open, close)) = quotes(bare) {
            let inside = self.text.len() - bare.len() + open.len_utf8();
            return Value::Quoted(inside..inside + quoted(&self.text[inside..], close, rest.len() - bare.len()));
        }
        if let Some(length) = wrapped(rest) {
            return Value::Quoted(start..start + length);
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

/// The quotes of a text that begins with one.
fn quotes(text: &str) -> Option<(char, char)> {
    let first = text.chars().next()?;
    QUOTES.into_iter().find(|(open, _)| *open == first)
}

fn is_list(text: &str) -> bool {
    text.starts_with(['[', '(', '{'])
}

/// Length of a value inside the name of a type, or with a prefix of Python: `Some("...")`, `SecretStr('...')`, `b'...'`.
fn wrapped(text: &str) -> Option<usize> {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':' | b'.');
    let name = text.bytes().take(LONGEST_WRAPPER + 1).position(|byte| !is_part(byte))?;
    let (prefix, inner) = text.split_at(name);
    if !prefix.starts_with(|first: char| first.is_ascii_alphabetic()) {
        return None;
    }
    if is_list(inner) {
        let length = bracketed(inner);
        return inner[..length].ends_with([']', ')', '}']).then_some(name + length);
    }
    let (open, close) = quotes(inner).filter(|_| PREFIXES.contains(&&*prefix.to_ascii_lowercase()))?;
    Some(name + open.len_utf8() + quoted(&inner[open.len_utf8()..], close, 0))
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
pub(super) fn quoted(text: &str, quote: char, escapes: usize) -> usize {
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
