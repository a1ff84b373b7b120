//! The AdmissionReview as far as it is read.
//!
//! Own types with just the fields that decide, borrowed from the body: the typed review of a whole `Pod` costs five to
//! six times as much. Unknown fields are ignored; the pod is never written back as a whole.
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#request>.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use serde::Deserialize;
use serde::de::{Deserializer, Visitor};

use super::json::{self, Unsure};
use super::keys::{Annotations, Labels};
use super::refusal::{LONGEST_UID, Refusal};

pub(super) const API_VERSION: &str = "admission.k8s.io/v1";
pub(super) const KIND: &str = "AdmissionReview";

/// A string of the review: borrowed from the body, owned where it was written with escapes.
///
/// serde borrows a `Cow` only where it is a field of its own, hence the type for those inside an `Option` or a map.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// What is around the request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "S: Deserialize<'de>"))]
pub(super) struct Envelope<'a, S> {
    #[serde(borrow)]
    api_version: Text<'a>,
    #[serde(borrow)]
    kind: Text<'a>,
    #[serde(borrow)]
    request: Option<Request<'a, S>>,
}

/// What is asked. `S` is what is read of the pod's spec: nothing for labelling, [`PodSpec`](super::criu::PodSpec)
/// for validation.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "S: Deserialize<'de>"))]
pub(super) struct Request<'a, S> {
    #[serde(borrow)]
    pub(super) uid: Text<'a>,
    #[serde(borrow)]
    pub(super) namespace: Option<Text<'a>>,
    pub(super) dry_run: Option<bool>,
    #[serde(borrow)]
    operation: Text<'a>,
    #[serde(borrow)]
    resource: Resource<'a>,
    #[serde(borrow)]
    sub_resource: Option<Text<'a>>,
    #[serde(borrow)]
    object: Option<Pod<'a, S>>,
}

#[derive(Debug, Deserialize)]
struct Resource<'a> {
    #[serde(borrow)]
    group: Option<Text<'a>>,
    #[serde(borrow)]
    version: Text<'a>,
    #[serde(borrow, rename = "resource")]
    plural: Text<'a>,
}

#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "S: Deserialize<'de>"))]
pub(super) struct Pod<'a, S> {
    #[serde(borrow, default)]
    pub(super) metadata: Metadata<'a>,
    pub(super) spec: Option<S>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    generate_name: Option<Text<'a>>,
    /// `None`: the map is absent or null, and an operation on a key in it would be invalid.
    #[serde(borrow)]
    pub(super) labels: Option<Labels<'a>>,
    /// `None`: as for the labels.
    #[serde(borrow)]
    pub(super) annotations: Option<Annotations<'a>>,
}

impl<'a, S: Deserialize<'a>> Request<'a, S> {
    /// Reads the body of a review.
    pub(super) fn decode(body: &'a [u8]) -> Result<Self, Refusal> {
        if body.is_empty() {
            return Err(Refusal::Empty);
        }
        // Ignored strings are skipped without a look at their bytes, so the whole body is looked at here.
        let text = std::str::from_utf8(body).map_err(|_| Refusal::NotUtf8)?;
        let review: Envelope<'a, S> = json::read(text)
            .or_else(|Unsure| serde_json::from_str(text))
            .map_err(|error| Refusal::undecodable(&error))?;
        if &*review.api_version != API_VERSION || &*review.kind != KIND {
            return Err(Refusal::version(&review.api_version, &review.kind));
        }
        let request = review.request.ok_or(Refusal::NoRequest)?;
        if request.uid.len() > LONGEST_UID { Err(Refusal::LongUid) } else { Ok(request) }
    }
}

impl<'a, S> Request<'a, S> {
    /// The pod that is being created; `None` for every other operation, resource and subresource.
    pub(super) fn created_pod(&self) -> Option<&Pod<'a, S>> {
        let Resource { group, version, plural } = &self.resource;
        let core = group.as_deref().is_none_or(str::is_empty);
        let whole = self.sub_resource.as_deref().is_none_or(str::is_empty);
        let pod = core && &**version == "v1" && &**plural == "pods" && whole;
        self.object.as_ref().filter(|_| pod && &*self.operation == "CREATE")
    }

    /// Nothing will come of the request but its answer.
    pub(super) fn is_dry_run(&self) -> bool {
        self.dry_run == Some(true)
    }
}

