//! Text of others, made safe to show in one line.

/// One line of visible characters: without the control sequences of a terminal and without characters that hide text; a line
/// break, and any other control character, becomes a space.
pub fn one_visible_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    let mut rest = text.chars();
    loop {
        if let Some(after) = after_control_sequence(rest.as_str()) {
            rest = after.chars();
            continue;
        }
        let Some(character) = rest.next() else { return line };
        if is_break(character) {
            line.push(' ');
        } else if !is_invisible(character) {
            line.push(character);
        }
    }
}

/// Characters without width, and those that change the direction of writing: they hide text.
pub fn is_invisible(character: char) -> bool {
    matches!(character, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Control characters, line breaks among them.
pub fn is_break(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}' | '\u{2029}')
}

/// The text behind a color or a cursor movement of a terminal at its start, see ECMA-48 section 5.4.
fn after_control_sequence(text: &str) -> Option<&str> {
    let parameters = text.strip_prefix("\u{1b}[").or_else(|| text.strip_prefix('\u{9b}'))?;
    let is_within = |first, last| move |character: char| (first..=last).contains(&character);
    let end = parameters.trim_start_matches(is_within('0', '?')).trim_start_matches(is_within(' ', '/'));
    end.strip_prefix(is_within('@', '~'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_no_breaks_and_nothing_that_hides_text() {
        for (text, expected) in [
            ("", ""),
            ("two\nlines\r\nand\ttab", "two lines  and tab"),
            ("next\u{85}line\u{2028}x\u{2029}", "next line x "),
            ("\u{1b}[31mred\u{1b}[0m", "red"),
            ("\u{9b}1;2 qcursor", "cursor"),
            ("\u{1b}[", " ["),
            ("\u{1b}[31", " [31"),
            ("\u{1b}[\u{1b}[2Jx", " [x"),
            ("\u{1b}]0;title\u{7}", " ]0;title "),
            ("a\u{ad}b\u{200b}c\u{202e}d\u{2066}e\u{feff}", "abcde"),
            ("é…日本", "é…日本"),
        ] {
            assert_eq!(one_visible_line(text), expected, "{text:?}");
        }
    }
}
