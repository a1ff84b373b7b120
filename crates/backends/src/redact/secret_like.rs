//! Decides whether a word can be a secret where the text before it does not say so for certain: `token hunter2X is expired`, but
//! `token has expired`.

use super::ordinary::{AROUND, is_ordinary};

/// The shortest word that counts as a secret.
const SHORTEST: usize = 6;

/// Signs of generated passwords that names, paths and numbers do not have.
const SIGNS: &[u8] = b"!#$%^&*+~?|";

/// What a word has that is a call, a list, a path, a setting, an address or a time.
const OTHERWISE: [char; 8] = ['(', '[', '{', '<', '/', ':', '=', '@'];

/// Whether one of the words has letters and also digits or signs, and is nothing else that has both.
pub(super) fn is_secret_like(text: &str) -> bool {
    text.split_whitespace().any(is_word_secret_like)
}

/// The same, without the names of Kubernetes objects and of hosts: `web-5f4d7c9b8d-x2k4z`.
pub(super) fn is_secret_like_and_no_name(text: &str) -> bool {
    text.split_whitespace().any(|word| is_word_secret_like(word) && !is_name(word))
}

/// `bob:hunter2X`, or `bob/hunter2X`, which is otherwise an object in a namespace.
pub(super) fn is_pair_with_secret(text: &str) -> bool {
    text.split_once(':')
        .is_some_and(|(user, secret)| !user.is_empty() && is_word_secret_like(secret) && !is_name(secret))
        || text
            .split_once('/')
            .is_some_and(|(user, secret)| !user.is_empty() && is_word_secret_like(secret) && is_no_name(secret))
}

/// Whether a text has capitals or signs, which no name of an object has.
fn is_no_name(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_uppercase() || SIGNS.contains(&byte))
}

fn is_word_secret_like(word: &str) -> bool {
    // Names of objects are often in brackets.
    if word.starts_with(['(', '[', '{', '<']) && !is_no_name(word) {
        return false;
    }
    let word = word.trim_matches(AROUND).trim_matches(['[', '{']);
    let has = |test: fn(&u8) -> bool| word.bytes().any(|byte| test(&byte));
    // Padding of base64 is no setting.
    let unpadded = word.trim_end_matches('=');
    word.len() >= SHORTEST
        && has(u8::is_ascii_alphabetic)
        && (has(u8::is_ascii_digit) || has(|byte| SIGNS.contains(byte)))
        && !word.starts_with(['-', '.', '~'])
        && !unpadded.contains(OTHERWISE)
        && !is_quantity(word)
        && !is_constant(word)
        && !is_ordinary(word)
}

/// `64MiB`, `1h30m0s`, `0x7f3c`, `v1.33`, `2026-01-01T00`.
fn is_quantity(word: &str) -> bool {
    let digits = word.trim_start_matches(|character: char| character.is_ascii_digit() || character == '.');
    let is_unit = digits.len() < word.len() && digits.bytes().all(|byte| byte.is_ascii_alphabetic());
    let is_duration = word.bytes().all(|byte| byte.is_ascii_digit() || b"hmsnu.".contains(&byte));
    let after_v = word.trim_start_matches(['v', 'V']);
    let is_version = after_v.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-'));
    is_unit || is_duration || is_version || word.starts_with("0x") || is_date(word)
}

fn is_date(word: &str) -> bool {
    let bytes = word.as_bytes();
    bytes.len() >= 10 && bytes[..4].iter().all(u8::is_ascii_digit) && bytes[4] == b'-' && bytes[7] == b'-'
}

/// The name of a variable or a constant: `S3_BUCKET`.
fn is_constant(word: &str) -> bool {
    word.contains('_') && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

/// The name of an object of Kubernetes or of a host.
fn is_name(word: &str) -> bool {
    let word = word.trim_matches(AROUND);
    word.contains(['-', '.'])
        && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_with_digits_or_signs_are_like_a_secret() {
        for word in [
            "hunter2X",
            "'hunter2X'",
            "open$esame",
            "8f14e45f-ceea-467f-a8f3-1c2d3e4f5a6b",
            "YWJjZGVmMTI0NQ==",
            "a hunter2X",
        ] {
            assert!(is_secret_like(word), "{word}");
        }
    }

    #[test]
    fn words_and_numbers_and_places_and_times_are_not() {
        for word in [
            "",
            "expired",
            "ContainerCreating",
            "12345678",
            "x509:",
            "10.0.0.7:443",
            "64MiB",
            "1h30m0s",
            "v1.33.2",
            "2026-01-01T00:00:00Z",
            "/etc/tls2.key",
            "https://h1/token",
            "--timeout10",
            "S3_BUCKET_NAME",
            "service=registry2",
            "0x7f3c2c1d5e80",
            "bob2@example.com",
            "(regcred2)",
        ] {
            assert!(!is_secret_like(word), "{word}");
        }
    }

    #[test]
    fn a_user_with_a_secret_is_no_object_in_a_namespace() {
        for (text, expected) in [
            ("bob:hunter2X", true),
            ("bob/hunter2X", true),
            ("shop/web-0", false),
            ("shop/regcred2", false),
            ("/etc/tls2X.key", false),
            ("10.0.0.7:443", false),
        ] {
            assert_eq!(is_pair_with_secret(text), expected, "{text}");
        }
    }

    #[test]
    fn the_name_of_an_object_is_like_a_secret_only_where_no_name_is_expected() {
        for name in ["web-5f4d7c9b8d-x2k4z", "node1.example.com"] {
            assert!(is_secret_like(name) && !is_secret_like_and_no_name(name), "{name}");
        }
    }
}
