//! What is written on a labelled pod at its creation: a pure function of the request.
//!
//! Only `add` operations: `replace` on a missing path is invalid (RFC 6902, 4.3), and so is `add` inside a map that is
//! not there (4.1), so an absent map is added first. What the pod carries already is kept, so that a second application
//! changes nothing: the API server may ask again after another webhook (`reinvocationPolicy: IfNeeded`).

use snapwatcher_api::keys::{OPTED_IN, ORIGINAL};

use super::answer::Answer;
use super::json;
use super::refusal::Refusal;
use super::review::Request;

/// JSON pointers: `/` inside a key is written `~1` (RFC 6901, 3).
const MUTATED_PATH: &str = "/metadata/labels/snap.weaversoft.io~1mutated";
const ANNOTATIONS_PATH: &str = "/metadata/annotations";
const ADMISSION_PATH: &str = "/metadata/annotations/snap.weaversoft.io~1admission";

/// More than all operations take with a UID as the API server makes it, so that they are written without growing.
const USUAL: usize = 320;

/// What becomes of a pod at its creation.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision<'r> {
    Leave(Cause),
    Patch(Vec<Operation<'r>>),
}

/// Why nothing is written on a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// Another operation, resource or subresource.
    NotAPodsCreation,
    /// Its label is not exactly "true".
    NotLabelled,
    /// A static pod's copy: the kubelet would not see the change.
    Mirror,
    /// It carries label and annotation already.
    Complete,
}

impl Cause {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::NotAPodsCreation => "not a pod's creation",
            Self::NotLabelled => "not labelled",
            Self::Mirror => "a mirror pod",
            Self::Complete => "complete",
        }
    }
}

/// One `add` of a JSONPatch.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Operation<'r> {
    path: &'static str,
    value: Value<'r>,
}

#[derive(Debug, PartialEq, Eq)]
enum Value<'r> {
    EmptyMap,
    Text(&'r str),
}

impl Operation<'_> {
    fn write(&self, patch: &mut String) -> Result<(), Refusal> {
        patch.push_str(r#"{"op":"add","path":""#);
        patch.push_str(self.path);
        patch.push_str(r#"","value":"#);
        match self.value {
            Value::EmptyMap => patch.push_str("{}"),
            Value::Text(text) => json::quote(text, patch)?,
        }
        patch.push('}');
        Ok(())
    }
}

impl Decision<'_> {
    /// The UID of this very request will stand in the pod's annotation.
    pub(super) fn links_admission(&self) -> bool {
        match self {
            Self::Leave(_) => false,
            Self::Patch(operations) => operations.iter().any(|operation| operation.path == ADMISSION_PATH),
        }
    }

    /// The answer to the request of that UID.
    pub(super) fn answer<'u>(&self, uid: &'u str) -> Result<Answer<'u>, Refusal> {
        match self {
            Self::Leave(_) => Ok(Answer::allow(uid)),
            Self::Patch(operations) => Ok(Answer::patch(uid, patch(operations)?)),
        }
    }
}

