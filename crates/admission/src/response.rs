//! The AdmissionReview response.
//!
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#response>. The
//! response has the request's uid. `patchType` and `patch` are both present or both absent; `patch` is a base64 string.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use json_patch::Patch;
use serde::Serialize;

pub(super) const API_VERSION: &str = "admission.k8s.io/v1";
pub(super) const KIND: &str = "AdmissionReview";

/// In bytes, more than most patches and responses with one need, so that their buffer does not grow.
const USUAL_LENGTH: usize = 512;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ReviewWithResponse<'r> {
    api_version: &'static str,
    kind: &'static str,
    response: &'r AdmissionResponse<'r>,
}

/// What the API server does with the pod, by one of the constructors.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AdmissionResponse<'r> {
    uid: &'r str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    warnings: &'r [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<DenialStatus<'r>>,
}

/// The fields of a Kubernetes `Status` that the API server copies to its client.
#[derive(Debug, Serialize)]
struct DenialStatus<'r> {
    code: u16,
    reason: &'static str,
    message: &'r str,
}

impl<'r> AdmissionResponse<'r> {
    pub(super) fn allow(uid: &'r str) -> Self {
        Self { uid, allowed: true, patch_type: None, patch: None, warnings: &[], status: None }
    }

    pub(super) fn patch(uid: &'r str, patch: &Patch) -> serde_json::Result<Self> {
        let patch = BASE64.encode(to_json(patch)?);
        Ok(Self { patch_type: Some("JSONPatch"), patch: Some(patch), ..Self::allow(uid) })
    }

    pub(super) fn warn(uid: &'r str, warnings: &'r [String]) -> Self {
        Self { warnings, ..Self::allow(uid) }
    }

    pub(super) fn deny(uid: &'r str, message: &'r str) -> Self {
        let status = DenialStatus { code: 403, reason: "Forbidden", message };
        Self { allowed: false, status: Some(status), ..Self::allow(uid) }
    }

    /// The whole AdmissionReview as JSON.
    pub(super) fn encode(&self) -> serde_json::Result<Vec<u8>> {
        to_json(&ReviewWithResponse { api_version: API_VERSION, kind: KIND, response: self })
    }
}

fn to_json(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut json = Vec::with_capacity(USUAL_LENGTH);
    serde_json::to_writer(&mut json, value)?;
    Ok(json)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn encoded(response: &AdmissionResponse<'_>) -> Value {
        serde_json::from_slice(&response.encode().unwrap()).unwrap()
    }

    #[test]
    fn a_response_has_the_fields_of_its_kind_and_no_others() {
        let warnings = ["careful".to_owned()];
        for (response, expected) in [
            (AdmissionResponse::allow("r"), json!({"uid": "r", "allowed": true})),
            (
                AdmissionResponse::patch("r", &Patch::default()).unwrap(),
                json!({"uid": "r", "allowed": true, "patchType": "JSONPatch", "patch": "W10="}),
            ),
            (AdmissionResponse::warn("r", &warnings), json!({"uid": "r", "allowed": true, "warnings": ["careful"]})),
            (
                AdmissionResponse::deny("r", "no"),
                json!({
                    "uid": "r", "allowed": false,
                    "status": {"code": 403, "reason": "Forbidden", "message": "no"},
                }),
            ),
        ] {
            let whole = json!({"apiVersion": API_VERSION, "kind": KIND, "response": expected});
            assert_eq!(encoded(&response), whole);
        }
    }

    #[test]
    fn a_uid_with_any_characters_is_encoded_as_it_is() {
        for uid in
            ["705ab4f5-6393-11e8-b7cc-42010a800002", "", "\"", "a\\b", "line\nline", "\u{1f}\u{7f}", "\u{e9}\u{2028}"]
        {
            assert_eq!(encoded(&AdmissionResponse::allow(uid))["response"]["uid"], uid);
        }
    }
}
