//! Which label or annotation of a pod names its revision. The controllers of Kubernetes set a label of their own; others, such as
//! Strimzi's StrimziPodSet, set another label or an annotation.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::checkpoint_name::shortened;
use crate::keys::{CONTROLLER_REVISION_HASH, POD_TEMPLATE_HASH, REVISION_LABEL};

use super::name::{LONGEST_LABEL, is_label_key, is_label_value};
use super::options::InvalidAnnotation;

/// Labels by which the controllers of Kubernetes name the revision of a pod. The first one that is set counts.
const OF_KUBERNETES: [&str; 2] = [POD_TEMPLATE_HASH, CONTROLLER_REVISION_HASH];

/// Which keys count. Cloning is cheap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RevisionLabels {
    /// Those that the operator has named, in the order in which they count, before those of Kubernetes.
    configured: Arc<[String]>,
    /// Whether the key that a pod names counts only if the pod has none of the others. By a key whose value differs for each pod of
    /// a workload, the author of the pods would have each of them checkpointed.
    is_limit: bool,
}

impl RevisionLabels {
    pub fn new(configured: Vec<String>, is_limit: bool) -> Self {
        Self { configured: configured.into(), is_limit }
    }

    /// The value that names the revision of a pod with these labels and annotations, if there is one. A pod that names a key which
    /// it does not have is an error: by its controller alone, all its revisions would count as one.
    pub(super) fn value(
        &self,
        labels: &BTreeMap<String, String>,
        annotations: &BTreeMap<String, String>,
    ) -> Result<Option<String>, InvalidAnnotation> {
        Ok(self.named(labels, annotations)?.map(|(_, value)| value))
    }

    /// The same value with its key.
    pub(crate) fn named(
        &self,
        labels: &BTreeMap<String, String>,
        annotations: &BTreeMap<String, String>,
    ) -> Result<Option<(String, String)>, InvalidAnnotation> {
        let value = |key: &str| {
            let mut values = [labels.get(key), annotations.get(key)].into_iter().flatten();
            let value = values.find(|value| is_revision(value)).cloned()?;
            Some((key.to_owned(), value))
        };
        let configured = || self.configured.iter().find_map(|key| value(key));
        let of_kubernetes = || {
            let value = |key: &'static str| labels.get(key).filter(|value| !value.is_empty()).map(|value| (key, value));
            OF_KUBERNETES.into_iter().find_map(value)
        };
        let shortened = |(key, value): (&str, &String)| (key.to_owned(), shortened(value, LONGEST_LABEL));
        let found = || configured().or_else(|| of_kubernetes().map(shortened));
        // Another text is reported with the other annotations.
        let Some(key) = annotations.get(REVISION_LABEL).filter(|key| is_label_key(key)) else { return Ok(found()) };
        if self.is_limit
            && let Some(found) = found()
        {
            return Ok(Some(found));
        }
        let problem = || format!("the pod has no label and no annotation `{key}` with the value of a label");
        value(key).map(Some).ok_or_else(|| InvalidAnnotation { key: REVISION_LABEL, problem: problem() })
    }
}

/// Whether this is the key of a label that the controllers of Kubernetes set, which is never an annotation.
pub fn is_label_of_kubernetes(key: &str) -> bool {
    OF_KUBERNETES.contains(&key)
}

/// Whether `spec.revision` of a Checkpoint can have this value.
pub(crate) fn is_revision(value: &str) -> bool {
    value.len() <= LONGEST_LABEL && is_label_value(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn the_first_key_that_has_a_value_names_the_revision() {
        let configured =
            RevisionLabels::new(vec!["strimzi.io/revision".to_owned(), "example.com/rev".to_owned()], false);
        let named = |key: &str| map(&[(REVISION_LABEL, key), ("example.com/of-annotation", "a1")]);
        for (case, labels, annotations, expected) in [
            ("nothing", map(&[]), map(&[]), None),
            ("of a Deployment", map(&[(POD_TEMPLATE_HASH, "d1")]), map(&[]), Some("d1")),
            ("an empty one", map(&[(POD_TEMPLATE_HASH, ""), (CONTROLLER_REVISION_HASH, "s1")]), map(&[]), Some("s1")),
            ("a label", map(&[("example.com/rev", "r1"), (POD_TEMPLATE_HASH, "d1")]), map(&[]), Some("r1")),
            ("an annotation", map(&[]), map(&[("strimzi.io/revision", "6a6a679b")]), Some("6a6a679b")),
            ("both keys", map(&[("example.com/rev", "r1")]), map(&[("strimzi.io/revision", "z1")]), Some("z1")),
            ("no value of a label", map(&[]), map(&[("strimzi.io/revision", "a b")]), None),
            ("too long", map(&[]), map(&[("strimzi.io/revision", &"x".repeat(64))]), None),
            ("named by the pod", map(&[("strimzi.io/revision", "z1"), ("x", "1")]), named("x"), Some("1")),
            ("an annotation named by the pod", map(&[]), named("example.com/of-annotation"), Some("a1")),
            ("no key of a label", map(&[(POD_TEMPLATE_HASH, "d1")]), named("a b"), Some("d1")),
        ] {
            let value = configured.value(&labels, &annotations).unwrap();
            assert_eq!(value.as_deref(), expected, "{case}");
        }
        let unset = RevisionLabels::default().value(&map(&[("example.com/rev", "r1")]), &map(&[])).unwrap();
        assert_eq!(unset, None, "that key is not named");
    }

    #[test]
    fn with_a_limit_the_key_that_a_pod_names_counts_only_without_any_other() {
        let limit = RevisionLabels::new(vec!["example.com/rev".to_owned()], true);
        let named = map(&[(REVISION_LABEL, "x")]);
        for (labels, expected) in [
            (map(&[("x", "of-this-pod"), (POD_TEMPLATE_HASH, "d1")]), Some("d1")),
            (map(&[("x", "of-this-pod"), ("example.com/rev", "r1")]), Some("r1")),
            (map(&[(CONTROLLER_REVISION_HASH, "s1")]), Some("s1")),
            (map(&[("x", "of-this-pod")]), Some("of-this-pod")),
        ] {
            assert_eq!(limit.value(&labels, &named).unwrap().as_deref(), expected, "{labels:?}");
        }
        assert!(limit.value(&map(&[]), &named).is_err(), "the only key has no value");
    }

    #[test]
    fn a_pod_that_names_a_key_which_it_does_not_have_is_an_error() {
        let labels = map(&[(POD_TEMPLATE_HASH, "d1")]);
        let error = RevisionLabels::default().value(&labels, &map(&[(REVISION_LABEL, "example.com/rev")])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "annotation snap.weaversoft.io/revision-label: the pod has no label and no annotation `example.com/rev` with the \
             value of a label"
        );
    }
}
