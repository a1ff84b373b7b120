//! Warnings about keys with our prefix that SnapWatcher does not read, such as misspelled ones.

use snapwatcher_api::keys::{CONTAINERS, DELAY, MUTATED, ONCE_PER, PREFIX, REVISION_LABEL, SNAP};

use super::metadata::{Annotations, Labels};

/// A key is suggested if at most this many edits lead to it.
const MAX_EDITS: usize = 2;

const LABELS: [&str; 2] = [SNAP, MUTATED];
const ANNOTATIONS: [&str; 4] = [CONTAINERS, DELAY, ONCE_PER, REVISION_LABEL];

/// One warning for each unknown key. Another component of SNAP may read the key, so it is no reason to deny a pod.
pub(super) fn unknown_key_warnings(labels: Option<&Labels<'_>>, annotations: Option<&Annotations<'_>>) -> Vec<String> {
    let labels = labels.into_iter().flat_map(|labels| &labels.unknown).map(|key| describe_label(key));
    let annotations = annotations.into_iter().flat_map(|annotations| &annotations.unknown);
    labels.chain(annotations.map(|key| describe_annotation(key))).collect()
}

fn describe_label(key: &str) -> String {
    if ANNOTATIONS.contains(&key) {
        return format!("label {key} is ignored: SnapWatcher reads it as an annotation");
    }
    describe_unknown("label", key, &LABELS)
}

fn describe_annotation(key: &str) -> String {
    if LABELS.contains(&key) {
        return format!("annotation {key} is ignored: SnapWatcher reads it as a label");
    }
    describe_unknown("annotation", key, &ANNOTATIONS)
}

fn describe_unknown(kind: &str, key: &str, known: &[&str]) -> String {
    // The distance is quadratic in the length, so that only keys of similar length are compared.
    let nearest = known
        .iter()
        .filter(|known| key.len().abs_diff(known.len()) <= MAX_EDITS)
        .map(|&known| (strsim::osa_distance(&key.to_ascii_lowercase(), known), known))
        .min();
    match nearest.filter(|(edits, _)| *edits <= MAX_EDITS) {
        Some((_, known)) => format!("{kind} {key} is not recognized; did you mean `{}`?", &known[PREFIX.len()..]),
        None => format!("{kind} {key} is not recognized by SnapWatcher"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn warnings(labels: &Value, annotations: &Value) -> Vec<String> {
        let (labels, annotations) = (labels.to_string(), annotations.to_string());
        let labels = serde_json::from_str::<Labels<'_>>(&labels).unwrap();
        let annotations = serde_json::from_str::<Annotations<'_>>(&annotations).unwrap();
        unknown_key_warnings(Some(&labels), Some(&annotations))
    }

    #[test]
    fn a_misspelled_key_is_answered_by_a_suggestion() {
        for (key, expected) in [
            ("delays", "annotation snap.weaversoft.io/delays is not recognized; did you mean `delay`?"),
            ("container", "annotation snap.weaversoft.io/container is not recognized; did you mean `containers`?"),
            ("Once_Per", "annotation snap.weaversoft.io/Once_Per is not recognized; did you mean `once-per`?"),
            ("restore-from", "annotation snap.weaversoft.io/restore-from is not recognized by SnapWatcher"),
            ("snap", "annotation snap.weaversoft.io/snap is ignored: SnapWatcher reads it as a label"),
        ] {
            assert_eq!(warnings(&json!({}), &json!({ format!("{PREFIX}{key}"): "x" })), [expected]);
        }
        let labels = json!({"snap.weaversoft.io/mutatd": "false", DELAY: "5s", "snap.other.io/x": "1"});
        assert_eq!(
            warnings(&labels, &json!({})),
            [
                "label snap.weaversoft.io/delay is ignored: SnapWatcher reads it as an annotation",
                "label snap.weaversoft.io/mutatd is not recognized; did you mean `mutated`?",
            ]
        );
    }

    #[test]
    fn known_keys_are_not_warned_about() {
        let labels = json!({ SNAP: "true", MUTATED: "false", "app": "web" });
        let annotations = json!({ CONTAINERS: "app", DELAY: "5s", ONCE_PER: "pod", REVISION_LABEL: "app" });
        assert_eq!(warnings(&labels, &annotations), Vec::<String>::new());
    }
}
