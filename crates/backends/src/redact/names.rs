//! Names whose values are secrets: keys of JSON and YAML, variables, flags, elements of XML.

use std::sync::LazyLock;

use regex::Regex;

/// The part of a name that makes its value a secret. It is no whole pattern: others are built around it.
pub(super) const NAME: &str = concat!(
    r"(?:password|passwd|passphrase|passcode|passwort|kennwort|pass[_-]?key|pswd|pwd|pgpass|htpasswd|requirepass|secret|token",
    r"|credential|creds|cookie|signature|(?:api|access|private|secret|encryption|encrypt|decryption|signing|account|master",
    r"|license|shared|storage|service|session|client|ssh|ssl|tls|application|app|consumer|deploy|admin|root|subscription",
    r"|webhook|auth|functions?|security|symmetric)[_-]?key|x-[a-z0-9-]+-(?:key|api(?-u:\b))",
    r"|sess(?:ion)?[_-]?id|conn(?:ection)?[_-]?str(?:ing)?|docker[_-]?config|dockercfg|kubeconfig|database[_-]?url",
    r"|seed[_-]?phrase|mnemonic|recovery[_-]?(?:code|key)|verification[_-]?code|pin[_-]?code|code[_-]?verifier",
    r"|(?-i:[a-z0-9](?:P(?:ass|w|wd)|Auth|Creds?))(?-u:\b)|(?:basic|http|proxy|registry|docker|user)auth(?-u:\b|_)",
    // `dbpass`, `rootpw`, but not `bypass` and `compass`.
    r"|(?:[a-ln-xz0-9]|my|key|proxy|entry|registry|repository|system)pass(?-u:\b|_)|[a-z0-9]pw(?-u:\b|_)",
    r"|(?-u:\b|_)(?:auth|pass|pw|sig|jwt|t?otp|psk|dsn|hmac)(?-u:\b|_))",
);

/// The variables of a container, of a build and of a playbook.
pub(super) const VARIABLES: &str = concat!(
    r"(?:(?:(?:container|pod|build|extra)[_-]?)?(?:env(?:iron(?:ment)?)?s?(?:[_-]?var(?:iable)?s?)?|vars|variables)",
    r"|build[_-]?args?|string[_-]?data|binary[_-]?data)",
);

/// Names whose values may hold secrets below any name: the request that a server repeats (`input`, `ctx` and `body` of
/// FastAPI), variables, the data of a Secret and of Vault. It is no whole pattern.
pub(super) static OPAQUE: LazyLock<String> = LazyLock::new(|| {
    format!(r"(?:{VARIABLES}|data|ctx|inputs?|form(?:[_-]?data)?|kwargs|(?:(?:raw|request)[_-]?)?(?:body|payload))")
});

/// A name of two words, as messages have it.
pub(super) const SPACED_NAME: &str = concat!(
    r"(?:(?:api|access|secret|account|shared|license|master|subscription|consumer|signing|encryption|decryption|function|auth",
    r"|authentication)\s+key|connection\s+string|one-time\s+code|verification\s+code|recovery\s+code)",
);

static OPAQUE_NAME: LazyLock<Regex> = LazyLock::new(|| pattern(&format!("(?i)^{}$", *OPAQUE)));

static SECRET_NAME: LazyLock<Regex> = LazyLock::new(|| pattern(&format!("(?i){NAME}")));

#[expect(clippy::expect_used, reason = "the patterns are constants; the tests of this module use each of them")]
pub(super) fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a constant pattern")
}

/// Whether the value of this name is a secret.
pub(super) fn is_secret(name: &str) -> bool {
    SECRET_NAME.is_match(name)
}

/// Whether the value of this name may hold secrets below any name.
pub(super) fn is_opaque(name: &str) -> bool {
    OPAQUE_NAME.is_match(name)
}
