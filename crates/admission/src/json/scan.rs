//! Where a JSON value ends (RFC 8259), without a look at what it says. `None`: it is none, or nothing is said about it.
//!
//! The text has to be UTF-8, which is looked at elsewhere: here a byte above 127 is part of a string.

use super::block;

/// How many arrays and objects may be within each other. Pods have a dozen; one bit each, below the mark.
const DEEPEST: u32 = u64::BITS - 1;

/// The next byte that is no blank, and where it is.
#[inline]
pub(super) fn token(bytes: &[u8], at: usize) -> Option<(u8, usize)> {
    let next = *bytes.get(at)?;
    if next > b' ' { Some((next, at)) } else { after_blanks(bytes, at) }
}

#[cold]
fn after_blanks(bytes: &[u8], at: usize) -> Option<(u8, usize)> {
    let blanks = bytes.get(at..)?.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
    bytes.get(at + blanks).map(|next| (*next, at + blanks))
}

/// Behind the value that begins there or after some blanks.
pub(super) fn value(bytes: &[u8], mut at: usize) -> Option<usize> {
    // What is open, the innermost in the lowest bit: one is an object, zero an array. The highest one is a mark.
    let mut open: u64 = 1;
    loop {
        let (first, here) = token(bytes, at)?;
        at = match first {
            b'"' => string(bytes, here + 1)?,
            b'{' | b'[' => {
                let (next, inside) = token(bytes, here + 1)?;
                // In ASCII each closing bracket is the second after its opening one.
                if next != first + 2 {
                    if open >> DEEPEST == 1 {
                        return None;
                    }
                    open = open << 1 | u64::from(first == b'{');
                    at = if first == b'{' { key(bytes, inside)? } else { inside };
                    continue;
                }
                inside + 1
            }
            _ => scalar(bytes, here)?,
        };
        loop {
            if open == 1 {
                return Some(at);
            }
            let is_object = open & 1 == 1;
            let (next, here) = token(bytes, at)?;
            if next == b',' {
                at = if is_object { key(bytes, here + 1)? } else { here + 1 };
                break;
            }
            if next != if is_object { b'}' } else { b']' } {
                return None;
            }
            at = here + 1;
            open >>= 1;
        }
    }
}

/// Behind the colon of the key that begins there or after some blanks.
#[inline]
fn key(bytes: &[u8], at: usize) -> Option<usize> {
    let (b'"', at) = token(bytes, at)? else { return None };
    let end = string(bytes, at + 1)?;
    let (b':', at) = token(bytes, end)? else { return None };
    Some(at + 1)
}

/// Behind the quote that ends a string; `at` is behind the one that begins it.
#[inline]
fn string(bytes: &[u8], at: usize) -> Option<usize> {
    let end = special(bytes, at)?;
    if bytes.get(end) == Some(&b'"') { Some(end + 1) } else { escaped(bytes, end) }
}

/// The rest of a string that has escapes.
#[inline(never)]
fn escaped(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => {}
            // A control character has to be escaped.
            _ => return None,
        }
        let length = match bytes.get(at + 1)? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => 2,
            b'u' if bytes.get(at + 2..at + 6)?.iter().all(u8::is_ascii_hexdigit) => 6,
            _ => return None,
        };
        at = special(bytes, at + length)?;
    }
}

/// The quote that ends a string without escapes.
#[inline]
pub(super) fn plain(bytes: &[u8], at: usize) -> Option<usize> {
    special(bytes, at).filter(|end| bytes.get(*end) == Some(&b'"'))
}

/// Whether a string needs no escapes.
pub(super) fn is_plain(text: &str) -> bool {
    special(text.as_bytes(), 0).is_none_or(|special| special == text.len())
}

/// The next quote, backslash or control character of a string; behind the text if there is none.
#[inline]
fn special(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let rest = bytes.get(at..)?;
        let found = rest.first_chunk().map_or_else(|| block::special(&last(rest)), block::special);
        at += found;
        if found < block::LENGTH {
            return Some(at);
        }
    }
}

/// A block that the text does not fill; the zeros behind it are control characters.
#[cold]
fn last(rest: &[u8]) -> block::Block {
    std::array::from_fn(|index| rest.get(index).copied().unwrap_or_default())
}

/// Behind a number or a word.
#[inline]
fn scalar(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = bytes.get(at..)?;
    let word = match rest.first()? {
        b't' => &b"true"[..],
        b'f' => b"false",
        b'n' => b"null",
        _ => return number(bytes, at),
    };
    rest.starts_with(word).then(|| at + word.len())
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let whole = at + usize::from(bytes.get(at) == Some(&b'-'));
    let mut at = match bytes.get(whole)? {
        // What follows a leading zero is no part of the number.
        b'0' => whole + 1,
        _ => digits(bytes, whole)?,
    };
    if bytes.get(at) == Some(&b'.') {
        at = digits(bytes, at + 1)?;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        let is_signed = matches!(bytes.get(at + 1), Some(b'+' | b'-'));
        at = digits(bytes, at + 1 + usize::from(is_signed))?;
    }
    Some(at)
}

/// Behind at least one digit.
fn digits(bytes: &[u8], at: usize) -> Option<usize> {
    let count = bytes.get(at..)?.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (count > 0).then(|| at + count)
}
