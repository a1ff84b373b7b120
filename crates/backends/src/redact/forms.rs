//! Finds secrets that are recognized by their own form, or by the form of what is around them.

use std::ops::Range;
use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::commands;
use super::names::{NAME, pattern};
use super::ordinary::is_ordinary;
use super::secret_like::is_secret_like;

/// `scheme://user:password@host`. A password may have a bare `/` in it; `registry:5000/image@sha256:...` is no password.
static USER_INFO: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"://(?<secret>[^\s/:@]*:[^\s/@]*[^\s/@0-9][^\s/@]*/[^\s@]*)@|://(?<plain>[^\s/]*)@"));

/// `user:123/456@host`, whose password looks like a port with a path.
static NUMBERS: LazyLock<Regex> = LazyLock::new(|| pattern(r"://(?<secret>[^\s/:@]+:[0-9]+/[^\s@]*[^\s@/])@"));

/// `user:password@host` without a scheme, as in data source names; `thin:user/password@` of JDBC.
static BARE_USER_INFO: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r#"(?:^|[\s"'=(\[,]|thin:)(?<secret>[^\s/:@"'=(\[,]+:[^\s/:@"']+)@[A-Za-z0-9(\[/]|thin:(?<thin>[^\s/:@]+/[^\s@]+)@"#,
    )
});

/// `basic` is also an ordinary word: it counts before a text that can be base64 of `a:b`.
static BASIC: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)(?-u:\b)basic\s+(?:(?<pair>[^\s:]+:[^\s:]+)|(?<secret>[a-z0-9+/_-]{4,}={0,2}))"));

/// All pairs of a cookie; `-b name=value` of curl.
static COOKIES: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r#"(?i)(?:cookie2?\\*["']?\s*[:=,]\s*[\[(]?\\*["']?|(?-u:\b{start-half})-b\\*["']?[\s,]+\\*["']?)"#,
        r#"(?<secret>[^\s;,"'=]+=[^\s;"',]*(?:;\s*[^\s;,"'=]+(?:=[^\s;"',]*)?)*)"#,
    ))
});

/// The parameters of `Authorization: Digest username="bob", response="..."` and of other schemes with parameters.
static PARAMETERS: LazyLock<Regex> = LazyLock::new(|| {
    let parameter = r#"[a-z0-9_-]+=(?:\\*"[^"\\]*\\*"|[^\s,"]+)"#;
    pattern(&format!(
        r"(?i)(?-u:\b)(?:digest|hawk|oauth|mac|signature|aws4-[a-z0-9-]+)\s+(?<secret>{parameter}(?:\s*,\s*{parameter})*)"
    ))
});

/// `<password>...</password>`, `<entry key="password">...<`, `<key>password</key><string>...<`.
static ELEMENT: LazyLock<Regex> = LazyLock::new(|| {
    let name = format!(r"[a-z0-9:_.-]*{NAME}[a-z0-9:_.-]*");
    let named = format!(r#"<[a-z0-9:_.-]+\s[^<>]*(?-u:\b)(?:key|name|id)=\\*["']{name}\\*["'][^<>]*>"#);
    let after = format!(r"<(?:key|name)>\s*{name}\s*</(?:key|name)>\s*<[a-z0-9:_.-]+>");
    pattern(&format!(r"(?i)(?:<{name}(?:\s[^<>]*)?>|{named}|{after})\s*(?:<!\[CDATA\[)?(?<secret>[^<]+)"))
});

/// `value: ..., name: DB_PASSWORD`: the value comes first.
static VALUE_FIRST: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        concat!(
            r#"(?i)(?-u:\b)value\\*["']?\s*[:=]\s*\\*["']?(?<secret>[^"',\s]+)\\*["']?\s*[,;]?\s*"#,
            r#"\\*["']?(?:name|key)\\*["']?\s*[:=]\s*\\*["']?[a-z0-9_./-]*{NAME}"#
        ),
        NAME = NAME
    ))
});

