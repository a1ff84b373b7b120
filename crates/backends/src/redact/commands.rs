//! Finds the secrets in the command lines of programs whose flags do not say what they hold: `unzip -P hunter2`.
//!
//! A command is printed as typed, or as a list of arguments. Both read the same once quotes and commas are spaces.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::names::{NAME, pattern};
use super::ordinary::is_ordinary;

/// Programs, and the flags whose value is a secret. A flag that the same program also uses otherwise is not here.
const PROGRAMS: [(&str, &str); 8] = [
    (r"sshpass|mysql\w*|mariadb[\w-]*|7z\w?", "-p"),
    ("(?:un)?rar", "-h?p"),
    ("redis-cli", "-a"),
    (r"ldap\w+|ds(?:conf|idm|ctl)", "-[A-Zcnvx]{0,4}w"),
    ("ldappasswd", "-[sa]"),
    (r"(?:f?un)?zip(?:cloak|note)?|sqlcmd|bcp|[io]sql|ipmi(?:tool|power|console)|mosquitto_\w+|ssh-keygen", "-[NP]"),
    (r"snmp\w+", "-[cAX]"),
    (r"openssl|enscript", "-[kK] "),
];

/// Each row of [`PROGRAMS`]: what finds the program, and what finds the secret behind it.
static BY_FLAG: LazyLock<Vec<(Regex, Regex)>> = LazyLock::new(|| {
    let both = |(programs, flag): &(&str, &str)| {
        let program = pattern(&format!(r"(?-u:\b)(?:{programs}) "));
        (program, pattern(&format!(r"(?: |^){flag} *=? *(?<secret>[^\s|;&-][^\s|;&]*)")))
    };
    PROGRAMS.iter().map(both).collect()
});

/// Commands whose secret is an argument without a flag, or a part of one. A mark is never an argument before the secret,
/// so that a second search finds the same.
static BY_PLACE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        // `htpasswd -b FILE USER PASSWORD`: without a file with `-n`.
        r"(?-u:\b)htpasswd +(?:-\S+ +)*-\w*b\w* +(?:-\S+ +)*(?<htpasswd>[^\s|;&\[-][^\s|;&]*(?: +[^\s|;&]+){0,2})",
        r"|(?-u:\b)(?:add_user|change_password|authenticate_user) +[^\s\[]+ +(?<rabbitmq>[^\s|;&]+)",
        r"|(?-u:\b)mc +(?:alias +set|config +host +add) +[^\s\[]+ +[^\s\[]+ +(?<minio>[^\s\[]+ +[^\s|;&]+)",
        r"|(?-u:\b)net +user +[^\s/\[]+ +(?<windows>[^\s/*|;&]+)|(?-u:\b)net +use +(?:[a-z*]: +)?\\\\\S+ +(?<share>[^\s/*|;&]+)",
        r"|(?-u:\b)(?:wpa_passphrase|radtest) +[^\s\[]+ +(?<radio>[^\s|;&]+)",
        r"|(?-u:\b)vault +login +(?:-\S+ +)*(?:token=)?(?<vault>[^\s=|;&-][^\s=|;&]*)(?: |$)",
        r"|(?-u:\b)(?:sqlplus|sqlldr|rman|expdp|impdp|userid=) *(?:-\S+ +)*(?:target +)?[^\s/=]+/(?<oracle>[^\s@/]+)",
        r"|(?-u:\b)connect +[^\s/:=]+/(?<connect>[^\s@/]+)@",
        r"|(?-u:\b)lftp +(?:\S+ +)*?(?:-u|--user) *=? *[^\s,\[]+ (?<lftp>[^\s|;&]+)",
        r"|(?-u:\b)vault +(?:kv +(?:put|patch)|write) +(?:-\S+ +)*[^\s\[-]\S* +(?<fields>[^\s|;&\[][^|;&]*)",
        r"|(?: |^)/(?:p(?:ass(?:word)?)?:|rp +)(?<remote>[^\s|;&]+)",
        // Rules and settings of Redis.
        r"|(?-u:\b)(?:SETUSER|user) +[^\s\[]+ +(?:\S+ +){0,6}>(?<rule>[^\s>]\S*)|(?-u:\b)auth-pass +[^\s\[]+ +(?<sentinel>\S+)",
        // `bob%hunter2` of Samba.
        r"|(?: |^)(?:-U|--user(?:name)?) *=? *[^\s%\[]+%(?<samba>[^\s|;&]+)",
        r"|ConvertTo-SecureString +(?:-String +)?(?<powershell>[^\s|;&\[-][^\s|;&]*)",
        // What a program reads from the text behind it, or from `echo`.
        r"|<<< *(?<here>[^\s|;&<][^\s|;&]*)",
        r"|(?-u:\b)(?:echo|printf) +(?:-[neE]+ +)*(?<piped>[^\s|-][^|]{0,200}?) *\|",
    ))
});

