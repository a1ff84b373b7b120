//! The words that docs/glossary.md replaces, and where they are looked for besides the texts.

use crate::texts::own_words;

/// Words and phrases that docs/glossary.md replaces, or that leave open who does what.
const FORBIDDEN: [&str; 41] = [
    "told",
    "tell",
    "tells",
    "telling",
    "stand",
    "stands",
    "stood",
    "away",
    "somebody",
    "nobody",
    "whoever",
    "in vain",
    "at its own hand",
    "asked for",
    "comes to nothing",
    "came to nothing",
    "come to nothing",
    "wish",
    "wishes",
    "wished",
    "slip",
    "slips",
    "slipped",
    "journey",
    "journeys",
    "turn",
    "word of",
    "its word",
    "give up",
    "gives up",
    "gave up",
    "given up",
    "by hand",
    "labelled",
    "leaf",
    "leaves",
    "anew",
    "put right",
    "handover",
    "go on",
    "goes on",
];

/// Ordinary phrases that contain one of those words.
const ACCEPTED: [&str; 7] =
    ["turn on", "turn off", "stand in", "stand ins", "first word of", "second word of", "last word of"];

/// The comments and the names of the tests in a file, each with the number of its first line. Code in backticks is left out.
pub(crate) fn comments_and_test_names(source: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let (mut is_in_comment, mut is_test) = (false, false);
    for (number, line) in (1..).zip(source.lines().map(str::trim_start)) {
        if let Some(comment) = line.strip_prefix("//") {
            let comment = comment.trim_start_matches(['/', '!']);
            match found.last_mut().filter(|_| is_in_comment) {
                Some((_, block)) => block.push_str(comment),
                None => found.push((number, comment.to_owned())),
            }
        } else if let Some((_, function)) = line.split_once("fn ").filter(|_| is_test) {
            let name = function.split('(').next().unwrap_or_default();
            found.push((number, name.replace('_', " ")));
            is_test = false;
        }
        is_in_comment = line.starts_with("//");
        is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
    }
    let without_code = |text: String| text.split('`').step_by(2).collect::<Vec<_>>().join("_");
    found.into_iter().map(|(number, text)| (number, without_code(text))).collect()
}

/// The forbidden words and phrases in a text.
pub(crate) fn forbidden(text: &str) -> Vec<&'static str> {
    let words: Vec<String> = own_words(text)
        .split(|letter: char| !letter.is_alphanumeric() && !matches!(letter, '\'' | '/' | '_'))
        .filter(|word| !word.is_empty())
        // A name such as `NotLabelled` is no word.
        .map(|word| if word.chars().skip(1).any(char::is_uppercase) { word.to_owned() } else { word.to_lowercase() })
        .collect();
    let mut sentence = format!(" {} ", words.join(" "));
    for phrase in ACCEPTED {
        sentence = sentence.replace(&format!(" {phrase} "), " ");
    }
    FORBIDDEN.into_iter().filter(|phrase| sentence.contains(&format!(" {phrase} "))).collect()
}

#[test]
fn comments_and_names_of_tests_are_found() {
    let source =
        "//! One\n//! comment.\n\nfn a() {}\n    /// Of `code`.\n    #[test]\n    async fn b_c() {\n// And one.\n";
    let found = comments_and_test_names(source);
    let found: Vec<_> = found.iter().map(|(number, text)| (*number, text.trim())).collect();
    assert_eq!(found, [(1, "One comment."), (5, "Of _."), (7, "b c"), (8, "And one.")]);
}

#[test]
fn forbidden_words_are_found_as_words() {
    for (text, expected) in [
        ("the kubelet is away", &["away"][..]),
        ("Nobody is told.", &["told", "nobody"]),
        ("checkpoints that were asked for", &["asked for"]),
        ("the {leaf} of `NotLabelled` understands returned tellers", &[]),
        ("turn on the feature gate", &[]),
        ("the stand-in reads the first word of a line", &[]),
        ("it is its turn", &["turn"]),
    ] {
        assert_eq!(forbidden(text), expected, "{text}");
    }
}
