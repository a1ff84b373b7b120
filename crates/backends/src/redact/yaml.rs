//! Removes what is indented below a secret-like key of YAML, before the lines of a text become one.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

use super::mark::MARK;
use super::names::{self, pattern};

/// A line that is a key alone, or a key of a block of text (`|`, `>-`).
static KEY_LINE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r#"^(?<indent>[ \t]*(?:- +)?)\\*["']?(?<name>[A-Za-z0-9_.-]+)\\*["']?:\s*(?:[|>][0-9+-]*)?\s*(?:#.*)?$"#)
});

static SECRET_KIND: LazyLock<Regex> = LazyLock::new(|| pattern(r#"(?m)^[ \t]*["']?kind["']?:\s*["']?Secret["']?\s*$"#));

/// A text with a mark in place of each line below a secret-like key, or below `data` of a Secret.
pub(super) fn redacted(text: &str) -> Cow<'_, str> {
    if !text.contains('\n') {
        return Cow::Borrowed(text);
    }
    let is_secret = SECRET_KIND.is_match(text);
    let mut lines = Vec::new();
    // The indentation of the key whose lines are masked.
    let mut below: Option<usize> = None;
    for line in text.lines() {
        if let Some(indent) = below
            && is_below(line, indent)
        {
            if !line.trim().is_empty() {
                lines.push(format!("{:indent$}{MARK}", ""));
            }
            continue;
        }
        below = KEY_LINE
            .captures(line)
            .filter(|key| {
                let name = &key["name"];
                names::is_secret(name) || (is_secret && matches!(name, "data" | "stringData"))
            })
            .map(|key| key["indent"].len());
        lines.push(line.to_owned());
    }
    Cow::Owned(lines.join("\n"))
}

/// Whether a line belongs to a key with this indentation. The items of a list need no further indentation.
fn is_below(line: &str, indent: usize) -> bool {
    let content = line.trim_start();
    let own = line.len() - content.len();
    content.is_empty() || own > indent || (own == indent && content.starts_with("- "))
}
