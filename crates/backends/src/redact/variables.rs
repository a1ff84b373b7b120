//! Finds the values of variables on command lines: `podman run -e MODE=hunter2`. Any name can hold a secret.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::names::pattern;
use super::ordinary::is_ordinary;
use super::values::quoted;

/// Flags whose argument is a variable, with what separates them from it: as typed, or as a list is printed.
const FLAG: &str = concat!(
    r#"(?:^|[\s"'`\[(,=])(?:-[eEdF]|-var|--(?:env(?:-add|-var)?|environment|set-?env|build-(?:arg|env)|extra-vars|var|set-string"#,
    r"|data(?:-raw|-binary|-urlencode)?|form(?:-string)?|param(?:eter)?s?|parameter-overrides|opt))",
    r#"\\*["'`]?(?:\s*[=,]\s*|\s+(?:-\s+)?)"#,
);

/// The name of a variable.
const VARIABLE: &str = r"(?:build-arg:)?[A-Za-z_][A-Za-z0-9_.-]*=";

/// A variable without quotes around all of it, behind its flag or in one word with it.
pub(super) static UNQUOTED: LazyLock<Regex> =
    LazyLock::new(|| pattern(&format!(r#"{FLAG}{VARIABLE}|(?:^|[\s"'`\[(,])-e[A-Z][A-Z0-9_]*="#)));

/// Variables behind a command that sets them: `env A=b MODE=hunter2`, `ENV MODE="two words"`.
static SET: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        concat!(
            r#"(?:^|[\s"'`\[(;&|/])"#,
            r"(?:ARG|(?i:env(?:iron(?:ment)?)?s?(?:\s+-[a-z0-9-]+)*|variables?)|export|config:set|secrets?\s+set|set\s+env(?:\s+\S+)?",
            r#"|env\s+(?:set|add))\\*["'`]?[\s,:=\[(]+\\*["'`]?(?<variables>(?:{variable}{value}\\*["'`]?[\s,]*\\*["'`]?)+)"#,
        ),
        variable = VARIABLE,
        value = VALUE
    ))
});

/// Each of them.
static EACH: LazyLock<Regex> = LazyLock::new(|| pattern(&format!("(?:^|[\\s\"'`]){VARIABLE}(?<value>{VALUE})")));

const VALUE: &str = r#"(?:"[^"]*"|'[^']*'|[^\s"'`]+)"#;

/// A variable with quotes around all of it: `-e "MODE=two words"`, `["-e", "MODE=..."]`.
static QUOTED: LazyLock<Regex> =
    LazyLock::new(|| pattern(&format!(r#"{FLAG}(?<escapes>\\*)(?:(?<double>")|(?<single>')|(?<back>`)){VARIABLE}"#)));

/// The values of variables in quotes, and of those that a command sets.
pub(super) fn found(text: &str) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    let mut from = 0;
    while let Some(captures) = QUOTED.captures_at(text, from) {
        let (Some(all), Some(escapes)) = (captures.get(0), captures.name("escapes")) else { break };
        let quote = [("double", '"'), ("single", '\''), ("back", '`')];
        let quote = quote.into_iter().find_map(|(name, quote)| captures.name(name).map(|_| quote)).unwrap_or('"');
        let start = all.end();
        let end = start + quoted(&text[start..], quote, escapes.len());
        spans.push(start..end);
        from = end;
    }
    for variables in SET.captures_iter(text).filter_map(|captures| captures.name("variables")) {
        let values = EACH.captures_iter(variables.as_str()).filter_map(|captures| captures.name("value"));
        let values = values.filter(|value| !is_ordinary(value.as_str())).map(|value| value.range());
        spans.extend(values.map(|value| variables.start() + value.start..variables.start() + value.end));
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_in_quotes_is_found_whole() {
        for (text, expected) in [
            (r#"podman run -e "A=two words" x"#, "two words"),
            (r"['podman', '-e', 'A=two words', 'x']", "two words"),
            (r#"{"args":["--env","A=two \"words\""]}"#, r#"two \"words\""#),
            (r#"["--build-arg=A=b",\"--env\",\"A=two words\"]"#, "two words"),
            ("--extra-vars 'A=two B=words'", "two B=words"),
        ] {
            let found: Vec<_> = found(text).into_iter().map(|span| &text[span]).collect();
            assert_eq!(found, [expected], "{text}");
        }
    }
}
