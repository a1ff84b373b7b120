//! The target of a Checkpoint: a pod, a revision of a workload, or a pod by its name.

use crate::pod::is_object_name;

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
    /// the spec breaks a rule of the schema, which the API server does not accept.
    pub fn parse(spec: &CheckpointSpec, has_derived_name: impl FnOnce(&Self) -> bool) -> Option<Self> {
        let CheckpointSpec { pod, workload, revision, container, image } = spec.clone();
        match (pod, workload, revision, container, image) {
            (Some(PodReference { name, uid }), None, None, container, image) if is_object_name(&name) => {
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
        let pod = Some(PodReference { name: "web/log".into(), uid: None });
        assert_eq!(CheckpointTarget::parse(&CheckpointSpec { pod, ..Default::default() }, |_| true), None);
        assert_eq!(CheckpointTarget::parse(&CheckpointSpec::default(), |_| true), None);
    }
}
