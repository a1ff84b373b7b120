//! The AdmissionReview request, as far as admission reads it.
//!
//! These types hold only the fields that decide, borrowed from the body: decoding a whole `Pod` takes five to six times
//! as long. Unknown fields are ignored.
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#request>.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::metadata::Metadata;
use super::request_error::RequestError;
use super::response::{API_VERSION, KIND};
use super::text::Text;

/// In bytes. The API server's UIDs are UUIDs of 36; the UID is kept in memory and written into the pod.
const MAX_UID_LENGTH: usize = 128;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AdmissionReview<'a> {
    #[serde(borrow)]
    api_version: Text<'a>,
    #[serde(borrow)]
    kind: Text<'a>,
    #[serde(borrow)]
    request: Option<AdmissionRequest<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AdmissionRequest<'a> {
    #[serde(borrow)]
    pub(super) uid: Text<'a>,
    #[serde(borrow)]
    pub(super) namespace: Option<Text<'a>>,
    dry_run: Option<bool>,
    #[serde(borrow)]
    operation: Text<'a>,
    #[serde(borrow)]
    resource: GroupVersionResource<'a>,
    #[serde(borrow)]
    sub_resource: Option<Text<'a>>,
    #[serde(borrow)]
    object: Option<ReviewedPod<'a>>,
}

#[derive(Debug, Deserialize)]
struct GroupVersionResource<'a> {
    #[serde(borrow)]
    group: Option<Text<'a>>,
    #[serde(borrow)]
    version: Text<'a>,
    #[serde(borrow)]
    resource: Text<'a>,
}

/// The object of the request. Its spec stays JSON text, since only validation reads it.
#[derive(Debug, Deserialize)]
pub(super) struct ReviewedPod<'a> {
    #[serde(borrow, default)]
    pub(super) metadata: Metadata<'a>,
    #[serde(borrow)]
    pub(super) spec: Option<&'a RawValue>,
}

impl<'a> AdmissionRequest<'a> {
    /// Decodes the body of an HTTP request.
    pub(super) fn decode(body: &'a [u8]) -> Result<Self, RequestError> {
        if body.is_empty() {
            return Err(RequestError::EmptyBody);
        }
        // serde_json does not check the bytes of strings that it skips, so the whole body is checked here.
        let text = std::str::from_utf8(body).map_err(|_| RequestError::NotUtf8)?;
        let review: AdmissionReview<'a> =
            serde_json::from_str(text).map_err(|error| RequestError::undecodable(&error))?;
        if &*review.api_version != API_VERSION || &*review.kind != KIND {
            return Err(RequestError::unsupported_version(&review.api_version, &review.kind));
        }
        let request = review.request.ok_or(RequestError::MissingRequest)?;
        if request.uid.len() > MAX_UID_LENGTH {
            return Err(RequestError::UidTooLong { limit: MAX_UID_LENGTH });
        }
        Ok(request)
    }

    /// The pod that is being created; `None` for every other operation, resource and subresource.
    pub(super) fn created_pod(&self) -> Option<&ReviewedPod<'a>> {
        let GroupVersionResource { group, version, resource } = &self.resource;
        let is_core = group.as_deref().is_none_or(str::is_empty);
        let is_whole_object = self.sub_resource.as_deref().is_none_or(str::is_empty);
        let is_pod = is_core && &**version == "v1" && &**resource == "pods" && is_whole_object;
        self.object.as_ref().filter(|_| is_pod && &*self.operation == "CREATE")
    }

    /// Whether the API server will discard the object.
    pub(super) fn is_dry_run(&self) -> bool {
        self.dry_run == Some(true)
    }
}

