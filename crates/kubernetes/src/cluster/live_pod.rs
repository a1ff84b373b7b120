//! Live reads of a pod. They show what the API server has now; a watch may be behind.
//!
//! An operation keeps what is read here while it writes a status and waits for a back-end, and many run at once. So no tree of
//! the whole object is ever built: one of a megabyte of JSON would take some thirty.

use std::fmt;

use k8s_openapi::api::core::v1::Pod;
use kube::core::Request;
use kube::{Client, Resource as _};
use serde_json::value::RawValue;

use snapwatcher_api::pod::{PodFacts, PodLimits, PodName, RevisionLabels, WatchedPod};

use super::call::{CallError, call};

/// The longest text of a pod that is kept. The API server accepts pods of more than a megabyte; an ordinary one has some KiB, and
/// its annotations may have 256 KiB.
pub const LONGEST_POD_TEXT: usize = 512 << 10;

/// What a caller needs of a pod beside its facts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PodNeed {
    #[default]
    Nothing,
    Limits,
    /// The whole object.
    Text,
}

/// What was read of a pod beside its facts, as it was needed.
#[derive(Debug, Clone, Default)]
pub enum PodDetail {
    #[default]
    Nothing,
    Limits(PodLimits),
    Text(PodText),
}

/// The JSON of a whole Pod object.
#[derive(Clone)]
pub enum PodText {
    Whole(Box<RawValue>),
    /// It has so many bytes, more than [`LONGEST_POD_TEXT`], and was not kept.
    TooLong(usize),
}

/// Without the text, which has secrets.
impl fmt::Debug for PodText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(text) => write!(f, "Whole({} bytes)", text.get().len()),
            Self::TooLong(bytes) => write!(f, "TooLong({bytes})"),
        }
    }
}

/// A pod as the API server has it now.
#[derive(Debug)]
pub struct LivePod {
    pub facts: PodFacts,
    pub detail: PodDetail,
}

/// Reads the pod of that name; `None` if there is none.
pub async fn read_pod(
    client: &Client,
    name: &PodName,
    revision_labels: &RevisionLabels,
    need: PodNeed,
) -> Result<Option<LivePod>, CallError> {
    let what = || format!("read pod `{name}`");
    let path = Pod::url_path(&(), Some(&name.namespace));
    let request = Request::new(path).get(&name.name, &kube::api::GetParams::default());
    let built = request.map_err(kube::Error::BuildRequest);
    let text = match call(what(), async { client.request_text(built?).await }).await {
        Ok(text) => text,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error),
    };
    let pod = decoded(text, revision_labels, need)
        .map_err(|error| CallError::Failed { what: what(), source: Box::new(kube::Error::SerdeError(error)) })?;
    if pod.facts.name != *name {
        return Err(CallError::OtherObject { what: what(), received: pod.facts.name.to_string() });
    }
    Ok(Some(pod))
}

fn decoded(text: String, revision_labels: &RevisionLabels, need: PodNeed) -> serde_json::Result<LivePod> {
    let pod: WatchedPod = serde_json::from_str(&text)?;
    let facts = PodFacts::read(pod, revision_labels);
    let detail = match need {
        PodNeed::Nothing => PodDetail::Nothing,
        PodNeed::Limits => PodDetail::Limits(serde_json::from_str(&text)?),
        PodNeed::Text if text.len() > LONGEST_POD_TEXT => PodDetail::Text(PodText::TooLong(text.len())),
        PodNeed::Text => PodDetail::Text(PodText::Whole(RawValue::from_string(text)?)),
    };
    Ok(LivePod { facts, detail })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(tolerations: usize) -> String {
        json!({
            "metadata": {"name": "web-0", "namespace": "shop", "uid": "u", "labels": {"snap.weaversoft.io/snap": "true"}},
            "spec": {
                "nodeName": "n1",
                "containers": [{"name": "app", "image": "web:1", "resources": {"limits": {"memory": "1Gi"}},
                    "env": [{"name": "A", "value": "secret"}]}],
                "tolerations": vec![json!({"key": "a"}); tolerations],
            },
        })
        .to_string()
    }

    #[test]
    fn what_is_kept_of_a_live_pod_is_small_whatever_is_needed_of_it() {
        let large = pod(140_000);
        assert!(large.len() > 1_500_000);
        for need in [PodNeed::Nothing, PodNeed::Limits, PodNeed::Text] {
            let kept = decoded(large.clone(), &RevisionLabels::default(), need).unwrap();
            assert!(format!("{kept:?}").len() < 2000, "{need:?}: {kept:?}");
        }
    }

    #[test]
    fn the_limits_are_those_of_the_containers() {
        let PodDetail::Limits(limits) = decoded(pod(0), &RevisionLabels::default(), PodNeed::Limits).unwrap().detail
        else {
            panic!("no limits")
        };
        assert_eq!(limits.of("app").memory, Some(1 << 30));
    }

    #[test]
    fn the_text_of_a_pod_is_kept_as_it_is_up_to_a_limit() {
        let text = |pod: &str| match decoded(pod.to_owned(), &RevisionLabels::default(), PodNeed::Text).unwrap().detail
        {
            PodDetail::Text(text) => text,
            detail => panic!("{detail:?}"),
        };
        let short = pod(10);
        let PodText::Whole(kept) = text(&short) else { panic!("not kept") };
        assert_eq!(kept.get(), short);
        let with_note = |length: usize| {
            let mut pod: Value = serde_json::from_str(&short).unwrap();
            pod["metadata"]["annotations"] = json!({"note": "x".repeat(length)});
            pod.to_string()
        };
        let rest = LONGEST_POD_TEXT - with_note(0).len();
        assert!(matches!(text(&with_note(rest)), PodText::Whole(_)));
        assert!(matches!(text(&with_note(rest + 1)), PodText::TooLong(bytes) if bytes == LONGEST_POD_TEXT + 1));
    }

    #[test]
    fn the_debug_output_of_a_text_has_no_secrets() {
        let kept = decoded(pod(0), &RevisionLabels::default(), PodNeed::Text).unwrap();
        assert!(!format!("{kept:?}").contains("secret"), "{kept:?}");
    }

    /// A client of an API server that answers each read with the pod of that namespace and name.
    fn answering(namespace: &'static str, name: &'static str) -> Client {
        let service = tower::service_fn(move |_: http::Request<kube::client::Body>| async move {
            let pod = json!({
                "metadata": {"name": name, "namespace": namespace, "uid": "u"},
                "spec": {"containers": [{"name": "app", "image": "web:1"}]},
            });
            Ok::<_, kube::Error>(http::Response::new(kube::client::Body::from(pod.to_string().into_bytes())))
        });
        Client::new(service, "default")
    }

    #[tokio::test]
    async fn a_response_about_another_pod_is_an_error_of_this_read_alone() {
        let wanted = PodName { namespace: "default".into(), name: "web".into() };
        assert!(
            read_pod(&answering("default", "web"), &wanted, &RevisionLabels::default(), PodNeed::Nothing)
                .await
                .unwrap()
                .is_some()
        );
        for (namespace, name) in [("victim", "web"), ("default", "db-0")] {
            let error = read_pod(&answering(namespace, name), &wanted, &RevisionLabels::default(), PodNeed::Nothing)
                .await
                .err()
                .unwrap();
            let expected = format!("could not read pod `default/web`: the response is about `{namespace}/{name}`");
            assert!(
                matches!(error, CallError::OtherObject { .. }) && error.to_string().starts_with(&expected),
                "{error}"
            );
            assert!(error.is_about_object(), "others can still succeed");
        }
    }
}