impl Metadata<'_> {
    /// The name, or what the API server will make one of.
    pub(super) fn name(&self) -> &str {
        let name = self.name.as_deref().filter(|name| !name.is_empty());
        name.or(self.generate_name.as_deref()).unwrap_or_default()
    }

    /// What its controller makes names of, else its name: the same for all pods of a template. A validating webhook is
    /// called when the name is already made.
    pub(super) fn template(&self) -> &str {
        self.generate_name.as_deref().filter(|prefix| !prefix.is_empty()).unwrap_or_else(|| self.name())
    }

    /// The pod is a static pod's copy in the API server.
    pub(super) fn is_mirror(&self) -> bool {
        self.annotations.as_ref().is_some_and(|annotations| annotations.mirror.is_some())
    }
}

/// The review of a pod's creation, as the API server sends it.
#[cfg(test)]
pub(super) fn creation(uid: &str, pod: &serde_json::Value) -> serde_json::Value {
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
    use serde::de::IgnoredAny;
    use serde_json::json;

    use super::*;

    fn decode(body: &[u8]) -> Result<Request<'_, IgnoredAny>, Refusal> {
        Request::decode(body)
    }

    fn review() -> serde_json::Value {
        creation("r-1", &json!({"metadata": {"generateName": "web-"}}))
    }

    #[test]
    fn text_is_borrowed_unless_it_was_escaped() {
        for (json, borrowed) in [(r#""plain""#, true), (r#""esc\u0061ped""#, false)] {
            let text: Option<Text<'_>> = serde_json::from_str(json).unwrap();
            assert_eq!(matches!(text.unwrap().0, Cow::Borrowed(_)), borrowed, "{json}");
        }
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
            assert_eq!(decode(body.as_bytes()).unwrap().created_pod().is_some(), expected, "{case}");
        }
        let mut review = review();
        review["request"]["subResource"] = json!("ephemeralcontainers");
        assert!(decode(review.to_string().as_bytes()).unwrap().created_pod().is_none(), "a subresource");
    }

    #[test]
    fn a_pod_without_a_name_is_called_by_what_it_will_be_made_of() {
        let body = review().to_string();
        let request = decode(body.as_bytes()).unwrap();
        assert_eq!(request.created_pod().unwrap().metadata.name(), "web-");
    }

    #[test]
    fn what_is_no_review_is_refused_with_its_cause() {
        let whole = review().to_string();
        let mut beta = review();
        beta["apiVersion"] = json!("admission.k8s.io/v1beta1");
        let mut bare = review();
        bare["request"] = json!(null);
        let mut foreign = whole.clone().into_bytes();
        foreign.splice(1..1, *b"\"ignored\":\"\xff\",");
        for (case, body, words) in [
            ("nothing", Vec::new(), "empty"),
            ("half of it", whole.as_bytes()[..whole.len() / 2].to_vec(), "ends too early"),
            ("no JSON", b"patch me".to_vec(), "not JSON"),
            ("another shape", b"[]".to_vec(), "not an AdmissionReview"),
            ("a doubled key", whole.replacen("\"uid\"", "\"uid\":\"r-0\",\"uid\"", 1).into_bytes(), "not an Admission"),
            ("deeply nested", vec![b'['; 100_000], "not"),
            ("no UTF-8, even where it is not read", foreign, "UTF-8"),
            ("an old version", beta.to_string().into_bytes(), "v1beta1"),
            ("no request", bare.to_string().into_bytes(), "no request"),
        ] {
            let refusal = decode(&body).unwrap_err();
            assert_eq!(refusal.status(), 400, "{case}");
            assert!(refusal.to_string().contains(words), "{case}: {refusal}");
        }
    }
}
