//! The `Checkpoint` custom resource: the ledger of what was asked and what came of it.
//!
//! The schema is made from these types; `snapwatcher crd` prints it. In the API it is a flat object of optional fields
//! with CEL rules beside them (<https://kubernetes.io/docs/reference/using-api/cel/>); [`CheckpointTarget::parse`] turns it into
//! one of three wishes, once.

#![expect(unreachable_pub, reason = "the derived schema repeats each struct inside a private scope")]
#![expect(clippy::duplicated_attributes, reason = "each printed column has a type")]

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime, Time};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::pod::PodFacts;

use super::outcome::Redacted;

/// What to checkpoint once. Immutable: a wish is not changed but replaced.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[kube(
    group = "snap.weaversoft.io",
    version = "v1alpha1",
    kind = "Checkpoint",
    plural = "checkpoints",
    shortname = "ckpt",
    namespaced,
    status = "CheckpointStatus",
    printcolumn(name = "POD", type_ = "string", json_path = ".status.pod.name"),
    printcolumn(name = "CONTAINER", type_ = "string", json_path = ".status.container"),
    printcolumn(name = "WORKLOAD", type_ = "string", json_path = ".status.workload"),
    printcolumn(name = "NODE", type_ = "string", json_path = ".status.pod.node"),
    printcolumn(name = "PHASE", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "REASON", type_ = "string", json_path = ".status.conditions[?(@.type==\"Complete\")].reason"),
    printcolumn(name = "AGE", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self == oldSelf").message("spec is immutable: delete this Checkpoint and create another"))]
#[x_kube(validation = Rule::new("has(self.pod) != has(self.workload)").message("give either pod or workload"))]
#[x_kube(validation = Rule::new("!has(self.workload) || (has(self.revision) && has(self.container))").message("workload needs revision and container"))]
#[x_kube(validation = Rule::new("!has(self.revision) || has(self.workload)").message("revision goes with workload"))]
pub struct CheckpointSpec {
    /// The pod to checkpoint. Without its UID, whichever pod has that name when the request is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodReference>,
    /// The workload of which one pod is to be checkpointed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<WorkloadReference>,
    /// The revision of that workload, as its pods' `pod-template-hash` or `controller-revision-hash` tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub revision: Option<String>,
    /// The container to checkpoint; left out with `pod`: the one its annotations choose.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub container: Option<String>,
}

#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
pub struct PodReference {
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub uid: Option<String>,
}

#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadReference {
    #[schemars(length(min = 1, max = 317))]
    pub api_version: String,
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    #[schemars(length(min = 1, max = 63))]
    pub uid: String,
}

impl From<&PodFacts> for PodStatus {
    fn from(pod: &PodFacts) -> Self {
        Self { name: pod.name.name.clone(), uid: Some(pod.uid.clone()), node: pod.node.clone() }
    }
}

/// How far a checkpoint has come.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointStatus {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The pod as resolved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodStatus>,
    /// The container as resolved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Kind and name of the pod's workload, `Deployment/web`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// Revision of that workload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Image of the container, as the kubelet reports it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    #[serde(rename = "imageID", skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
    /// UIDs of the pods of a revision that came to nothing; the next one was or will be asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tried_pods: Vec<String>,
    /// Number of the last written attempt; it only grows.
    #[serde(default)]
    pub attempt: i64,
    /// Answers that show that the back-end tried and failed.
    #[serde(default)]
    pub failures: i64,
    /// Who made the last attempt: `<instance>/<boot id>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// When the last attempt was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<MicroTime>,
    /// When the last attempt is over at the latest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<MicroTime>,
    /// No attempt is made before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_attempt_time: Option<MicroTime>,
    /// When the phase became final.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<MicroTime>,
    /// Where the checkpoint is, as far as the back-end said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<LocationStatus>,
    /// What the last attempt came to, for people; secrets are removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// `Complete` and `Failed`, as a Job's; `Complete` carries the reason of a record that is not finished, too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
pub struct PodStatus {
    pub name: String,
    /// Left out where there was no such pod, and the wish named no UID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
pub struct LocationStatus {
    /// Path of the archive on `node`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archive: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Image that holds the checkpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
}

#[derive(Serialize, Deserialize, schemars::JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Not asked yet, or to be asked again.
    Pending,
    /// An attempt is written and may be under way.
    InProgress,
    Succeeded,
    Failed,
    /// The request may have had its effect; nobody can tell.
    Unknown,
}

impl Phase {
    /// Nothing more will happen to the record.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Unknown)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::InProgress => "InProgress",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Unknown => "Unknown",
        }
    }
}

impl Checkpoint {
    /// The phase; a record without a status is Pending.
    pub fn phase(&self) -> Phase {
        self.status.as_ref().and_then(|status| status.phase).unwrap_or(Phase::Pending)
    }

    /// The CamelCase reason of the condition `Complete`.
    pub fn reason(&self) -> Option<&str> {
        let conditions = &self.status.as_ref()?.conditions;
        conditions.iter().find(|condition| condition.type_ == COMPLETE).map(|condition| condition.reason.as_str())
    }
}

/// Condition type: True when the checkpoint exists.
pub const COMPLETE: &str = "Complete";
/// Condition type: True when it is final that there is none, or nobody can tell.
pub const FAILED: &str = "Failed";

/// What a record asks for, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckpointTarget {
    /// This very pod.
    Pod { name: String, uid: String, container: String },
    /// One pod of this revision.
    Revision { workload: WorkloadReference, revision: String, container: String },
    /// Whichever pod has this name: what a person applied.
    Manual { name: String, uid: Option<String>, container: Option<String> },
}

