//! The AdmissionReview that is sent back.
//!
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#response>: same
//! uid, patchType and patch both or neither; the patch is a string of base64, not the array of numbers that a typed
//! `Vec<u8>` is written as.

use serde::Serialize;

use super::refusal::Refusal;
use super::review::{API_VERSION, KIND};

/// What is answered; one of the constructors for each kind of answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer<'r> {
    uid: &'r str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    /// The JSONPatch in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    warnings: &'r [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status<'r>>,
}

#[derive(Debug, Serialize)]
struct Status<'r> {
    code: u16,
    reason: &'static str,
    message: &'r str,
}

impl<'r> Answer<'r> {
    pub(super) fn allow(uid: &'r str) -> Self {
        Self { uid, allowed: true, patch_type: None, patch: None, warnings: &[], status: None }
    }

    /// `patch` is the base64 of a JSONPatch.
    pub(super) fn patch(uid: &'r str, patch: String) -> Self {
        Self { patch_type: Some("JSONPatch"), patch: Some(patch), ..Self::allow(uid) }
    }

    pub(super) fn warn(uid: &'r str, warnings: &'r [String]) -> Self {
        Self { warnings, ..Self::allow(uid) }
    }

    pub(super) fn deny(uid: &'r str, message: &'r str) -> Self {
        let status = Status { code: 403, reason: "Forbidden", message };
        Self { allowed: false, status: Some(status), ..Self::allow(uid) }
    }

    /// The whole AdmissionReview as JSON.
    pub(super) fn encode(&self) -> Result<Vec<u8>, Refusal> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Outer<'s, 'r> {
            api_version: &'static str,
            kind: &'static str,
            response: &'s Answer<'r>,
        }
        serde_json::to_vec(&Outer { api_version: API_VERSION, kind: KIND, response: self })
            .map_err(|source| Refusal::Unwritable { source })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn an_answer_holds_what_its_kind_needs_and_no_more() {
        let warnings = ["mind".to_owned()];
        for (answer, expected) in [
            (Answer::allow("r"), json!({"uid": "r", "allowed": true})),
            (
                Answer::patch("r", "W10=".to_owned()),
                json!({"uid": "r", "allowed": true, "patchType": "JSONPatch", "patch": "W10="}),
            ),
            (Answer::warn("r", &warnings), json!({"uid": "r", "allowed": true, "warnings": ["mind"]})),
            (
                Answer::deny("r", "no"),
                json!({
                    "uid": "r", "allowed": false,
                    "status": {"code": 403, "reason": "Forbidden", "message": "no"},
                }),
            ),
        ] {
            let review: Value = serde_json::from_slice(&answer.encode().unwrap()).unwrap();
            let whole = json!({"apiVersion": API_VERSION, "kind": KIND, "response": expected});
            assert_eq!(review, whole);
        }
    }
}
