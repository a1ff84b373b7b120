//! Errors of validators: the name of a field, and beside it what was wrong with its value, often with the value.
//!
//! A message of the usual words is shown, for example `Input should be a valid string`. Any other message about a secret field is a
//! secret as a whole, because a value in it looks like a word.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value};

use super::names::{self, NAME, pattern};
use super::ordinary::{AROUND, is_ordinary};

/// Members that hold the name of a field, or the path to it.
const FIELDS: [&str; 15] = [
    "attribute",
    "field",
    "fieldname",
    "id",
    "instancepath",
    "label",
    "loc",
    "location",
    "option",
    "outputkey",
    "param",
    "parameter",
    "parameterkey",
    "path",
    "property",
];

/// Members that hold what is wrong.
const MESSAGES: [&str; 9] =
    ["constraints", "defaultmessage", "description", "detail", "error", "errormessage", "message", "msg", "reason"];

/// Words of validators beside the ordinary ones, in alphabetical order.
const WORDS: [&str; 60] = [
    "allowed",
    "any",
    "api",
    "api_key",
    "apikey",
    "array",
    "blank",
    "body",
    "boolean",
    "characters",
    "contain",
    "contains",
    "digit",
    "equal",
    "exactly",
    "extra",
    "fewer",
    "float",
    "greater",
    "input",
    "inputs",
    "int",
    "integer",
    "items",
    "least",
    "less",
    "letter",
    "list",
    "long",
    "longer",
    "lowercase",
    "match",
    "matches",
    "max",
    "maximum",
    "min",
    "minimum",
    "more",
    "most",
    "number",
    "object",
    "one",
    "only",
    "parsing",
    "password",
    "pattern",
    "permitted",
    "present",
    "range",
    "shape",
    "short",
    "shorter",
    "str",
    "string",
    "than",
    "this",
    "uppercase",
    "valid",
    "values",
    "with",
];

/// The longest number that is a limit and no secret.
const LONGEST_LIMIT: usize = 3;

/// The same in JSON that was cut, or as Python prints it: `'loc': ('body', 'password'), 'msg': ...`.
pub(super) static MESSAGE: LazyLock<Regex> = LazyLock::new(|| pattern(&introduction(&MESSAGES.join("|"))));

/// The value of a field whose path is a list; the others are found by their name.
pub(super) static VALUE: LazyLock<Regex> =
    LazyLock::new(|| pattern(&introduction("(?:rejected_?|invalid_?|default_?)?val(?:ue)?s?|received")));

/// `password: value is not a valid integer: hunter2`. What follows is a secret only if it looks like one.
pub(super) static PHRASE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        concat!(
            r#"(?i){name}[a-z0-9_.-]*\\*["'`]?:?\s+(?:value|must|should|input|is|was|does|has)\s"#,
            r"(?:[a-z]{{1,12}}[ ,]+){{0,8}}?(?:[a-z]{{1,12}}:|be|got|given|received|equal)\s+",
        ),
        name = NAME
    ))
});

fn introduction(members: &str) -> String {
    let name = r#"[a-z0-9_./$-]*NAME[a-z0-9_.-]*\\*["']"#.replace("NAME", NAME);
    format!(
        concat!(
            r#"(?i)(?-u:\b)(?:field(?:_?name)?|param(?:eter)?|property|attribute|option|path|loc|location)\\*["']\s*[:=]\s*"#,
            r#"(?:\\*["']{name}|[\[(][^\[\]()]{{0,200}}?{name}[^\[\]()]{{0,200}}?[\])])\s*,\s*\\*["'](?:{members})\\*["']\s*[:=]"#,
        ),
        name = name,
        members = members
    )
}

/// Whether an object is about a field with a secret-like name.
pub(super) fn has_secret_field(members: &Map<String, Value>) -> bool {
    fields(members).any(|(_, name)| names::is_secret(name))
}

/// The same, where it is certain that it is a field: the path of a URL is none.
pub(super) fn has_messages_of_a_secret(members: &Map<String, Value>) -> bool {
    let is_field =
        |member: &str, name: &str| !member.eq_ignore_ascii_case("id") && !name.trim_matches('/').contains('/');
    fields(members).any(|(member, name)| is_field(member, name) && names::is_secret(name))
}

/// The names, with the members that hold them. A path can be a list.
fn fields(members: &Map<String, Value>) -> impl Iterator<Item = (&str, &str)> {
    let is_field = |member: &str| FIELDS.iter().any(|field| member.eq_ignore_ascii_case(field));
    members.iter().filter(move |(member, _)| is_field(member)).flat_map(|(member, value)| {
        let names = match value {
            Value::Array(parts) => parts.as_slice(),
            name => std::slice::from_ref(name),
        };
        names.iter().filter_map(Value::as_str).map(move |name| (member.as_str(), name))
    })
}

/// Whether this member is a message that may hold the value of the field.
pub(super) fn is_message_with_content(member: &str, value: &Value) -> bool {
    MESSAGES.contains(&member)
        && match value {
            Value::String(message) => has_content(message),
            Value::Object(messages) => messages.values().filter_map(Value::as_str).any(has_content),
            _ => false,
        }
}

/// Whether a message has other words than those of validators.
pub(super) fn has_content(message: &str) -> bool {
    !message.split_whitespace().all(|word| {
        let word = word.trim_matches(AROUND).to_ascii_lowercase();
        word.is_empty()
            || is_ordinary(&word)
            || WORDS.binary_search(&word.as_str()).is_ok()
            || (word.len() <= LONGEST_LIMIT && word.bytes().all(|byte| byte.is_ascii_digit()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_in_order() {
        assert!(WORDS.is_sorted());
    }

    #[test]
    fn a_message_of_the_usual_words_has_no_content() {
        for (message, expected) in [
            ("Field required", false),
            ("Input should be a valid integer, unable to parse string as an integer", false),
            ("String should have at least 8 characters", false),
            ("\"password\" is required", false),
            ("value is not a valid integer: opensesame", true),
            ("'opensesame' is too short", true),
            ("not a valid integer: 12345678", true),
        ] {
            assert_eq!(has_content(message), expected, "{message}");
        }
    }
}
