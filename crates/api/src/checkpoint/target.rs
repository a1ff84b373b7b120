//! The target of a Checkpoint: a pod, a revision of a workload, or a pod by its name.

use crate::pod::is_object_name;
use crate::pod::name::{is_container_name, is_label_value};

use super::resource::{CheckpointSpec, PodReference, WorkloadReference};

/// The target of a Checkpoint: its spec, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckpointTarget {
    /// The pod with this UID, while its container has this image. SnapWatcher created the Checkpoint.
    Pod { name: String, uid: String, container: String, image: String },
    /// One pod of this revision. SnapWatcher created the Checkpoint.
    Revision { workload: WorkloadReference, revision: String, container: String },
    /// The pod that has this name at the attempt. A person created the Checkpoint.
    Manual { name: String, uid: Option<String>, container: Option<String>, image: Option<String> },
}

impl CheckpointTarget {
    /// Parses a spec. `has_derived_name` says whether the Checkpoint has the name that is derived from such a target. `None`:
    /// the spec breaks a rule of the schema. The API server accepts no such spec now, but it may have stored one before the schema
    /// had the rule.
    pub fn parse(spec: &CheckpointSpec, has_derived_name: impl FnOnce(&Self) -> bool) -> Option<Self> {
        if !has_valid_texts(spec) {
            return None;
        }
        let CheckpointSpec { pod, workload, revision, container, image } = spec.clone();
        match (pod, workload, revision, container, image) {
            (Some(PodReference { name, uid }), None, None, container, image) => {
                if let (Some(uid), Some(container), Some(image)) = (uid.clone(), container.clone(), image.clone()) {
                    let automatic = Self::Pod { name: name.clone(), uid, container, image };
                    if has_derived_name(&automatic) {
                        return Some(automatic);
                    }
                }
                Some(Self::Manual { name, uid, container, image })
            }
            (None, Some(workload), Some(revision), Some(container), None) => {
                Some(Self::Revision { workload, revision, container })
            }
            _ => None,
        }
    }
}

/// Whether each text matches the pattern of its field in the schema.
fn has_valid_texts(spec: &CheckpointSpec) -> bool {
    let CheckpointSpec { pod, workload, revision, container, image } = spec;
    let is_pod = |pod: &PodReference| is_object_name(&pod.name) && pod.uid.as_deref().is_none_or(is_label_value);
    let is_workload = |WorkloadReference { api_version, kind, name, uid }: &WorkloadReference| {
        is_api_version(api_version) && [kind, name, uid].into_iter().all(|text| is_label_value(text))
    };
    pod.as_ref().is_none_or(is_pod)
        && workload.as_ref().is_none_or(is_workload)
        && revision.as_deref().is_none_or(is_label_value)
        && container.as_deref().is_none_or(is_container_name)
        && image.as_deref().is_none_or(is_image)
}

