//! What the webhook adds to an opted-in pod at its creation.
//!
//! The patch has `add` operations only: `replace` on a missing path is invalid (RFC 6902, 4.3). An `add` into a missing map
//! is invalid too (4.1), so a missing map is added first. An existing label is kept. The annotation gets the UID of this very
//! request: an existing one is that of the pod from which this one was copied, or of an earlier call for this pod, since the API
//! server may call again after another webhook (`reinvocationPolicy: IfNeeded`), with another UID. A second call of the same UID
//! changes nothing.

use json_patch::jsonptr::Pointer;
use json_patch::{AddOperation, Patch, PatchOperation};
use serde_json::{Value, json};

use snapwatcher_api::keys::{OPTED_IN, ORIGINAL};

use super::metadata::Annotations;
use super::response::AdmissionResponse;
use super::review::AdmissionRequest;

/// A `/` in a key is written `~1` (RFC 6901, 3).
const MUTATED_PATH: &Pointer = Pointer::from_static("/metadata/labels/snap.weaversoft.io~1mutated");
const ANNOTATIONS_PATH: &Pointer = Pointer::from_static("/metadata/annotations");
const ADMISSION_PATH: &Pointer = Pointer::from_static("/metadata/annotations/snap.weaversoft.io~1admission");

#[derive(Debug, PartialEq, Eq)]
pub(super) enum MutateDecision {
    Unchanged(UnchangedReason),
    Patch(Patch),
}

/// Why a pod is not patched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UnchangedReason {
    /// The request has another operation, resource or subresource.
    NotPodCreation,
    /// The label `snap` is not exactly "true".
    NotLabeled,
    /// The pod is the copy of a static pod. The kubelet would not see a change.
    Mirror,
    /// The pod already has the label, and the annotation of this request or no room for it.
    AlreadyMutated,
}

impl UnchangedReason {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::NotPodCreation => "not the creation of a pod",
            Self::NotLabeled => "not labeled",
            Self::Mirror => "a mirror pod",
            Self::AlreadyMutated => "already mutated",
        }
    }
}

impl MutateDecision {
    /// Whether the pod will have the annotation with the UID of this very request.
    pub(super) fn adds_admission(&self) -> bool {
        match self {
            Self::Unchanged(_) => false,
            Self::Patch(Patch(operations)) => operations.iter().any(|operation| operation.path() == ADMISSION_PATH),
        }
    }

    /// The response to the request with this UID.
    pub(super) fn response<'r>(&self, uid: &'r str) -> serde_json::Result<AdmissionResponse<'r>> {
        match self {
            Self::Unchanged(_) => Ok(AdmissionResponse::allow(uid)),
            Self::Patch(patch) => AdmissionResponse::patch(uid, patch),
        }
    }
}

pub(super) fn decide(request: &AdmissionRequest<'_>) -> MutateDecision {
    let Some(pod) = request.created_pod() else {
        return MutateDecision::Unchanged(UnchangedReason::NotPodCreation);
    };
    let metadata = &pod.metadata;
    // The objectSelector selects by this label, but a webhook configuration written by others may lack it.
    let Some(labels) = metadata.labels.as_ref().filter(|labels| labels.snap.as_deref() == Some(OPTED_IN)) else {
        return MutateDecision::Unchanged(UnchangedReason::NotLabeled);
    };
    if metadata.is_mirror() {
        return MutateDecision::Unchanged(UnchangedReason::Mirror);
    }
    let mut operations = Vec::with_capacity(3);
    if labels.mutated.is_none() {
        operations.push(add(MUTATED_PATH, ORIGINAL.into()));
    }
    if metadata.annotations.is_none() {
        operations.push(add(ANNOTATIONS_PATH, json!({})));
    }
    // The annotation is for display. The API server rejects a pod whose annotations are too large with it.
    let is_wanted = |annotations: &Annotations<'_>| {
        annotations.admission.as_deref() != Some(&*request.uid) && annotations.have_room_for_admission(&request.uid)
    };
    if metadata.annotations.as_ref().is_none_or(is_wanted) {
        operations.push(add(ADMISSION_PATH, (*request.uid).into()));
    }
    if operations.is_empty() {
        return MutateDecision::Unchanged(UnchangedReason::AlreadyMutated);
    }
    MutateDecision::Patch(Patch(operations))
}

fn add(path: &Pointer, value: Value) -> PatchOperation {
    PatchOperation::Add(AddOperation { path: path.to_buf(), value })
}

#[cfg(test)]
mod tests {
    use super::super::review::review_of_creation;
    use super::*;
    use snapwatcher_api::keys::{ADMISSION, MIRROR, MUTATED, SNAP};

    fn decision(review: &Value) -> MutateDecision {
        let body = review.to_string();
        decide(&AdmissionRequest::decode(body.as_bytes()).unwrap())
    }

    fn review(metadata: &Value) -> Value {
        review_of_creation("r-1", &json!({"metadata": metadata}))
    }

    #[test]
    fn the_paths_point_to_the_keys() {
        let pointer = |map: &str, key: &str| format!("/metadata/{map}/{}", key.replace('~', "~0").replace('/', "~1"));
        assert_eq!(MUTATED_PATH.as_str(), pointer("labels", MUTATED));
        assert_eq!(ADMISSION_PATH.as_str(), pointer("annotations", ADMISSION));
    }

