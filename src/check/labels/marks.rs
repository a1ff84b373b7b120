//! What the metadata of an object or of a template says with the keys of SNAP.

use std::collections::{BTreeMap, BTreeSet};

use snapwatcher_api::keys::{ADMISSION, CONTAINERS, DELAY, MUTATED, ONCE_PER, OPTED_IN, PREFIX, REVISION_LABEL, SNAP};

use super::{LabelsOfPods, Mistake, OPTED_OUT};

/// Annotations of pods that people write.
const OPTIONS: [&str; 4] = [CONTAINERS, DELAY, ONCE_PER, REVISION_LABEL];

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Marks {
    /// The values of [`SNAP`].
    pub(super) label: Option<String>,
    pub(super) annotation: Option<String>,
    /// Those of [`OPTIONS`].
    pub(super) options: BTreeSet<&'static str>,
    /// Keys that nothing reads there, each as `label KEY` or `annotation KEY`, without the prefix.
    pub(super) unread: BTreeSet<String>,
}

impl Marks {
    pub(super) fn of(labels: &BTreeMap<String, String>, annotations: &BTreeMap<String, String>) -> Self {
        let others = |of: &str, values: &BTreeMap<String, String>, read: &[&str]| -> Vec<String> {
            let keys = values.keys().filter(|key| !read.contains(&key.as_str()));
            keys.filter_map(|key| Some(format!("{of} `{}`", key.strip_prefix(PREFIX)?))).collect()
        };
        // SnapWatcher warns about the label as an annotation on its own.
        let read = [&OPTIONS[..], &[ADMISSION, SNAP]].concat();
        let unread =
            others("label", labels, &[SNAP, MUTATED]).into_iter().chain(others("annotation", annotations, &read));
        Self {
            label: labels.get(SNAP).cloned(),
            annotation: annotations.get(SNAP).cloned(),
            options: OPTIONS.into_iter().filter(|option| annotations.contains_key(*option)).collect(),
            unread: unread.collect(),
        }
    }

    /// Both together; of the values of one key, that of `self`.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.label = self.label.or(other.label);
        self.annotation = self.annotation.or(other.annotation);
        self.options.extend(other.options);
        self.unread.extend(other.unread);
        self
    }
}

/// The mistakes in an object, each with what a finding adds to its name. `own` are the marks that its pods do not get.
pub(super) fn mistakes(place: LabelsOfPods, own: &Marks, template: &Marks) -> Vec<(Mistake, Option<String>)> {
    let none = Marks::default();
    let pods = match place {
        LabelsOfPods::Own => own,
        LabelsOfPods::InTemplate => template,
        LabelsOfPods::Nowhere => &none,
    };
    let label = label_mistake(pods, own).map(|mistake| {
        let value = pods.label.as_ref().filter(|_| mistake == Mistake::OtherValue);
        (mistake, value.map(|value| format!("`{value}`")))
    });
    let lost: Vec<String> = own.options.difference(&pods.options).map(|key| format!("`{}`", short(key))).collect();
    let options = (!lost.is_empty()).then(|| (Mistake::OptionsNotOnPods, Some(lost.join(", "))));
    let unread: Vec<&str> = own.unread.union(&pods.unread).map(String::as_str).collect();
    let unread = (!unread.is_empty()).then(|| (Mistake::Unread, Some(unread.join(", "))));
    label.into_iter().chain(options).chain(unread).collect()
}

/// The mistake about the label [`SNAP`], if there is one.
fn label_mistake(pods: &Marks, own: &Marks) -> Option<Mistake> {
    let opts_in = |value: &Option<String>| value.as_deref().is_some_and(|value| value != OPTED_OUT);
    match pods.label.as_deref() {
        Some(OPTED_IN | OPTED_OUT) => None,
        Some(_) => Some(Mistake::OtherValue),
        None if opts_in(&pods.annotation) => Some(Mistake::Annotation),
        None if opts_in(&own.label) => Some(Mistake::NotOnPods),
        None if opts_in(&own.annotation) => Some(Mistake::Annotation),
        None => None,
    }
}

fn short(key: &str) -> &str {
    key.strip_prefix(PREFIX).unwrap_or(key)
}
