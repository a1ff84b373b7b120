//! Finds the secrets in one line of text.
//!
//! A secret is recognized in three ways: by the text before it (a key, a flag, a scheme), by its form (JWT, tokens with a
//! known prefix), or because it is long and random. In doubt a text is a secret: a lost word costs a look into the server's
//! log, a shown secret costs a credential. The second word of a password with spaces and without quotes is not recognized.
//!
//! Time is linear in the length of the text: the patterns have no back-references, and no value is scanned twice.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

/// Replaces each secret.
pub const MARK: &str = "[redacted]";

/// `password: `, `"token":`, `REGISTRY_PASS=`, `aws_secret_access_key := `, also inside escaped JSON.
static KEY: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?i)(?:password|passwd|passphrase|pwd|secret|token|credential|creds|api[_-]?key|access[_-]?key",
        r"|private[_-]?key|signature|cookie|(?-u:\b|_)auth(?-u:\b|_)|(?-u:\b|_)pass(?-u:\b|_))",
        r#"[a-z0-9_.-]*\\*["']?\s*(?:=>|:=|==|[:=])"#,
    ))
});

/// `--creds `, `--dest-creds=`, `-p `, `'--password', `: as typed, or as a list of arguments is printed.
static FLAG: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?-u:\b{start-half})(?:--?(?i:[a-z0-9-]*(?:pass|creds|credential|token|secret|auth|api-?key|access-?key)",
        r#"[a-z0-9-]*)|-[pu])\\*["']?(?:\s*[=,]\s*|\s+)"#,
    ))
});

/// The header; its value is a scheme and a word.
static AUTHORIZATION: LazyLock<Regex> = LazyLock::new(|| pattern(r#"(?i)authorization\\*["']?\s*(?:=>|[:=,])"#));

/// A scheme without its header.
static SCHEME: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)(?-u:\b)(?:bearer(?:\s+token)?|negotiate|ntlm)(?:\s*[:=]\s*|\s+)"));

/// `basic` is also an ordinary word: it counts before a text that can be base64 of `a:b`.
static BASIC: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)(?-u:\b)basic\s+(?<secret>[a-z0-9+/_-]{4,}={0,2})"));

/// `scheme://user:password@host`. A password may have a bare `/` in it; `registry:5000/image@sha256:...` is no password.
static USER_INFO: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"://(?<secret>[^\s/:@]*:[^\s/@]*[^\s/@0-9][^\s/@]*/[^\s@]*)@|://(?<plain>[^\s/]*)@"));

/// Secrets with a known form.
static KNOWN: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"eyJ[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*)+",
        r"|(?:AKIA|ASIA|AROA|AIDA|ABIA|ACCA)[0-9A-Z]{12,}",
        r"|(?:gh[pousr]_|github_pat_|gl(?:pat|dt|rt)-|dckr_pat_|npm_|hvs\.|xox[abeprs]-|sha256~)[A-Za-z0-9_-]{10,}",
        r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)",
    ))
});

/// Text that can be base64 of either alphabet, or hexadecimal.
static RUN: LazyLock<Regex> = LazyLock::new(|| pattern(r"[A-Za-z0-9+/_-]{24,}={0,2}"));

/// Starts of a list.
const OPENERS: [char; 2] = ['[', '('];

/// The shortest text that can be secret because it is random: 24 characters of base64 are 18 random bytes.
const SHORTEST_RANDOM: usize = 24;

/// The shortest unbroken run of letters of one case and digits that counts as hexadecimal or base32: 128 bits.
const SHORTEST_PLAIN: usize = 32;

#[expect(clippy::expect_used, reason = "the patterns are constants; the tests of this module use each of them")]
pub(super) fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a constant pattern")
}

/// The text with a [`MARK`] in place of each secret.
pub(super) fn replaced(text: &str) -> String {
    let mut spans = Vec::new();
    for introduction in [&KEY, &FLAG, &SCHEME] {
        spans.extend(introduced(text, introduction, Words::One));
    }
    spans.extend(introduced(text, &AUTHORIZATION, Words::SchemeAndOne));
    spans.extend(captured(text, &USER_INFO));
    spans.extend(captured(text, &BASIC));
    spans.extend(KNOWN.find_iter(text).map(|found| found.range()));
    spans.extend(RUN.find_iter(text).flat_map(|run| random_parts(text, run.range())));
    spans.retain(|span| !span.is_empty());
    spans.sort_by_key(|span| span.start);
    marked(text, &spans)
}

/// The text without users and passwords in its URLs, all else untouched.
pub(super) fn without_user_info(text: &str) -> String {
    marked(text, &captured(text, &USER_INFO))
}

fn captured(text: &str, pattern: &Regex) -> Vec<Range<usize>> {
    let secret = |captures: regex::Captures<'_>| {
        captures.name("secret").or_else(|| captures.name("plain")).map(|found| found.range())
    };
    pattern.captures_iter(text).filter_map(secret).filter(|span| !span.is_empty()).collect()
}

