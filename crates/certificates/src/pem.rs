//! Certificates in PEM form as text: split, sorted and joined.

use std::collections::BTreeSet;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// Joins certificates: sorted, each once, so that equal sets are equal texts.
pub(super) fn join_certificates<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let sorted: BTreeSet<String> = texts.into_iter().flat_map(split_certificates).collect();
    sorted.into_iter().collect()
}

/// The certificates of a text, without the text around them.
pub(super) fn split_certificates(text: &str) -> Vec<String> {
    let mut certificates = Vec::new();
    let mut open: Option<String> = None;
    for line in text.lines().map(str::trim) {
        if line == BEGIN {
            open = Some(String::new());
        }
        if let Some(certificate) = &mut open {
            certificate.push_str(line);
            certificate.push('\n');
        }
        if line == END {
            certificates.extend(open.take());
        }
    }
    certificates
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(content: &str) -> String {
        format!("{BEGIN}\n{content}\n{END}\n")
    }

    #[test]
    fn joined_certificates_are_sorted_and_unique() {
        let (a, b) = (certificate("AAAA"), certificate("BBBB"));
        let expected = format!("{a}{b}");
        for (case, texts) in [
            ("in order", vec![a.clone(), b.clone()]),
            ("out of order", vec![b.clone(), a.clone()]),
            ("doubled", vec![b.clone(), a.clone(), b.clone()]),
            ("in one text", vec![format!("subject=CN b\n{b}\n{a}trailing\n")]),
            ("with Windows line ends", vec![b.replace('\n', "\r\n"), a.replace('\n', "\r\n")]),
        ] {
            assert_eq!(join_certificates(texts.iter().map(String::as_str)), expected, "{case}");
        }
        assert_eq!(join_certificates([]), "");
    }
}