/// A field of a form of HTML: `<input type="password" value="...">`.
static FORM_FIELD: LazyLock<Regex> = LazyLock::new(|| {
    let value = r#"\svalue=\\*["'](?<VALUE>[^"'<>\\]+)"#;
    let (after, before) = (value.replace("VALUE", "after"), value.replace("VALUE", "before"));
    pattern(&format!("(?i)<[^<>]*{NAME}[^<>]*{after}|<[^<>]*{before}[^<>]*{NAME}"))
});

/// `{DB_PASSWORD hunter2 nil}`, `{Key:MODE Value:hunter2}`: how Go prints a variable of a container by `%v` and `%+v`.
static GO_VARIABLE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"\{(?:Name|Key):[^\s,{}]+\s+Value:(?<field>[^{}]+?)\}",
        r"|\{[A-Za-z_][A-Za-z0-9_.]*\s(?<secret>[^{}]+?)\s(?:<nil>|nil|&EnvVarSource|0x[0-9a-f]+)(?-u:\b|\})"
    ))
});

/// `EnvVar{Name:MODE,Value:hunter2,ValueFrom:nil,}` and `KeyValue{Key:MODE,Value:hunter2,}` of protobuf; `%+v` of the former.
static GO_FIELDS: [LazyLock<Regex>; 2] = [
    LazyLock::new(|| pattern(r"Name:[^\s,{}]+[\s,]\s*Value:(?<secret>.+?)[\s,]\s*ValueFrom:")),
    LazyLock::new(|| pattern(r"(?:Name|Key):[^\s,{}]+,\s*Value:(?<secret>.+?),\}")),
];

/// Parameters of a query that are a permission, but whose names say nothing elsewhere.
static QUERY: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?i)[?&](?:code|key|ticket|assertion|client_assertion|saml(?:response|request|art))=",
        r#"(?<secret>[^&\s"'<>\\]+)"#
    ))
});

/// `host:port:database:user:password`, a line of the password file of PostgreSQL.
static PASSWORD_FILE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?:^|\s)[A-Za-z0-9.*-]+:(?:[0-9]+|\*):[^\s:]+:[^\s:]+:(?<secret>[^\s:]+)"));

/// `-phunter2`, `-ubob:hunter2`: a short flag with its value in one word.
static GLUED: LazyLock<Regex> =
    LazyLock::new(|| pattern(r#"(?:^|[\s"'\[(,])-(?:u(?<secret>[^\s:"']+:[^\s"',]+)|p(?<plain>[^\s=/"',]+))"#));

/// The second word of `AUTH user password` and `AUTH PLAIN ...`.
static AUTH: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?-u:\b)AUTH\s+[A-Za-z0-9_-]+\s+(?<secret>[^\s,;:]+)"));

/// The token with which a node joins a cluster by kubeadm.
static JOIN_TOKEN: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?:^|[^A-Za-z0-9_.-])(?<secret>[a-z0-9]{6}\.[a-z0-9]{16})(?:[^A-Za-z0-9_.-]|\.?\s|\.?$)")
});

