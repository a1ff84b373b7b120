//! Names whose values are secrets: keys of JSON and YAML, variables, flags, elements of XML.

use std::sync::LazyLock;

use regex::Regex;

/// The part of a name that makes its value a secret. It is no whole pattern: others are built around it.
pub(super) const NAME: &str = concat!(
    r"(?:password|passwd|passphrase|passcode|pswd|pwd|pgpass|htpasswd|secret|token|credential|creds|cookie|signature",
    r"|(?:api|access|private|secret|encryption|encrypt|decryption|signing|account|master|license|shared|storage|service",
    r"|session|client|ssh|ssl|tls|application|app|consumer|deploy|admin|root|subscription|webhook|auth)[_-]?key",
    r"|sess(?:ion)?[_-]?id|conn(?:ection)?[_-]?str(?:ing)?|docker[_-]?config|dockercfg|kubeconfig|database[_-]?url",
    r"|(?-i:[a-z0-9]P(?:ass|w|wd))(?-u:\b)",
    r"|(?-u:\b|_)(?:auth|pass|pw|sig|jwt|otp|psk|dsn)(?-u:\b|_))",
);

static SECRET_NAME: LazyLock<Regex> = LazyLock::new(|| pattern(&format!("(?i){NAME}")));

#[expect(clippy::expect_used, reason = "the patterns are constants; the tests of this module use each of them")]
pub(super) fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a constant pattern")
}

/// Whether the value of this name is a secret.
pub(super) fn is_secret(name: &str) -> bool {
    SECRET_NAME.is_match(name)
}
