//! Finds the secrets in one line of text.
//!
//! A secret is recognized in three ways: by the text before it (a name, a flag, a scheme), by its form (a token with a known
//! prefix), or because it is long and random. In doubt a text is a secret: a lost word costs a look into the server's log, a
//! shown secret costs a credential. Only ordinary words of error messages are never a secret.
//!
//! Time is linear in the length of the text: the patterns have no back-references, and no value is scanned twice.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::decoded::Decoded;
use super::forms;
use super::mark::MARK;
use super::names::{NAME, pattern};
use super::ordinary::is_ordinary;
use super::random;
use super::values::{Words, introduced};

/// `password: `, `"token":`, `REGISTRY_PASS=`, `aws_secret_access_key := `, also inside escaped JSON.
static KEY: LazyLock<Regex> =
    LazyLock::new(|| pattern(&format!(r#"(?i){NAME}[a-z0-9_.-]*\\*["']?\s*(?:=>|:=|==|[:=])"#)));

/// A name and its value in two fields: the variables of a container, headers, XML attributes.
static NAMED: LazyLock<Regex> = LazyLock::new(|| {
    let name = format!(r#"\\*["']?\s*[:=]\s*\\*["']?[a-z0-9_./-]*{NAME}[a-z0-9_.-]*\\*["']?"#);
    pattern(&format!(
        r#"(?i)(?-u:\b)(?:name|key|header|variable){name}\s*[,;]?\s*\\*["']?(?:value|values|val)\\*["']?\s*[:=]"#
    ))
});

/// `('X-Api-Key', '...')` of Python.
static TUPLE: LazyLock<Regex> =
    LazyLock::new(|| pattern(&format!(r#"(?i)\(\s*b?\\*["'][a-z0-9_.-]*{NAME}[a-z0-9_.-]*\\*["']\s*,\s*b?"#)));

/// `--creds `, `--dest-creds=`, `'--password', `: as typed, or as a list of arguments is printed.
static FLAG: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?-u:\b{start-half})--?(?i:[a-z0-9-]*(?:pass|creds|credential|token|secret|auth|cookie|from-literal|api-?key",
        r#"|access-?key)[a-z0-9-]*)\\*["']?(?:\s*[=,]\s*|\s+)"#,
    ))
});

/// `-p `: a password, but also a port or a path.
static SHORT_FLAG: LazyLock<Regex> = LazyLock::new(|| pattern(r#"(?-u:\b{start-half})-p\\*["']?(?:\s*[=,]\s*|\s+)"#));

/// Flags whose value holds a secret after a colon, or is a key: `--user bob:...`, `--decryption-key /k.pem:...`.
static USER_FLAG: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?-u:\b{start-half})(?:-[uE]|--(?i:(?:proxy-)?user|(?:proxy-)?cert|key|[a-z0-9-]+-key))",
        r#"\\*["']?(?:\s*[=,]\s*|\s+)"#,
    ))
});

/// The header; its value is a scheme and a word.
static AUTHORIZATION: LazyLock<Regex> = LazyLock::new(|| pattern(r#"(?i)authorization\\*["']?\s*(?:=>|[:=,])"#));

/// A scheme without its header.
static SCHEME: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)(?-u:\b)(?:bearer(?:\s+token)?|negotiate|ntlm)(?:\s*[:=]\s*|\s+)"));

/// `invalid password ...`, `login bob password ...` of netrc, `AUTH ...` of Redis.
static PHRASE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?-u:\b)(?:(?i:password|passwd|passphrase|passcode|client secret(?: provided)?)(?:\s+(?i:is|was))?|AUTH)\s+",
    )
});

/// A text with a [`MARK`] in place of each secret.
pub(super) fn replaced(text: &str) -> String {
    let mut spans = found(text);
    if let Some(decoded) = Decoded::of(text) {
        spans.extend(found(&decoded.text).iter().map(|span| decoded.origin(span)));
    }
    marked(text, spans)
}

/// A text without users and passwords in its URLs, all else untouched.
pub(super) fn without_user_info(text: &str) -> String {
    marked(text, forms::user_infos(text))
}

fn found(text: &str) -> Vec<Range<usize>> {
    let mut spans = introduced(text, &AUTHORIZATION, Words::SchemeAndOne, |_| true);
    for introduction in [&KEY, &NAMED, &TUPLE, &FLAG, &SCHEME] {
        spans.extend(introduced(text, introduction, Words::One, |_| true));
    }
    spans.extend(introduced(text, &SHORT_FLAG, Words::One, is_password));
    spans.extend(introduced(text, &USER_FLAG, Words::One, is_user_or_key));
    spans.extend(introduced(text, &PHRASE, Words::One, is_word));
    spans.extend(forms::user_infos(text));
    spans.extend(forms::found(text));
    spans.extend(random::found(text));
    spans
}

/// Whether the value of `-p` is neither a path, nor a number of a process, nor a pair of ports.
fn is_password(value: &str) -> bool {
    let is_number =
        value.bytes().all(|byte| byte.is_ascii_digit() || byte == b':') && (value.len() <= 5 || value.contains(':'));
    !is_number && !value.starts_with('/')
}

/// Whether a value is `user:password`, `file:password` or the text of a key. A path is none, nor are the numbers of a user
/// and a group.
fn is_user_or_key(value: &str) -> bool {
    match value.split_once(':') {
        // A token as user, without a password.
        Some((user, "")) => !user.is_empty(),
        Some((_, secret)) => secret.bytes().any(|byte| !byte.is_ascii_digit()) && !secret.starts_with("//"),
        None => value.len() >= 16 && !value.contains(['/', '.']),
    }
}

/// Whether the text after `password` can be one: not the next sign or flag.
fn is_word(value: &str) -> bool {
    !value.starts_with(['(', '[', '{', '-', ':', '=', '<', '|'])
        && value.bytes().any(|byte| byte.is_ascii_alphanumeric())
        && !value.split_whitespace().all(is_ordinary)
}

/// Replaces each group of spans that touch by one mark.
fn marked(text: &str, mut spans: Vec<Range<usize>>) -> String {
    spans.retain(|span| !span.is_empty());
    spans.sort_by_key(|span| span.start);
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