    #[test]
    fn missing_values_are_added_and_existing_ones_kept() {
        let mutated = json!({"op": "add", "path": "/metadata/labels/snap.weaversoft.io~1mutated", "value": "false"});
        let map = json!({"op": "add", "path": "/metadata/annotations", "value": {}});
        let pointer = "/metadata/annotations/snap.weaversoft.io~1admission";
        let admission = json!({"op": "add", "path": pointer, "value": "r-1"});
        for (case, metadata, expected) in [
            ("annotations absent", json!({"labels": {SNAP: "true"}}), json!([mutated, map, admission])),
            ("null", json!({"labels": {SNAP: "true"}, "annotations": null}), json!([mutated, map, admission])),
            ("empty", json!({"labels": {SNAP: "true"}, "annotations": {}}), json!([mutated, admission])),
            (
                "mutated is kept, whatever its value",
                json!({"labels": {SNAP: "true", MUTATED: "junk"}, "annotations": {"a/b~c": "d"}}),
                json!([admission]),
            ),
            (
                "the admission of another request is replaced",
                json!({"labels": {SNAP: "true"}, "annotations": {ADMISSION: "r-0"}}),
                json!([mutated, admission]),
            ),
            (
                "that of this request is kept",
                json!({"labels": {SNAP: "true"}, "annotations": {ADMISSION: "r-1"}}),
                json!([mutated]),
            ),
        ] {
            let MutateDecision::Patch(patch) = decision(&review(&metadata)) else { panic!("{case}: unchanged") };
            assert_eq!(serde_json::to_value(&patch).unwrap(), expected, "{case}");
        }
    }

    #[test]
    fn a_pod_without_room_for_the_annotation_gets_the_label_alone() {
        let uid = "0b5c9d7e-1111-2222-3333-444455556666";
        for (left, has_room) in [(0, false), (63, false), (64, true)] {
            // One character of the key, and an escape in the value.
            let value = format!("\n{}", "x".repeat(256 * 1024 - left - 2));
            let metadata = json!({"labels": {SNAP: "true"}, "annotations": {"a": value}});
            let review = review_of_creation(uid, &json!({"metadata": metadata}));
            let decision = decision(&review);
            let MutateDecision::Patch(Patch(operations)) = &decision else { panic!("{left}: unchanged") };
            let paths: Vec<_> = operations.iter().map(PatchOperation::path).collect();
            let expected = if has_room { &[MUTATED_PATH, ADMISSION_PATH][..] } else { &[MUTATED_PATH] };
            assert_eq!((&paths[..], decision.adds_admission()), (expected, has_room), "{left}");
        }
    }

    #[test]
    fn the_admission_of_a_copied_pod_is_replaced_if_the_own_one_has_room() {
        let uid = "0b5c9d7e-1111-2222-3333-444455556666";
        for (copied, has_room) in [(uid.replace('0', "1"), true), ("short".to_owned(), false)] {
            let others = "x".repeat(256 * 1024 - 1 - ADMISSION.len() - copied.len());
            let metadata = json!({"labels": {SNAP: "true"}, "annotations": {"a": others, ADMISSION: copied}});
            let decision = decision(&review_of_creation(uid, &json!({"metadata": metadata})));
            assert_eq!(decision.adds_admission(), has_room, "{copied}");
        }
    }

    #[test]
    fn a_pod_that_is_not_patched_has_a_reason() {
        for (case, metadata, expected) in [
            ("labels absent", json!({}), UnchangedReason::NotLabeled),
            ("without the label", json!({"labels": {"app": "web"}}), UnchangedReason::NotLabeled),
            ("opted out", json!({"labels": {SNAP: "false"}}), UnchangedReason::NotLabeled),
            ("not exactly true", json!({"labels": {SNAP: "True"}}), UnchangedReason::NotLabeled),
            ("mirror", json!({"labels": {SNAP: "true"}, "annotations": {MIRROR: "x"}}), UnchangedReason::Mirror),
            (
                "both present",
                json!({"labels": {SNAP: "true", MUTATED: "true"}, "annotations": {ADMISSION: "r-1"}}),
                UnchangedReason::AlreadyMutated,
            ),
        ] {
            assert_eq!(decision(&review(&metadata)), MutateDecision::Unchanged(expected), "{case}");
        }
    }

    #[test]
    fn an_update_is_not_patched() {
        let mut review = review(&json!({"labels": {SNAP: "true"}}));
        review["request"]["operation"] = json!("UPDATE");
        assert_eq!(decision(&review), MutateDecision::Unchanged(UnchangedReason::NotPodCreation));
    }

    #[test]
    fn only_a_patch_with_the_own_uid_adds_the_admission() {
        for (annotations, expected) in
            [(json!({}), true), (json!({ADMISSION: "r-0"}), true), (json!({ADMISSION: "r-1"}), false)]
        {
            let review = review(&json!({"labels": {SNAP: "true"}, "annotations": annotations}));
            assert_eq!(decision(&review).adds_admission(), expected, "{annotations}");
        }
    }
}
