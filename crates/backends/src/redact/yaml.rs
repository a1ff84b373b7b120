//! Removes what is indented below a secret-like key of YAML, or follows a secret-like section of TOML and INI, before the lines
//! of a text become one.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

use super::mark::MARK;
use super::names::{self, pattern};

/// A line that is a key alone, or a key of a block of text (`|`, `>-`).
static KEY_LINE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r#"^(?<indent>[ \t]*(?:- +)?)\\*["']?(?<name>[A-Za-z0-9_.-]+)\\*["']?:\s*(?:[|>][0-9+-]*)?\s*(?:#.*)?$"#)
});

/// A line that begins a section: `[credentials]`.
static SECTION_LINE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r#"^\s*\[+["']?(?<name>[A-Za-z0-9_. -]+)["']?\]+\s*$"#));

/// A text with a mark in place of each line below a secret-like key, and of those of a secret-like section.
pub(super) fn redacted(text: &str) -> Cow<'_, str> {
    if !text.contains('\n') {
        return Cow::Borrowed(text);
    }
    let mut lines = Vec::new();
    let (mut is_changed, mut is_in_section) = (false, false);
    // The indentation of the key whose lines are masked.
    let mut below: Option<usize> = None;
    for line in text.lines() {
        if let Some(indent) = below
            && is_below(line, indent)
        {
            if !line.trim().is_empty() {
                lines.push(format!("{:indent$}{MARK}", ""));
                is_changed = true;
            }
            continue;
        }
        if let Some(section) = SECTION_LINE.captures(line) {
            let name = &section["name"];
            is_in_section = names::is_secret(name) || names::is_opaque(name);
        } else if is_in_section && !line.trim().is_empty() {
            lines.push(MARK.to_owned());
            is_changed = true;
            continue;
        }
        below = KEY_LINE
            .captures(line)
            .filter(|key| {
                let name = &key["name"];
                names::is_secret(name) || names::is_opaque(name)
            })
            .map(|key| key["indent"].len());
        lines.push(line.to_owned());
    }
    if is_changed { Cow::Owned(lines.join("\n")) } else { Cow::Borrowed(text) }
}

/// Whether a line belongs to a key with this indentation. The items of a list need no further indentation.
fn is_below(line: &str, indent: usize) -> bool {
    let content = line.trim_start();
    let own = line.len() - content.len();
    content.is_empty() || own > indent || (own == indent && content.starts_with("- "))
}