/// Tokens with a known prefix, of cloud providers, registries, code hosts and chats. Where the prefix can also begin an
/// ordinary name, a part of the token's own form follows it.
static PREFIXED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?-u:\b{start-half})(?:gh[pousr]_|github_pat_|gl(?:pat|dt|rt|cbt|ffct|ft|imt|agent|oas|ptt|soat)-|GR1348941",
        r"|dckr_(?:pat|oat)_|npm_[A-Za-z0-9]{20}|xox[abeoprs]-|xoxe\.|xapp-[0-9]-|sha256~|hv[sbr]\.|[srp]k_(?:test|live|prod)_",
        r"|sk-(?:(?:proj|svcacct|admin|ant|or)-|[A-Za-z0-9]{16})|whsec_|AKCp|cmVmd|LTAI|ABSK|bedrock-api-key-Y|p8e-|ops_eyJ",
        r"|v1\.0-[a-f0-9]{24}-|dapi[a-f0-9]{16}|do[opr]_v1_|dp\.(?:pt|st|ct|sa|scim|audit)\.|duffel_(?:test|live)_|dt0c01\.",
        r"|EZ[AT]K|EAA[ACM]|FLW(?:SECK|PUBK)(?:_TEST)?-|fo1_|fm[12][ar]?_|fio-u-|AIza|GOCSPX-|ya29\.|gl(?:c|sa)_|HRKU-",
        r"|hf_[A-Za-z]{20}|api_org_[A-Za-z]{20}|ico-[A-Za-z0-9]{20}|s-s4t2(?:ud|af)-|lin_(?:api|oauth)_|NR(?:AK|II|JS|AL|RA)-",
        r"|ntn_[0-9]{8}|secret_[A-Za-z0-9]{30}|API-[A-Z0-9]{16}|pplx-|pscale_(?:tkn|oauth|pw)_|PMAK-|pnu_|pul-[a-f0-9]{20}",
        r"|pypi-AgE|rdme_[a-z0-9]{30}|rubygems_[a-f0-9]{30}|tk-us-|SG\.|xkeysib-|xsmtpsib-|sntry[su]_|sm_[aps]at_",
        r"|shippo_(?:live|test)_|shp(?:at|ca|pa|ss)_|sgp_|sq0[a-z]{3}-|sq[aup]_[A-Za-z0-9]{20}|sl\.[A-Za-z0-9_-]{40}|tfp_",
        r"|dnkey-|(?:CLOJARS|clojars)_[a-z0-9]{30}|AGE-SECRET-KEY-|A3-[A-Z0-9]{6}-|nvapi-|gsk_|xai-[A-Za-z0-9]{20}",
        r"|r8_[A-Za-z0-9]{20}|figd_|tvly-|amzn\.mws\.|4b1d[A-Za-z0-9]{28}|AQVN|key-[0-9a-f]{22}",
        r"|access-(?:sandbox|development|production)-[0-9a-f]{8}-)[A-Za-z0-9_.~+/=-]{10,}",
    ))
});

/// Secrets with another known form.
static KNOWN: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"eyJ[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*)+|eyJrIjoi[A-Za-z0-9+/]{20,}={0,2}|ZXlK[A-Za-z0-9+/]{30,}={0,2}",
        r"|(?:AKIA|ASIA|AROA|AIDA|ABIA|ACCA|AGPA|AIPA|ANPA|ANVA|A3T[A-Z0-9])[0-9A-Z]{12,}",
        // Secrets of Azure applications; tokens of Terraform, Telegram, Facebook, Airtable, Harness, MaxMind, Mailchimp.
        r"|[A-Za-z0-9_~.]{3}[0-9]Q~[A-Za-z0-9_~.-]{10,}|[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{20,}",
        r"|(?-u:\b)[0-9]{5,16}:A[A-Za-z0-9_-]{34}(?-u:\b)|(?-u:\b)[0-9]{15,16}\|[A-Za-z0-9_-]{27,40}",
        r"|(?-u:\b)pat[A-Za-z0-9]{14}\.[a-f0-9]{64}|(?:pat|sat)\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9]{24}\.[A-Za-z0-9]{20}",
        r"|(?-u:\b)[A-Za-z0-9]{6}_[A-Za-z0-9]{29}_mmk|(?-u:\b)[a-f0-9]{32}-us[0-9]{1,2}(?-u:\b)",
        // Hashes of passwords, as in `/etc/shadow` and `.htpasswd`.
        r"|\$(?:2[abxy]?|apr1|[156y]|argon2[a-z]*|pbkdf2[a-z0-9-]*|scrypt)\$[A-Za-z0-9./$=,+_-]{12,}",
        // A token of Vault before 1.10; one of Authress; Mapbox; Yandex.
        r"|(?-u:\b)s\.[A-Za-z0-9]{24}(?-u:\b)|(?:sc|ext|scauth|authress)_[A-Za-z0-9]{5,30}\.[A-Za-z0-9]{4,6}\.acc[_-][A-Za-z0-9.+/_=-]{30,}",
        r"|(?-u:\b)[ps]k\.[A-Za-z0-9]{60}\.[A-Za-z0-9]{22}|(?-u:\b)t1\.[A-Za-z0-9_-]+={0,2}\.[A-Za-z0-9_-]{80,}={0,2}",
        // Addresses that are a permission: anyone who knows one can post.
        r"|hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9+/]{20,}|[a-z0-9-]+\.webhook\.office\.com/\S+",
        r"|discord(?:app)?\.com/api/webhooks/\S+",
        r"|-----BEGIN[A-Z0-9 _-]* PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END[A-Z0-9 _-]* PRIVATE KEY(?: BLOCK)?-----|$)",
        r"|-----BEGIN PRIVATE KEY-----.*?(?:-----END PRIVATE KEY-----|$)",
    ))
});