impl CheckpointTarget {
    /// Reads a spec; `derived_name` tells whether the record's name is the one derived from such a spec. `None`: the
    /// rules of the schema are broken, which the API server does not let through.
    pub fn parse(spec: &CheckpointSpec, derived_name: impl FnOnce(&Self) -> bool) -> Option<Self> {
        let CheckpointSpec { pod, workload, revision, container } = spec.clone();
        match (pod, workload, revision, container) {
            (Some(PodReference { name, uid: Some(uid) }), None, None, Some(container)) => {
                let automatic = Self::Pod { name: name.clone(), uid: uid.clone(), container: container.clone() };
                if derived_name(&automatic) {
                    return Some(automatic);
                }
                Some(Self::Manual { name, uid: Some(uid), container: Some(container) })
            }
            (Some(PodReference { name, uid }), None, None, container) => Some(Self::Manual { name, uid, container }),
            (None, Some(workload), Some(revision), Some(container)) => {
                Some(Self::Revision { workload, revision, container })
            }
            _ => None,
        }
    }
}

impl From<&CheckpointTarget> for CheckpointSpec {
    fn from(wish: &CheckpointTarget) -> Self {
        let pod = |name: &String, uid: Option<&String>| Some(PodReference { name: name.clone(), uid: uid.cloned() });
        match wish {
            CheckpointTarget::Pod { name, uid, container } => {
                Self { pod: pod(name, Some(uid)), container: Some(container.clone()), ..Self::default() }
            }
            CheckpointTarget::Manual { name, uid, container } => {
                Self { pod: pod(name, uid.as_ref()), container: container.clone(), ..Self::default() }
            }
            CheckpointTarget::Revision { workload, revision, container } => Self {
                workload: Some(workload.clone()),
                revision: Some(revision.clone()),
                container: Some(container.clone()),
                pod: None,
            },
        }
    }
}

/// Sets the two conditions; a condition whose status does not change keeps its transition time.
pub fn set_conditions(
    conditions: &mut Vec<Condition>,
    phase: Phase,
    reason: &str,
    message: Option<&Redacted>,
    generation: Option<i64>,
    now: Timestamp,
) {
    let failed = matches!(phase, Phase::Failed | Phase::Unknown);
    for (type_, holds) in [(COMPLETE, phase == Phase::Succeeded), (FAILED, failed)] {
        let status = if holds { "True" } else { "False" };
        let before = conditions.iter().position(|condition| condition.type_ == type_);
        let unchanged = before.map(|at| &conditions[at]).filter(|condition| condition.status == status);
        let condition = Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: message.map(ToString::to_string).unwrap_or_default(),
            observed_generation: generation,
            last_transition_time: unchanged.map_or(Time(now), |condition| condition.last_transition_time.clone()),
        };
        match before {
            Some(at) => conditions[at] = condition,
            None => conditions.push(condition),
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::CustomResourceExt as _;

    use super::*;

    #[test]
    fn the_definition_says_what_users_rely_on() {
        let crd = serde_json::to_value(Checkpoint::crd()).unwrap();
        assert_eq!(crd["metadata"]["name"], "checkpoints.snap.weaversoft.io");
        assert_eq!(crd["spec"]["names"]["shortNames"][0], "ckpt");
        let version = &crd["spec"]["versions"][0];
        assert_eq!(version["name"], "v1alpha1");
        assert!(version["subresources"]["status"].is_object());
        let columns: Vec<_> = version["additionalPrinterColumns"]
            .as_array()
            .unwrap()
            .iter()
            .map(|column| column["name"].clone())
            .collect();
        assert_eq!(columns, ["POD", "CONTAINER", "WORKLOAD", "NODE", "PHASE", "REASON", "AGE"]);
        let schema = &version["schema"]["openAPIV3Schema"];
        assert_eq!(schema["required"], serde_json::json!(["spec"]));
        let rules = schema["properties"]["spec"]["x-kubernetes-validations"].as_array().unwrap();
        assert!(rules.iter().any(|rule| rule["rule"] == "self == oldSelf"));
        assert!(rules.iter().any(|rule| rule["rule"] == "has(self.pod) != has(self.workload)"));
    }

    #[test]
    fn a_spec_is_one_of_three_wishes() {
        let pod = |uid: Option<&str>| Some(PodReference { name: "web".into(), uid: uid.map(Into::into) });
        let workload = WorkloadReference {
            api_version: "apps/v1".into(),
            kind: "Deployment".into(),
            name: "web".into(),
            uid: "d".into(),
        };
        let (full, short) = (
            CheckpointSpec { pod: pod(Some("u")), container: Some("app".into()), ..Default::default() },
            CheckpointSpec { pod: pod(None), ..Default::default() },
        );
        assert!(matches!(CheckpointTarget::parse(&full, |_| true), Some(CheckpointTarget::Pod { .. })));
        assert!(
            matches!(CheckpointTarget::parse(&full, |_| false), Some(CheckpointTarget::Manual { uid: Some(_), .. })),
            "another name"
        );
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
        assert_eq!(CheckpointTarget::parse(&CheckpointSpec::default(), |_| true), None);
    }

    #[test]
    fn a_condition_keeps_its_time_while_its_status_stays() {
        let (then, now) = (Timestamp::from_second(1).unwrap(), Timestamp::from_second(2).unwrap());
        let mut conditions = Vec::new();
        set_conditions(&mut conditions, Phase::InProgress, "InProgress", None, Some(1), then);
        set_conditions(&mut conditions, Phase::Succeeded, "Succeeded", None, Some(1), now);
        let told: Vec<_> =
            conditions.iter().map(|c| (c.type_.as_str(), c.status.as_str(), c.last_transition_time.0)).collect();
        assert_eq!(told, [("Complete", "True", now), ("Failed", "False", then)]);
    }
}
