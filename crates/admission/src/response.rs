//! The AdmissionReview that is sent back.
//!
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#response>: same
//! uid, patchType and patch both or neither; the patch is a string of base64, not the array of numbers that a typed
//! `Vec<u8>` is written as.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;

use super::json;
use super::refusal::Refusal;

/// More than an answer with a patch takes, so that it is written without growing.
const USUAL: usize = 512;

/// What is answered; one of the constructors for each kind of answer.
#[derive(Debug)]
pub(super) struct Answer<'r> {
    uid: &'r str,
    kind: Kind<'r>,
}

#[derive(Debug)]
enum Kind<'r> {
    Allow,
    Patch(String),
    Warn(&'r [String]),
    Deny(&'r str),
}

#[derive(Debug, Serialize)]
struct Status<'r> {
    code: u16,
    reason: &'static str,
    message: &'r str,
}

impl<'r> Answer<'r> {
    pub(super) fn allow(uid: &'r str) -> Self {
        Self { uid, kind: Kind::Allow }
    }

    /// `patch` is a JSONPatch.
    pub(super) fn patch(uid: &'r str, patch: String) -> Self {
        Self { uid, kind: Kind::Patch(patch) }
    }

    pub(super) fn warn(uid: &'r str, warnings: &'r [String]) -> Self {
        Self { uid, kind: Kind::Warn(warnings) }
    }

    pub(super) fn deny(uid: &'r str, message: &'r str) -> Self {
        Self { uid, kind: Kind::Deny(message) }
    }

    /// The whole AdmissionReview as JSON. Nearly all of it is always the same, so it is put together from pieces.
    pub(super) fn encode(&self) -> Result<String, Refusal> {
        let mut text = String::with_capacity(USUAL);
        text.push_str(r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"#);
        json::quote(self.uid, &mut text)?;
        match &self.kind {
            Kind::Allow => text.push_str(r#","allowed":true"#),
            Kind::Patch(patch) => {
                text.push_str(r#","allowed":true,"patchType":"JSONPatch","patch":""#);
                BASE64.encode_string(patch, &mut text);
                text.push('"');
            }
            Kind::Warn(warnings) => {
                text.push_str(r#","allowed":true,"warnings":"#);
                text.push_str(&json::write(warnings)?);
            }
            Kind::Deny(message) => {
                text.push_str(r#","allowed":false,"status":"#);
                text.push_str(&json::write(&Status { code: 403, reason: "Forbidden", message })?);
            }
        }
        text.push_str("}}");
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::review::{API_VERSION, KIND};
    use super::*;

    #[test]
    fn an_answer_holds_what_its_kind_needs_and_no_more() {
        let warnings = ["mind".to_owned()];
        for (answer, expected) in [
            (Answer::allow("r"), json!({"uid": "r", "allowed": true})),
            (
                Answer::patch("r", "[]".to_owned()),
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
            let review: Value = serde_json::from_str(&answer.encode().unwrap()).unwrap();
            let whole = json!({"apiVersion": API_VERSION, "kind": KIND, "response": expected});
            assert_eq!(review, whole);
        }
    }

    #[test]
    fn a_uid_is_written_so_that_it_reads_the_same() {
        for uid in
            ["705ab4f5-6393-11e8-b7cc-42010a800002", "", "\"", "a\\b", "line\nline", "\u{1f}\u{7f}", "\u{e9}\u{2028}"]
        {
            let review: Value = serde_json::from_str(&Answer::allow(uid).encode().unwrap()).unwrap();
            assert_eq!(review["response"]["uid"], uid);
        }
    }
}
