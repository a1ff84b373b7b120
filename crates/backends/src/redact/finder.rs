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
use super::names::{NAME, OPAQUE, SPACED_NAME, VARIABLES, pattern};
use super::ordinary::is_ordinary;
use super::random;
use super::secret_like::{is_pair_with_secret, is_secret_like, is_secret_like_and_no_name};
use super::validators;
use super::values::{Words, introduced};
use super::variables;

/// `password: `, `"token":`, `REGISTRY_PASS=`, `aws_secret_access_key := `, `user['password'] = `, `API key provided: `, also
/// inside escaped JSON. Validators and PHP write more before the value: `password: Invalid value: `.
static KEY: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        concat!(
            r"(?i)(?:{name}[a-z0-9_.-]*|{spaced})(?:\s+(?:provided|given|supplied|received|entered|specified|used|value|id))?",
            r#"\\*["'`]?[\])]{{0,2}}\s*(?:=>|->|<-|:=|==|!=|[:=\u{{2192}}])"#,
            r"(?:\s*(?:invalid|unsupported|unexpected|illegal|bad)\s+(?:value|type|input)\s*:|\s*string\([0-9]+\))?",
            r"(?:\s*(?:string|integer|number)\s)?",
        ),
        name = NAME,
        spaced = SPACED_NAME,
    ))
});

/// A name and its value in two fields: the variables of a container, headers, XML attributes, errors of validators.
static NAMED: LazyLock<Regex> = LazyLock::new(|| {
    let name = format!(r#"\\*["']?\s*[:=]\s*\\*["']?[a-z0-9_./-]*{NAME}[a-z0-9_.-]*\\*["']?"#);
    let field = "name|key|header|variable|id|field|param(?:eter)?|property|attribute|option|type";
    let value = "(?:rejected_?|invalid_?|default_?)?val(?:ue)?s?|content";
    // Variables have capitals, and any name can hold a secret.
    let variable = r#"(?-i:\\*["']?\s*[:=]\s*\\*["']?[A-Z_][A-Z0-9_]+\\*["']?)"#;
    pattern(&format!(
        r#"(?i)(?-u:\b)(?:(?:{field}){name}|(?:name|key){variable})\s*[,;]?\s*\\*["']?(?:{value})\\*["']?\s*[:=]"#
    ))
});

/// `('X-Api-Key', '...')` of Python, a field of a form as it is sent, a field as PHP writes it.
static TUPLE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        concat!(
            r#"(?i)\(\s*b?\\*["'][a-z0-9_.-]*{name}[a-z0-9_.-]*\\*["']\s*,\s*b?"#,
            r#"|form-data;\s*name=\\*["']?[a-z0-9_.\[\]-]*{name}[a-z0-9_.\[\]-]*\\*["']?\s+"#,
            r#"|{name}[a-z0-9_.-]*\\*["'];s:[0-9]+:"#,
            r#"|(?:auth|login|credentials?|password)[a-z]{{0,20}}[({{]\s*\\*["'][^"'\\]*\\*["']\s*,\s*"#,
        ),
        name = NAME,
    ))
});

/// Members that may hold secrets below any name, in JSON that was cut or is printed otherwise.
static OPAQUE_MEMBER: LazyLock<Regex> = LazyLock::new(|| {
    let names = &*OPAQUE;
    pattern(&format!(r#"(?i)\\*["']{names}\\*["']\s*(?:=>|:)|(?-u:\b)input_value="#))
});

/// `env: [{name: MODE, value: hunter2}]`, `Env:[]v1.EnvVar{...}`, `data={...}` of a call, `data:map[...]` of Go.
static ENVIRONMENT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        concat!(
            r"(?i)(?-u:\b)(?:(?:{variables}\s*[:=]|(?:data|json|body|payload)=)\s*(?:\[\]\*?[a-z0-9_.]+|{map})?",
            r#"|{opaque}\\*["']?\s*[:=]\s*{map})"#,
        ),
        variables = VARIABLES,
        opaque = *OPAQUE,
        map = r"(?:map\[string\](?:\[\])?[a-z0-9_.*]+(?:\s?\{\})?|map)"
    ))
});

/// `key:"MODE" value:"hunter2"`: a variable as protobuf prints it.
static PROTOBUF: LazyLock<Regex> =
    LazyLock::new(|| pattern(r#"(?-u:\b)(?:key|name):\s*\\*"[^"\\]{0,200}\\*"\s+value:"#));

/// `--creds `, `--dest-creds=`, `'--password', `: as typed, or as a list of arguments is printed.
static FLAG: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?-u:\b{start-half})--?(?i:[a-z0-9_.-]*(?:pass|pwd|psw|creds|credential|token|secret|auth|bearer|cookie|from-literal",
        r#"|api[_-]?key|access[_-]?key)[a-z0-9_.-]*)\\*["']?(?:\s*[=,]\s*|\s+)"#,
    ))
});

/// `-p `: a password, but also a port or a path.
static SHORT_FLAG: LazyLock<Regex> = LazyLock::new(|| pattern(r#"(?-u:\b{start-half})-p\\*["']?(?:\s*[=,]\s*|\s+)"#));

/// Flags whose value holds a secret after a colon, or is a key: `--user bob:...`, `--decryption-key /k.pem:...`.
static USER_FLAG: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?-u:\b{start-half})(?:-[uUE]|--(?i:(?:proxy-)?user|(?:proxy-)?cert|key|[a-z0-9-]+-key))",
        r#"\\*["']?(?:\s*[=,]\s*|\s+)"#,
    ))
});