/// The secrets of a known form in a text.
pub(super) fn found(text: &str) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    for pattern in [&BASIC, &AUTH] {
        spans.extend(captured(text, pattern, |secret| !is_ordinary(secret) && is_no_lower_word(secret)));
    }
    let [variable, pair] = &GO_FIELDS;
    for pattern in [variable, pair, &COOKIES, &PARAMETERS, &ELEMENT, &VALUE_FIRST, &FORM_FIELD, &GO_VARIABLE] {
        spans.extend(captured(text, pattern, |secret| !is_ordinary(secret)));
    }
    spans.extend(captured(text, &GLUED, is_glued_password));
    spans.extend(commands::found(text));
    spans.extend(captured(text, &QUERY, |secret| !is_ordinary(secret) && !secret.bytes().all(|b| b.is_ascii_digit())));
    spans.extend(captured(text, &PASSWORD_FILE, is_secret_like));
    spans.extend(captured(text, &JOIN_TOKEN, |secret| secret[7..].bytes().any(|byte| byte.is_ascii_digit())));
    for pattern in [&PREFIXED, &KNOWN] {
        spans.extend(pattern.find_iter(text).map(|found| found.range()));
    }
    spans
}

/// User and password of each URL and data source name.
pub(super) fn user_infos(text: &str) -> Vec<Range<usize>> {
    let is_digest =
        |span: &Range<usize>| text[span.end..].starts_with("@sha256:") || text[span.end..].starts_with("@sha512:");
    let mut spans = captured(text, &USER_INFO, |_| true);
    spans.extend(captured(text, &NUMBERS, |_| true));
    spans.extend(captured(text, &BARE_USER_INFO, |secret| !secret.starts_with("mailto:")));
    spans.retain(|span| !is_digest(span));
    spans
}

/// The first group of each match that took part in it, if it is accepted.
fn captured(text: &str, pattern: &Regex, accepts: impl Fn(&str) -> bool) -> Vec<Range<usize>> {
    let secret = |captures: Captures<'_>| captures.iter().skip(1).flatten().next().map(|found| found.range());
    pattern.captures_iter(text).filter_map(secret).filter(|span| accepts(&text[span.clone()])).collect()
}

/// Whether a text is more than one word in small letters.
fn is_no_lower_word(text: &str) -> bool {
    !text.bytes().all(|byte| byte.is_ascii_lowercase())
}

/// Whether the rest of `-p...` is a password: `-port` is the flag of another name, `-p8080:80` a port.
fn is_glued_password(rest: &str) -> bool {
    rest.contains(':') && !rest.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b':' | b'.'))
        || rest.bytes().any(|byte| byte.is_ascii_uppercase())
        || (rest.bytes().any(|byte| byte.is_ascii_digit()) && rest.bytes().any(|byte| byte.is_ascii_alphabetic()))
}