fn is_image(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_api_version(text: &str) -> bool {
    text.split('/').count() <= 2 && text.split('/').all(is_label_value)
}

impl From<&CheckpointTarget> for CheckpointSpec {
    fn from(target: &CheckpointTarget) -> Self {
        let pod = |name: &String, uid: Option<&String>| Some(PodReference { name: name.clone(), uid: uid.cloned() });
        match target {
            CheckpointTarget::Pod { name, uid, container, image } => Self {
                pod: pod(name, Some(uid)),
                container: Some(container.clone()),
                image: Some(image.clone()),
                ..Self::default()
            },
            CheckpointTarget::Manual { name, uid, container, image } => Self {
                pod: pod(name, uid.as_ref()),
                container: container.clone(),
                image: image.clone(),
                ..Self::default()
            },
            CheckpointTarget::Revision { workload, revision, container } => Self {
                workload: Some(workload.clone()),
                revision: Some(revision.clone()),
                container: Some(container.clone()),
                ..Self::default()
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_is_one_of_three_targets() {
        let pod = |uid: Option<&str>| Some(PodReference { name: "web".into(), uid: uid.map(Into::into) });
        let workload = WorkloadReference {
            api_version: "apps/v1".into(),
            kind: "Deployment".into(),
            name: "web".into(),
            uid: "d".into(),
        };
        let (full, short) = (
            CheckpointSpec {
                pod: pod(Some("u")),
                container: Some("app".into()),
                image: Some("web:1".into()),
                ..Default::default()
            },
            CheckpointSpec { pod: pod(None), ..Default::default() },
        );
        assert!(matches!(CheckpointTarget::parse(&full, |_| true), Some(CheckpointTarget::Pod { .. })));
        assert!(
            matches!(CheckpointTarget::parse(&full, |_| false), Some(CheckpointTarget::Manual { uid: Some(_), .. })),
            "another name"
        );
        let without_image = CheckpointSpec { image: None, ..full.clone() };
        assert!(matches!(CheckpointTarget::parse(&without_image, |_| true), Some(CheckpointTarget::Manual { .. })));
        assert_eq!(CheckpointSpec::from(&CheckpointTarget::parse(&full, |_| true).unwrap()), full);
        assert!(matches!(
            CheckpointTarget::parse(&short, |_| true),
            Some(CheckpointTarget::Manual { uid: None, container: None, .. })
        ));
        let revision = CheckpointSpec {
            workload: Some(workload),
            revision: Some("r".into()),
            container: Some("app".into()),
            ..Default::default()
        };
        assert!(matches!(CheckpointTarget::parse(&revision, |_| true), Some(CheckpointTarget::Revision { .. })));
        let with_image = CheckpointSpec { image: Some("web:1".into()), ..revision };
        assert_eq!(CheckpointTarget::parse(&with_image, |_| true), None);
        assert_eq!(CheckpointTarget::parse(&CheckpointSpec::default(), |_| true), None);
    }
    #[test]
    fn a_text_that_could_lead_elsewhere_is_no_target() {
        let revision = || CheckpointSpec {
            workload: Some(WorkloadReference {
                api_version: "apps/v1".into(),
                kind: "Deployment".into(),
                name: "web".into(),
                uid: "d".into(),
            }),
            revision: Some("r".into()),
            container: Some("app".into()),
            ..Default::default()
        };
        let manual = || CheckpointSpec {
            pod: Some(PodReference { name: "web".into(), uid: Some("u".into()) }),
            container: Some("app".into()),
            image: Some("web:1".into()),
            ..Default::default()
        };
        let is_target = |spec: &CheckpointSpec| CheckpointTarget::parse(spec, |_| false).is_some();
        assert!(is_target(&manual()) && is_target(&revision()));
        for text in ["", "a b", "../../other/pods/db-0", "web?x", "web#x", "web\n", "\u{1b}[2J", "w\u{fc}b"] {
            let of_pod: [fn(&mut CheckpointSpec) -> &mut String; 4] = [
                |spec| &mut spec.pod.as_mut().unwrap().name,
                |spec| spec.pod.as_mut().unwrap().uid.as_mut().unwrap(),
                |spec| spec.container.as_mut().unwrap(),
                |spec| spec.image.as_mut().unwrap(),
            ];
            for (number, field) in of_pod.into_iter().enumerate() {
                // An image has slashes, and may have what a query has. It becomes a part of no URL.
                let is_image_text = number == 3 && text.bytes().all(|byte| byte.is_ascii_graphic()) && !text.is_empty();
                let mut spec = manual();
                text.clone_into(field(&mut spec));
                assert_eq!(is_target(&spec), is_image_text, "{spec:?}");
            }
            let of_revision: [fn(&mut CheckpointSpec) -> &mut String; 6] = [
                |spec| &mut spec.workload.as_mut().unwrap().api_version,
                |spec| &mut spec.workload.as_mut().unwrap().kind,
                |spec| &mut spec.workload.as_mut().unwrap().name,
                |spec| &mut spec.workload.as_mut().unwrap().uid,
                |spec| spec.revision.as_mut().unwrap(),
                |spec| spec.container.as_mut().unwrap(),
            ];
            for field in of_revision {
                let mut spec = revision();
                text.clone_into(field(&mut spec));
                assert!(!is_target(&spec), "{spec:?}");
            }
        }
    }
}