/// The review of a pod's creation, as the API server sends it.
#[cfg(test)]
pub(super) fn review_of_creation(uid: &str, pod: &serde_json::Value) -> serde_json::Value {
    serde_json::json!({
        "apiVersion": API_VERSION, "kind": KIND,
        "request": {
            "uid": uid, "operation": "CREATE", "namespace": "default", "dryRun": false,
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "object": pod,
        },
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn review() -> Value {
        review_of_creation("r-1", &json!({"metadata": {"generateName": "web-"}, "spec": {"x": "ignored"}}))
    }

    /// A review with `json` in place of a value that nothing reads.
    fn review_with(json: &str) -> String {
        review().to_string().replacen("\"ignored\"", json, 1)
    }

    #[test]
    fn only_the_creation_of_a_whole_core_pod_counts() {
        for (case, pointer, value, expected) in [
            ("as it is", "/request/uid", json!("r-1"), true),
            ("an update", "/request/operation", json!("UPDATE"), false),
            ("another group", "/request/resource/group", json!("metrics.k8s.io"), false),
            ("another version", "/request/resource/version", json!("v2"), false),
            ("another resource", "/request/resource/resource", json!("podtemplates"), false),
            ("no object", "/request/object", json!(null), false),
        ] {
            let mut review = review();
            *review.pointer_mut(pointer).unwrap() = value;
            let body = review.to_string();
            let request = AdmissionRequest::decode(body.as_bytes()).unwrap();
            assert_eq!(request.created_pod().is_some(), expected, "{case}");
        }
        let mut review = review();
        review["request"]["subResource"] = json!("ephemeralcontainers");
        let body = review.to_string();
        let request = AdmissionRequest::decode(body.as_bytes()).unwrap();
        assert!(request.created_pod().is_none(), "a subresource");
    }

    #[test]
    fn a_pod_without_a_name_goes_by_its_generate_name() {
        let body = review().to_string();
        let request = AdmissionRequest::decode(body.as_bytes()).unwrap();
        assert_eq!(request.created_pod().unwrap().metadata.name(), "web-");
    }

    #[test]
    fn a_body_that_is_no_review_is_an_error_that_names_the_cause() {
        let whole = review().to_string();
        let mut beta = review();
        beta["apiVersion"] = json!("admission.k8s.io/v1beta1");
        let mut bare = review();
        bare["request"] = json!(null);
        let mut not_utf8 = whole.clone().into_bytes();
        not_utf8.splice(1..1, *b"\"ignored\":\"\xff\",");
        for (case, body, message) in [
            ("nothing", Vec::new(), "the body is empty"),
            ("half of it", whole.as_bytes()[..whole.len() / 2].to_vec(), "ends too early at line 1"),
            ("no JSON", b"patch me".to_vec(), "the body is not JSON at line 1 column 1"),
            ("another type", b"[]".to_vec(), "not an AdmissionReview"),
            ("a known key twice", whole.replacen("\"uid\"", "\"uid\":\"r-0\",\"uid\"", 1).into(), "not an Admission"),
            ("deep nesting in a field that is read", vec![b'['; 100_000], "not an AdmissionReview"),
            ("not UTF-8 in a field that is ignored", not_utf8, "not UTF-8"),
            ("more than one value", format!("{whole}{whole}").into_bytes(), "the body is not JSON"),
            ("a lone surrogate in the uid", whole.replacen("r-1", "\\uD800", 1).into_bytes(), "the body is not JSON"),
            ("an old version", beta.to_string().into_bytes(), "v1beta1"),
            ("no request", bare.to_string().into_bytes(), "no request"),
            ("a long uid", whole.replacen("r-1", &"u".repeat(129), 1).into_bytes(), "uid exceeds the limit of 128"),
        ] {
            let error = AdmissionRequest::decode(&body).unwrap_err();
            assert_eq!(error.status(), 400, "{case}");
            assert!(error.to_string().contains(message), "{case}: {error}");
        }
    }

    #[test]
    fn an_ignored_field_may_hold_any_json_value() {
        let deep = format!("{}1{}", "[{\"a\":".repeat(50_000), "}]".repeat(50_000));
        for (case, json) in [
            ("deep nesting", deep.as_str()),
            ("a number out of range", "-1e400"),
            ("a long number", &"9".repeat(10_000)),
            ("a lone surrogate", r#""\uD800""#),
            ("a key twice", r#"{"a":1,"a":2}"#),
        ] {
            let body = review_with(json);
            let request = AdmissionRequest::decode(body.as_bytes()).unwrap_or_else(|error| panic!("{case}: {error}"));
            assert!(request.created_pod().is_some(), "{case}");
        }
    }

    #[test]
    fn an_ignored_field_that_is_no_json_is_an_error() {
        for json in ["NaN", "Infinity", "01", "1.", "+1", "'x'", r#""\x""#, r#""\u00g0""#, "\"\n\"", "[1,]", "{a:1}"] {
            let error = AdmissionRequest::decode(review_with(json).as_bytes()).map(drop).unwrap_err();
            assert_eq!(error.status(), 400, "{json}");
        }
    }

    #[test]
    fn keys_and_values_with_escapes_are_read_as_without() {
        let escaped = review().to_string().replacen("\"uid\":\"r-1\"", r#""u\u0069d":"r\u002d1\n\"""#, 1);
        let escaped = escaped.replacen("\"operation\":\"CREATE\"", r#""oper\u0061tion":"CRE\u0041TE""#, 1);
        let request = AdmissionRequest::decode(escaped.as_bytes()).unwrap();
        assert_eq!(&*request.uid, "r-1\n\"");
        assert!(request.created_pod().is_some());
    }
}
