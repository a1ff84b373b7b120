//! Namespace and name of a pod, and what names Kubernetes allows.

use std::fmt;
use std::sync::Arc;

/// The longest name of a pod, a namespace, a node or a controller that is kept, in bytes: the longest that Kubernetes allows. Of
/// a longer text, here and below, the beginning and a digest are kept. The API server validates neither owner references nor
/// annotations nor images, so one pod could otherwise take a megabyte.
pub(crate) const LONGEST_NAME: usize = 253;
/// The longest name of a container, value of a label, kind or UID that is kept.
pub(crate) const LONGEST_LABEL: usize = 63;

/// Namespace and name of a pod; written `namespace/name`. Cloning is cheap.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodName {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl fmt::Display for PodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A regular expression of what [`is_object_name`] allows, for schemas, which limit the length themselves.
pub(crate) const OBJECT_NAME_PATTERN: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
/// A regular expression of what [`is_container_name`] allows.
pub(crate) const CONTAINER_NAME_PATTERN: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
/// A regular expression of what [`is_label_value`] allows.
pub(crate) const LABEL_VALUE_PATTERN: &str = "^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$";

/// Whether a Kubernetes object can have this name: an RFC 1123 subdomain of at most 253 characters, see
/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-subdomain-names>. Pods, ReplicaSets and Jobs
/// have such names. Any other text must not become a part of a URL.
pub fn is_object_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_rfc_1123_label)
}

/// Whether a container can have this name: an RFC 1123 label of at most 63 characters.
pub(crate) fn is_container_name(text: &str) -> bool {
    text.len() <= 63 && is_rfc_1123_label(text)
}

/// Whether the text has the characters of a label's value and is not empty, see
/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/>. The UIDs of all objects and the names of all kinds
/// have them. It does not limit the length.
pub fn is_label_value(text: &str) -> bool {
    has_edges(text) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// Whether a label or an annotation can have this key: a name of at most 63 characters, after a prefix and a slash or without.
pub fn is_label_key(text: &str) -> bool {
    let (prefix, name) = text.split_once('/').map_or((None, text), |(prefix, name)| (Some(prefix), name));
    prefix.is_none_or(is_object_name) && name.len() <= LONGEST_LABEL && is_label_value(name)
}

fn is_rfc_1123_label(text: &str) -> bool {
    has_edges(text) && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// Whether the first and the last character are letters or digits.
fn has_edges(text: &str) -> bool {
    let is_edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    is_edge(text.as_bytes().first()) && is_edge(text.as_bytes().last())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_objects_are_allowed() {
        let longest = "a".repeat(253);
        for name in ["web", "web-7d4b9c-x2x1p", "0", "a.b-c.d", &longest] {
            assert!(is_object_name(name), "{name}");
        }
        let too_long = "a".repeat(254);
        for name in
            ["", "a b", "Web", "-a", "a-", "a..b", ".a", "a.", "a/log", "a?x=1", "../a", "a%2Fb", "ä", &too_long]
        {
            assert!(!is_object_name(name), "{name}");
        }
    }

    #[test]
    fn only_keys_of_labels_are_allowed() {
        let longest = format!("{}/{}", "a".repeat(253), "a".repeat(63));
        for key in ["app", "strimzi.io/revision", "A_b.c-d", "example.com/Rev_1", &longest] {
            assert!(is_label_key(key), "{key}");
        }
        let too_long = "a".repeat(64);
        for key in ["", "a b", "/a", "a/", "a/b/c", "Example.com/a", "-a", "a.", "ä", &too_long] {
            assert!(!is_label_key(key), "{key}");
        }
    }
}