/// How many words a value without quotes has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Words {
    One,
    /// Two, if the first can be the name of a scheme.
    SchemeAndOne,
}

/// The values that follow an introduction.
fn introduced(text: &str, introduction: &Regex, words: Words) -> Vec<Range<usize>> {
    let mut reader = Reader { text, last_word: 0..0 };
    let mut spans = Vec::new();
    let mut from = 0;
    while let Some(found) = introduction.find_at(text, from) {
        let value = reader.value(found.end(), words);
        // A word can hold the next key (`token=a,password:`), so the search continues inside it.
        let (Value::Word(span) | Value::Quoted(span)) = &value;
        from = if matches!(value, Value::Word(_)) { span.start } else { span.end };
        spans.push(span.clone());
    }
    spans
}

enum Value {
    Word(Range<usize>),
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
        // Lists, as Go prints a header: `map[Authorization:[Bearer ...]]`. A mark is a word, not a list.
        let rest = &self.text[start..];
        let listed = if rest.starts_with(MARK) { rest } else { rest.trim_start_matches(OPENERS) };
        let bare = listed.trim_start_matches('\\');
        if let Some(quote @ ('"' | '\'')) = bare.chars().next() {
            let inside = self.text.len() - bare.len() + 1;
            return Value::Quoted(inside..inside + quoted(&bare[1..], quote, listed.len() - bare.len()));
        }
        let end = self.word_end(start);
        let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if words == Words::SchemeAndOne && self.text[start..end].trim_start_matches(OPENERS).bytes().all(is_scheme) {
            let second = self.after_spaces(end);
            return Value::Word(start..self.word_end(second));
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

/// The parts of a run that look random: all of it, or parts between two slashes.
fn random_parts(text: &str, run: Range<usize>) -> Vec<Range<usize>> {
    let whole = &text[run.clone()];
    if is_digest(text, &run) {
        return Vec::new();
    }
    if is_mixed(whole) {
        return vec![run];
    }
    let mut parts = Vec::new();
    let mut start = run.start;
    for part in whole.split('/') {
        if is_mixed(part) {
            parts.push(start..start + part.len());
        } else {
            parts.extend(plain_parts(part, start));
        }
        start += part.len() + 1;
    }
    parts
}

/// Whether a run is the digest of an image, which is no secret.
fn is_digest(text: &str, run: &Range<usize>) -> bool {
    let before = &text[..run.start];
    (before.ends_with("sha256:") || before.ends_with("sha512:"))
        && text[run.clone()].bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Hexadecimal and base32: letters of one case and digits, unbroken.
fn plain_parts(text: &str, offset: usize) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let mut start = offset;
    for part in text.split(|character: char| !character.is_ascii_alphanumeric()) {
        let has_both = part.bytes().any(|byte| byte.is_ascii_digit()) && part.bytes().any(|b| b.is_ascii_alphabetic());
        if part.len() >= SHORTEST_PLAIN && has_both {
            parts.push(start..start + part.len());
        }
        start += part.len() + 1;
    }
    parts
}

/// Whether capitals, small letters and digits alternate as in base64 of random bytes.
///
/// There, three of five neighbors are of different kinds and two of five characters are capitals. Names and paths have far
/// fewer of both, even `checkpoint-web-5f4d7c9b8d-x2k4z_default-app-2025-01-01T00`.
fn is_mixed(text: &str) -> bool {
    let kind = |byte: u8| match byte {
        b'A'..=b'Z' => Some(0),
        b'a'..=b'z' => Some(1),
        b'0'..=b'9' => Some(2),
        _ => None,
    };
    let mut counts = [0_usize; 3];
    let (mut pairs, mut changes) = (0_usize, 0_usize);
    let mut previous = None;
    for byte in text.bytes() {
        let this = kind(byte);
        if let Some(this) = this {
            counts[this] += 1;
            if let Some(previous) = previous {
                pairs += 1;
                changes += usize::from(previous != this);
            }
        }
        previous = this;
    }
    let [capitals, small, digits] = counts;
    let letters_and_digits = capitals + small + digits;
    // Without a digit it may be words in CamelCase, so more changes are required.
    let share_of_ten = if digits > 0 { 3 } else { 4 };
    text.len() >= SHORTEST_RANDOM
        && capitals * 8 >= letters_and_digits
        && small * 8 >= letters_and_digits
        && changes * 10 >= pairs * share_of_ten
}

/// Replaces each group of spans that touch by one mark.
fn marked(text: &str, spans: &[Range<usize>]) -> String {
    let mut result = String::with_capacity(text.len());
    let mut copied = 0;
    let mut spans = spans.iter().peekable();
    while let Some(first) = spans.next() {
        let mut end = first.end;
        while let Some(next) = spans.next_if(|next| next.start <= end) {
            end = end.max(next.end);
        }
        result.push_str(&text[copied..first.start]);
        result.push_str(MARK);
        copied = end;
    }
    result.push_str(&text[copied..]);
    result
}