/// Further ones, and a setting whose name and value are two arguments.
static BY_NAME: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        concat!(
            r"(?: |^)(?:-n|-k|--name|--key|--property|--setting) *=? *(?i:[a-z0-9_./-]*{name}[a-z0-9_.-]*) +(?:-v|--value) *=? *(?<setting>[^\s|;&]+)",
            r"|(?: |^)-o +(?:[^\s]+ +){{0,12}}?user(?:name)?=[^\s%\[]+%(?<mount>[^\s|;&]+)",
            r"|(?-u:\b)smbclient +(?:[^\s|;&]+ +){{0,12}}?(?://|\\\\)[^\s|;&]+ +(?<share>[^\s|;&\[-][^\s|;&]*)",
            r"|(?-u:\b)vault +(?:operator +(?:unseal|rekey|generate-root|decrypt)|unwrap|token +(?:lookup|renew|revoke))",
            r" +(?:-\S+ +)*(?<vault>[^\s|;&\[-][^\s|;&]*)",
            r"|(?-u:\b)(?:(?:cargo|npm|snyk|railway|infisical) +(?:login|auth|owner)|authtoken|add-authtoken|openssl +passwd|mkpasswd|rclone +obscure)",
            r" +(?:-\S+ +)*(?<login>[^\s|;&\[-][^\s|;&]*)",
            r"|(?-u:\b)(?:secret|variable) +set +[^\s\[]+ +(?:-b|--body) *=? *(?<body>[^\s|;&]+)",
        ),
        name = NAME
    ))
});

/// The secrets of commands.
pub(super) fn found(text: &str) -> Vec<Range<usize>> {
    // Of the same length, so that a place in it is a place in the text.
    let spaced = text.replace(['"', '\'', '`', ',', '\t'], " ");
    let mut spans = Vec::new();
    for (program, flag) in &*BY_FLAG {
        let mut from = 0;
        while let Some(found) = program.find_at(&spaced, from) {
            let start = found.end() - 1;
            let end = spaced[start..].find(['|', ';', '&']).map_or(spaced.len(), |length| start + length);
            let secrets = flag.captures_iter(&spaced[start..end]).filter_map(|captures| captures.name("secret"));
            spans.extend(secrets.map(|secret| start + secret.start()..start + secret.end()));
            from = end;
        }
    }
    let all = BY_PLACE.captures_iter(&spaced).chain(BY_NAME.captures_iter(&spaced));
    let places = all.filter_map(|captures| captures.iter().skip(1).flatten().next());
    spans.extend(places.filter(|secret| !is_ordinary(secret.as_str())).map(|secret| secret.range()));
    spans.into_iter().map(|span| span.start..whole_end(text, &span)).collect()
}

/// Where a secret ends in the text with quotes: at the closing one, or with the word.
fn whole_end(text: &str, span: &Range<usize>) -> usize {
    let rest = &text[span.end..];
    let quote = text[..span.start].chars().next_back().filter(|before| matches!(before, '"' | '\'' | '`'));
    let length = match quote {
        Some(quote) => rest.find(quote),
        None => rest.find(|next: char| next.is_whitespace() || matches!(next, '"' | '\'' | '`' | '|' | ';' | '&')),
    };
    span.end + length.unwrap_or(if quote.is_some() { 0 } else { rest.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(text: &str) -> Vec<&str> {
        found(text).into_iter().map(|span| &text[span]).collect()
    }

    #[test]
    fn a_flag_counts_only_behind_its_program() {
        assert_eq!(secrets("unzip -o -P hunter2 a.zip"), ["hunter2"]);
        assert_eq!(secrets("scp -P 2222 a b; tar -w x"), [""; 0]);
        assert_eq!(secrets("zip a b | scp -P 2222 a b"), [""; 0]);
    }

    #[test]
    fn each_flag_of_a_program_counts() {
        assert_eq!(secrets("snmpget -v3 -A first -X second host"), ["first", "second"]);
    }

    #[test]
    fn a_secret_with_spaces_or_commas_is_found_whole() {
        assert_eq!(secrets("ldapsearch -w 'two words' x"), ["two words"]);
        assert_eq!(secrets("ldapsearch -w one,two x"), ["one,two"]);
        assert_eq!(secrets("['ldapsearch', '-w', 'two words', 'x']"), ["two words"]);
    }

    #[test]
    fn many_programs_take_little_time() {
        let started = std::time::Instant::now();
        found(&"snmpget ".repeat(8 * 1024));
        let took = started.elapsed();
        assert!(took < std::time::Duration::from_secs(5), "{took:?}");
    }
}
