//! A text without its encodings, escapes and line breaks: the form in which a known secret is compared with a text.
//!
//! Servers print what they were sent percent-encoded, as HTML, as JSON, and with several lines in one. Both sides are flattened,
//! so that no list of forms is needed.

use std::ops::Range;

use super::decoded::Decoded;

/// A flattened text, and where each byte of it, and its end, begins in the original.
pub(super) struct Flat {
    pub(super) text: String,
    origins: Vec<usize>,
}

impl Flat {
    /// Resolves encodings, drops backslashes, and makes each run of blanks one space. A `+` is the blank of forms of HTML.
    pub(super) fn of(original: &str) -> Self {
        let decoded = Decoded::of(original);
        let source = decoded.as_ref().map_or(original, |decoded| &decoded.text);
        let mut flat =
            Self { text: String::with_capacity(source.len()), origins: Vec::with_capacity(source.len() + 1) };
        // A backslash belongs to what follows, so that none is left in front of a mark.
        let mut backslashes = None;
        for (at, character) in source.char_indices() {
            if character == '\\' {
                backslashes.get_or_insert(at);
                continue;
            }
            let from = backslashes.take().unwrap_or(at);
            let is_blank = character == '+' || character.is_whitespace();
            if is_blank && flat.text.ends_with(' ') {
                continue;
            }
            flat.text.push(if is_blank { ' ' } else { character });
            flat.origins.resize(flat.text.len(), from);
        }
        flat.origins.push(backslashes.unwrap_or(source.len()));
        if let Some(decoded) = decoded {
            flat.origins.iter_mut().for_each(|at| *at = decoded.origin(&(*at..*at)).start);
        }
        flat
    }

    /// Where a part of the flattened text is in the original.
    pub(super) fn origin(&self, part: &Range<usize>) -> Range<usize> {
        self.origins[part.start]..self.origins[part.end]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_escapes_and_lines_make_no_difference() {
        for text in [
            "a \"b\" & ä/ö",
            "a+%22b%22+%26+%C3%A4%2f%c3%b6",
            r#"a \"b\" \u0026 \u00e4\/\u00F6"#,
            "a\r\n  &quot;b&#34; &amp;amp; &#228;&#x2F;&#xf6;",
            r"a\n\x22b\x22\t& \xc3\xa4/\u{f6}",
        ] {
            assert_eq!(Flat::of(text).text, "a \"b\" & ä/ö", "{text}");
        }
        assert_eq!(Flat::of(r"\ud83d\ude00 and \U0001f600, %ff\u0000%c3").text, "😀 and 😀, ÿu0000Ã");
    }

    #[test]
    fn a_part_of_it_is_found_in_the_original() {
        let text = r"say  p\u00e4ss\/w%C3%B6rd\\ now";
        let flat = Flat::of(text);
        let start = flat.text.find("pä").unwrap();
        let origin = flat.origin(&(start..flat.text.find(" now").unwrap()));
        assert_eq!(&text[origin], r"p\u00e4ss\/w%C3%B6rd");
    }
}
