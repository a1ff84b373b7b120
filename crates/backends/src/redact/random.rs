//! Finds text that is secret because it is long and random.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::names::pattern;

/// Text that can be base64 of either alphabet, or hexadecimal.
static RUN: LazyLock<Regex> = LazyLock::new(|| pattern(r"[A-Za-z0-9+/_-]{24,}={0,2}"));

/// What is before the ID of a container, a sandbox or an image: 64 hexadecimal digits that every error of a runtime names.
static BEFORE_ID: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r#"(?i)(?:sha256:|sha512:|(?:container|sandbox|pod|task|image|snapshot|layer|shim|exec|digest|id)s?\\*[ :=/"'(`-]{1,4}"#,
        r"|(?:k8s\.io|moby|overlay-containers)/|(?:containerd|cri-o|docker)://|(?:containerd|crio|docker|libpod)-)$",
    ))
});

/// The shortest text that can be secret because it is random: 24 characters of base64 are 18 random bytes.
const SHORTEST_RANDOM: usize = 24;

/// The shortest unbroken run of letters of one case and digits that counts as hexadecimal or base32: 128 bits.
const SHORTEST_PLAIN: usize = 32;

/// How much text before a run shows that it is an ID.
const BEFORE: usize = 24;

/// The parts of a text that look random.
pub(super) fn found(text: &str) -> impl Iterator<Item = Range<usize>> {
    RUN.find_iter(text).flat_map(|run| random_parts(text, run.range()))
}

/// The parts of a run that look random: all of it, or parts between two slashes.
fn random_parts(text: &str, run: Range<usize>) -> Vec<Range<usize>> {
    let whole = &text[run.clone()];
    if is_mixed(whole) {
        return vec![run];
    }
    let mut parts = Vec::new();
    let mut start = run.start;
    for part in whole.split('/') {
        if is_mixed(part) {
            parts.push(start..start + part.len());
        } else {
            parts.extend(plain_parts(text, part, start));
        }
        start += part.len() + 1;
    }
    parts
}

/// Whether these are the digits of an ID that is no secret.
fn is_id(text: &str, part: &Range<usize>) -> bool {
    let digits = &text[part.clone()];
    let mut start = part.start.saturating_sub(BEFORE);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    matches!(digits.len(), 64 | 96 | 128)
        && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
        && BEFORE_ID.is_match(&text[start..part.start])
}

/// Hexadecimal and base32: letters of one case and digits, unbroken.
fn plain_parts(text: &str, run: &str, offset: usize) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let mut start = offset;
    for part in run.split(|character: char| !character.is_ascii_alphanumeric()) {
        let has_both = part.bytes().any(|byte| byte.is_ascii_digit()) && part.bytes().any(|b| b.is_ascii_alphabetic());
        let range = start..start + part.len();
        if part.len() >= SHORTEST_PLAIN && has_both && !is_id(text, &range) {
            parts.push(range);
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