/// Those operations as a JSONPatch.
pub(super) fn patch(operations: &[Operation<'_>]) -> Result<String, Refusal> {
    let mut patch = String::with_capacity(USUAL);
    patch.push('[');
    for (index, operation) in operations.iter().enumerate() {
        if index > 0 {
            patch.push(',');
        }
        operation.write(&mut patch)?;
    }
    patch.push(']');
    Ok(patch)
}

pub(super) fn decide<'r, S>(request: &'r Request<'_, S>) -> Decision<'r> {
    let Some(pod) = request.created_pod() else { return Decision::Leave(Cause::NotAPodsCreation) };
    let metadata = &pod.metadata;
    // The configuration's objectSelector sees to the label, unless somebody wrote another configuration.
    let Some(labels) = metadata.labels.as_ref().filter(|labels| labels.snap.as_deref() == Some(OPTED_IN)) else {
        return Decision::Leave(Cause::NotLabelled);
    };
    if metadata.is_mirror() {
        return Decision::Leave(Cause::Mirror);
    }
    let mut operations = Vec::with_capacity(3);
    if labels.mutated.is_none() {
        operations.push(Operation { path: MUTATED_PATH, value: Value::Text(ORIGINAL) });
    }
    if metadata.annotations.is_none() {
        operations.push(Operation { path: ANNOTATIONS_PATH, value: Value::EmptyMap });
    }
    if metadata.annotations.as_ref().is_none_or(|annotations| annotations.admission.is_none()) {
        operations.push(Operation { path: ADMISSION_PATH, value: Value::Text(&request.uid) });
    }
    if operations.is_empty() { Decision::Leave(Cause::Complete) } else { Decision::Patch(operations) }
}

#[cfg(test)]
mod tests {
    use serde::de::IgnoredAny;
    use serde_json::{Value as Json, json};

    use super::super::review::creation;
    use super::*;
    use snapwatcher_api::keys::{ADMISSION, MIRROR, MUTATED, SNAP};

    fn review(metadata: &Json) -> String {
        creation("r-1", &json!({"metadata": metadata})).to_string()
    }

    fn operations(metadata: &Json) -> Result<Json, Cause> {
        let body = review(metadata);
        let request: Request<'_, IgnoredAny> = Request::decode(body.as_bytes()).unwrap();
        match decide(&request) {
            Decision::Leave(cause) => Err(cause),
            Decision::Patch(operations) => Ok(serde_json::from_str(&patch(&operations).unwrap()).unwrap()),
        }
    }

    #[test]
    fn the_paths_are_those_of_the_keys() {
        let pointer = |map: &str, key: &str| format!("/metadata/{map}/{}", key.replace('~', "~0").replace('/', "~1"));
        assert_eq!(MUTATED_PATH, pointer("labels", MUTATED));
        assert_eq!(ADMISSION_PATH, pointer("annotations", ADMISSION));
    }

    #[test]
    fn what_is_missing_is_added_and_nothing_else() {
        let mutated = json!({"op": "add", "path": MUTATED_PATH, "value": "false"});
        let map = json!({"op": "add", "path": ANNOTATIONS_PATH, "value": {}});
        let admission = json!({"op": "add", "path": ADMISSION_PATH, "value": "r-1"});
        for (case, metadata, expected) in [
            ("annotations absent", json!({"labels": {SNAP: "true"}}), json!([mutated, map, admission])),
            ("null", json!({"labels": {SNAP: "true"}, "annotations": null}), json!([mutated, map, admission])),
            ("empty", json!({"labels": {SNAP: "true"}, "annotations": {}}), json!([mutated, admission])),
            (
                "mutated is kept, whatever it says",
                json!({"labels": {SNAP: "true", MUTATED: "junk"}, "annotations": {"a/b~c": "d"}}),
                json!([admission]),
            ),
            (
                "the first admission is kept",
                json!({"labels": {SNAP: "true"}, "annotations": {ADMISSION: "r-0"}}),
                json!([mutated]),
            ),
        ] {
            assert_eq!(operations(&metadata), Ok(expected), "{case}");
        }
    }

    #[test]
    fn a_pod_that_is_left_alone_has_a_cause() {
        for (case, metadata, expected) in [
            ("labels absent", json!({}), Cause::NotLabelled),
            ("without the label", json!({"labels": {"app": "web"}}), Cause::NotLabelled),
            ("opted out", json!({"labels": {SNAP: "false"}}), Cause::NotLabelled),
            ("not exactly true", json!({"labels": {SNAP: "True"}}), Cause::NotLabelled),
            ("mirror", json!({"labels": {SNAP: "true"}, "annotations": {MIRROR: "x"}}), Cause::Mirror),
            (
                "both there",
                json!({"labels": {SNAP: "true", MUTATED: "true"}, "annotations": {ADMISSION: "r-0"}}),
                Cause::Complete,
            ),
        ] {
            assert_eq!(operations(&metadata), Err(expected), "{case}");
        }
    }

    #[test]
    fn an_update_is_left_alone() {
        let body = review(&json!({"labels": {SNAP: "true"}})).replace("CREATE", "UPDATE");
        let request: Request<'_, IgnoredAny> = Request::decode(body.as_bytes()).unwrap();
        assert_eq!(decide(&request), Decision::Leave(Cause::NotAPodsCreation));
    }

    #[test]
    fn only_an_answer_whose_uid_is_written_links_the_admission() {
        for (annotations, expected) in [(json!({}), true), (json!({ADMISSION: "r-0"}), false)] {
            let body = review(&json!({"labels": {SNAP: "true"}, "annotations": annotations}));
            let request: Request<'_, IgnoredAny> = Request::decode(body.as_bytes()).unwrap();
            assert_eq!(decide(&request).links_admission(), expected, "{annotations}");
        }
    }
}