/// The header; its value is a scheme and a word.
static AUTHORIZATION: LazyLock<Regex> = LazyLock::new(|| pattern(r#"(?i)authorization\\*["']?\s*(?:=>|[:=,])"#));

/// A scheme without its header.
static SCHEME: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)(?-u:\b)(?:bearer(?:\s+token)?|negotiate|ntlm)(?:\s*[:=]\s*|\s+)"));

/// `invalid password ...`, `login bob password ...` of netrc, `AUTH ...` of Redis and its settings, SQL, variables as shells
/// and servers set them.
static PHRASE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        concat!(
            r"(?-u:\b)(?:(?i:(?:password|passwd|passphrase|passcode|client secret(?: provided)?)(?:\s+(?:is|was))?)",
            r"|(?i:requirepass|masterauth|primaryauth|rootpw|bindpw)|AUTH|IDENTIFIED(?:\s+WITH\s+\S+)?\s+(?:BY|AS)(?:\s+PASSWORD)?",
            r"|(?i:(?:env|arg|setenv|setx|set\s+-[a-z]+|fastcgi_param|proxy_set_header|RequestHeader\s+set|config(?:ure)?\s+set)",
            r"\s+[a-z0-9_.-]*{name}[a-z0-9_.-]*))\s+|(?i:password)\((?:\s*\\*['\x22])",
        ),
        name = NAME,
    ))
});

/// A secret-like name in a sentence. What follows is a secret only if it looks like one.
static SENTENCE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        concat!(
            r#"(?i)(?:(?:{spaced}|private\s+key|identified\s+by|{name}[a-z0-9_.-]*)\\*["'`]?[\])]{{0,2}}"#,
            r"(?:\s+(?:is|was|to|of|as|from|with|value|id|set|changed|provided|given|supplied|received|used|header)){{0,3}}",
            r"(?:\s+(?:for|of)(?:\s+(?:user|account|host|registry|key|file|database|realm))?\s+[^ ]{{1,80}}?(?:\s+(?:is|was|to)|\s*[:=]))?",
            r"\s+(?:[>\u{{2013}}\u{{2014}}-]\s+)?",
            // A list of two, as JSON, Erlang and Elixir have it.
            r#"|[\[{{]\s*:?\\*["']?[a-z0-9_.-]*{name}[a-z0-9_.-]*\\*["']?\s*,\s*(?:<<)?)"#,
        ),
        name = NAME,
        spaced = SPACED_NAME,
    ))
});

/// `login failed for bob:hunter2`. What follows is a secret only if it is a user with one.
static LOGIN: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?i)(?-u:\b)(?:log(?:ging|ged)?[ -]?(?:in|on)|sign(?:ing|ed)?[ -]?in|auth(?:entication|enticate[ds]?|enticating)?|access)",
        r"(?:\s+[a-z]{1,20}:?|:){0,5}\s+",
    ))
});

/// `token ...`: no names of objects are expected there.
static TOKEN: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)(?-u:\b)(?:token|jwt|(?:api|access)[ _-]key)(?:\s+(?:is|was|of|value))?\s+"));

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
    for introduction in [&KEY, &NAMED, &TUPLE, &FLAG, &SCHEME, &validators::VALUE, &variables::UNQUOTED] {
        spans.extend(introduced(text, introduction, Words::One, |_| true));
    }
    spans.extend(introduced(text, &OPAQUE_MEMBER, Words::None, has_content));
    spans.extend(introduced(text, &ENVIRONMENT, Words::None, |value| {
        value.starts_with(['[', '(', '{']) && has_content(value)
    }));
    spans.extend(introduced(text, &SENTENCE, Words::One, |value| {
        is_secret_like_and_no_name(value) || is_pair_with_secret(value)
    }));
    spans.extend(introduced(text, &PROTOBUF, Words::None, has_content));
    spans.extend(introduced(text, &validators::MESSAGE, Words::None, validators::has_content));
    spans.extend(introduced(text, &validators::PHRASE, Words::One, is_secret_like_and_no_name));
    spans.extend(introduced(text, &LOGIN, Words::One, |value| value.contains(':') && is_pair_with_secret(value)));
    spans.extend(introduced(text, &TOKEN, Words::One, is_secret_like));
    spans.extend(introduced(text, &SHORT_FLAG, Words::One, is_password));
    spans.extend(introduced(text, &USER_FLAG, Words::One, is_user_or_key));
    spans.extend(introduced(text, &PHRASE, Words::One, is_word));
    spans.extend(variables::found(text));
    spans.extend(forms::user_infos(text));
    spans.extend(forms::found(text));
    spans.extend(random::found(text));
    spans
}

/// Whether there is more than brackets and ordinary words.
fn has_content(value: &str) -> bool {
    value.bytes().any(|byte| byte.is_ascii_alphanumeric()) && !value.split_whitespace().all(is_ordinary)
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
pub(super) fn marked(text: &str, mut spans: Vec<Range<usize>>) -> String {
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
