use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::super::criu::PodSpec;
use super::super::review::{Envelope, creation};
use super::*;

/// What JSON is made of, and what looks like it.
const PIECES: [&str; 60] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\"\"",
    "\"a\":",
    "{}",
    "[]",
    "true",
    "false",
    "null",
    "tru",
    "nul",
    "0",
    "-",
    "00",
    "12",
    ".",
    ".5",
    "e",
    "E+",
    "e-7",
    "1e400",
    "-0.0E+00",
    "+",
    " ",
    "\t",
    "\n",
    "\r",
    "\u{c}",
    "\u{b}",
    "\0",
    "\u{1f}",
    "\u{7f}",
    "\\",
    "\\\"",
    "\\\\",
    "\\/",
    "\\n",
    "\\u",
    "\\u00e9",
    "\\ud800",
    "\\uD834\\uDD1E",
    "\\x",
    "\\u00g0",
    "é",
    "🦀",
    "\u{a0}",
    "\u{2028}",
    "a",
    "12345678",
    "eight by",
    "\"sixteen bytes in\"",
    "\"escaped \\\" quote\"",
    "\"uid\":\"r-2\"",
    "\"labels\":null",
    "\"name\"",
];

fn pieces(most: usize) -> impl Strategy<Value = String> {
    vec(select(&PIECES[..]), 0..most).prop_map(|pieces| pieces.concat())
}

/// A change to a text: where it begins, how many characters go, and what comes.
type Edit = (Index, usize, String);

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    vec((any::<Index>(), 0..4_usize, pieces(3)), 0..4)
}

fn edited(text: &str, edits: Vec<Edit>) -> String {
    edits.into_iter().fold(text.to_owned(), |text, (place, gone, come)| {
        let letters: Vec<char> = text.chars().collect();
        let place = place.index(letters.len() + 1);
        let (before, after) = (&letters[..place], &letters[(place + gone).min(letters.len())..]);
        before.iter().copied().chain(come.chars()).chain(after.iter().copied()).collect()
    })
}

/// A review with something of everything that is read, and of much that is not.
fn review() -> Value {
    let metadata = json!({
        "name": "web-1", "generateName": "web-", "finalizers": ["a/b", 1, -2.5e3, [[], {}, [true, false, null]]],
        "labels": {"app": "w\u{e9}b", "snap.weaversoft.io/snap": "true", "snap.weaversoft.io/other": "x"},
        "annotations": {"last-applied": "{\"kind\":\"Pod\"}\n", "snap.weaversoft.io/delay": "5s", "a": ""},
    });
    let container = json!({
        "name": "app", "ports": [{"protocol": "TCP", "containerPort": 80}], "volumeDevices": [{"a": 1}, 2],
        "resources": {"limits": {"cpu": "1"}, "claims": []}, "volumeMounts": [{"name": "v", "mountPath": "/v"}],
    });
    let volume = json!({"name": "v", "hostPath": {"path": "/dev/x", "type": "CharDevice"}});
    let spec = json!({"os": {"name": "linux"}, "hostIPC": false, "containers": [container], "volumes": [volume]});
    creation("r-1", &json!({"metadata": metadata, "spec": spec}))
}

/// Skipping takes what serde_json takes, up to a depth.
fn skips_alike(text: &str) -> Result<(), TestCaseError> {
    let (quick, slow) = (read::<IgnoredAny>(text).is_ok(), serde_json::from_str::<IgnoredAny>(text).is_ok());
    let is_deep = text.matches(['[', '{']).count() >= 63;
    prop_assert!(quick == slow || (is_deep && !quick), "{}: {}, serde_json: {}", text, quick, slow);
    Ok(())
}

/// What is read is what serde_json reads.
fn reads_alike<'a, T: Deserialize<'a> + fmt::Debug>(text: &'a str) -> Result<(), TestCaseError> {
    if let Ok(quick) = read::<T>(text) {
        let slow = serde_json::from_str::<T>(text);
        prop_assert!(slow.is_ok(), "{}: {:?}", text, slow);
        prop_assert_eq!(format!("{:?}", quick), format!("{:?}", slow.unwrap()), "{}", text);
    }
    Ok(())
}

fn alike(text: &str) -> Result<(), TestCaseError> {
    skips_alike(text)?;
    reads_alike::<Envelope<'_, IgnoredAny>>(text)?;
    reads_alike::<Envelope<'_, PodSpec<'_>>>(text)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn pieces_of_json_are_read_as_serde_json_reads_them(text in pieces(40)) {
        alike(&text)?;
        alike(&format!("[{text}]"))?;
        alike(&format!("{{\"a\":\"{text}\"}}"))?;
    }

    #[test]
    fn a_damaged_review_is_read_as_serde_json_reads_it(edits in edits(), pretty in any::<bool>()) {
        let text = if pretty { format!("{:#}", review()) } else { review().to_string() };
        alike(&edited(&text, edits))?;
    }
}

#[test]
fn the_corpus_of_fuzzing_is_read_as_serde_json_reads_it() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let folders = ["review", "found"].map(|name| std::fs::read_dir(corpus.join(name)).unwrap());
    for path in folders.into_iter().flatten().map(|entry| entry.unwrap().path()) {
        if let Ok(text) = std::str::from_utf8(&std::fs::read(&path).unwrap()) {
            alike(text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
    }
}

#[test]
fn a_review_as_an_api_server_writes_it_is_not_left_to_serde_json() {
    for text in
        [review().to_string(), format!("{:#}\n", review()), include_str!("../../../../bench/review.json").to_owned()]
    {
        assert!(read::<Envelope<'_, IgnoredAny>>(&text).is_ok(), "{text}");
        assert!(read::<Envelope<'_, PodSpec<'_>>>(&text).is_ok(), "{text}");
    }
}

#[test]
fn a_string_is_skipped_wherever_it_ends_and_whatever_is_in_it() {
    for length in 0..40 {
        for special in ["", "\\\"", "\\u00e9", "é", "\u{1f}", "\\", "\\u12", "\0"] {
            for place in 0..=length {
                let text = format!("[\"{}{special}{}\"]", "x".repeat(place), "x".repeat(length - place));
                skips_alike(&text).unwrap();
                skips_alike(&text[..text.len() - 2]).unwrap();
            }
        }
    }
}

#[test]
fn what_is_nested_deeper_than_any_pod_is_left_to_serde_json() {
    for (depth, expected) in [(1, true), (63, true), (64, false), (100_000, false)] {
        let text = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(read::<IgnoredAny>(&text).is_ok(), expected, "{depth}");
        let text = format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        assert_eq!(read::<IgnoredAny>(&text).is_ok(), expected, "{depth}");
    }
}
