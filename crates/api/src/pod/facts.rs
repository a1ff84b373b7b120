//! The few facts of a pod that decide about a checkpoint, as plain values. Pods share what they have in common.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use crate::checkpoint_name::{label_value, shortened};
use crate::keys::{ADMISSION, MIRROR, MUTATED, OPTED_IN, RESTORED, SNAP};

use super::container::{ContainerDigest, ContainerFacts, LONGEST_IMAGE, containers, digest_of};
use super::name::{LONGEST_LABEL, LONGEST_NAME, PodName, is_label_value};
use super::options::CheckpointOptions;
use super::revision::RevisionLabels;
use super::watched::{MOST_CONTAINERS, WatchedCondition, WatchedPod};

/// The most bytes that the images of one pod may have together. All are kept.
pub const MOST_IMAGE_BYTES: usize = 8192;
/// The longest text that is kept of what is wrong with the annotations.
const LONGEST_PROBLEM: usize = 512;

/// What is known of one pod.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each read on its own")]
pub struct PodFacts {
    pub name: PodName,
    pub uid: String,
    /// `metadata.creationTimestamp`.
    pub created: Option<Timestamp>,
    /// The label [`SNAP`] is exactly "true".
    pub labelled: bool,
    /// The label [`MUTATED`], whatever its value.
    pub mutated: Option<Arc<str>>,
    /// The annotation [`ADMISSION`].
    pub admission: Option<Box<str>>,
    /// A mirror pod: the API server's copy of a static pod. It can't be labeled by admission or checkpointed by its name.
    pub mirror: bool,
    /// `metadata.deletionTimestamp` is set.
    pub terminating: bool,
    /// The phase is Running.
    pub running: bool,
    /// The phase is Succeeded or Failed: the containers do not run again.
    pub ended: bool,
    /// Since when the condition Ready is True; `None` while the pod is not Ready.
    pub ready_since: Option<Timestamp>,
    pub node: Option<Arc<str>>,
    /// The owner reference with `controller: true`.
    pub controller: Option<Arc<ControllerReference>>,
    /// What names the revision of the pod, usually the hash of the pod template in a label that the pod's controller sets.
    pub template_hash: Option<Arc<str>>,
    /// The regular containers, then the sidecars. Empty if there are too many, or if they do not run yet and only a summary is kept.
    pub containers: Vec<ContainerFacts>,
    /// The containers that a summary leaves out.
    pub left_out: Box<[ContainerDigest]>,
    /// The pod has more than [`MOST_CONTAINERS`] containers, or their images are longer than [`MOST_IMAGE_BYTES`] together.
    pub too_many_containers: bool,
    /// The checkpoint options in the annotations, or what is wrong with the annotations.
    pub options: Result<Arc<CheckpointOptions>, String>,
}

/// The controller of an object, as its owner reference names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ControllerReference {
    pub api_version: String,
    pub kind: String,
    pub name: String,
    pub uid: String,
}

impl ControllerReference {
    /// Finds the reference with `controller: true`; Kubernetes allows one at most. The API server does not validate the texts of
    /// a reference. One that is not valid is replaced by a valid one with a digest of it, as the schema of Checkpoints needs.
    pub fn among(references: &[OwnerReference]) -> Option<Self> {
        let owner = references.iter().find(|owner| owner.controller == Some(true))?;
        let valid = |text: &str, longest: usize| {
            let text = shortened(text, longest);
            // The prefix makes an empty text invalid too, and is cut off.
            if is_label_value(&text) { text } else { label_value(&format!("-{text}")) }
        };
        let api_version = match owner.api_version.split_once('/') {
            Some((group, version)) => format!("{}/{}", valid(group, LONGEST_NAME), valid(version, LONGEST_LABEL)),
            None => valid(&owner.api_version, LONGEST_LABEL),
        };
        Some(Self {
            api_version,
            kind: valid(&owner.kind, LONGEST_LABEL),
            name: valid(&owner.name, LONGEST_NAME),
            uid: valid(&owner.uid, LONGEST_LABEL),
        })
    }
}

impl PodFacts {
    /// The pod runs from a checkpoint image.
    pub fn restored(&self) -> bool {
        self.mutated.as_deref() == Some(RESTORED)
    }

    pub fn container(&self, name: &str) -> Option<&ContainerFacts> {
        self.containers.iter().find(|container| *container.name == *name)
    }

    /// The revision of the workload: the template hash, else the UID of the direct controller, else the pod's own UID.
    pub fn revision(&self) -> &str {
        let controller = || self.controller.as_ref().map(|controller| controller.uid.as_str());
        self.template_hash.as_deref().or_else(controller).unwrap_or(&self.uid)
    }

    /// Whether the pod has a container of that name, as far as a summary knows.
    pub fn has_container(&self, name: &str) -> bool {
        self.image_digest(name).is_some()
    }

    /// The digest of a container's image, as far as a summary knows the container.
    pub fn image_digest(&self, name: &str) -> Option<u64> {
        let left_out = || self.left_out.iter().find(|container| container.is_of(name)).map(|container| container.image);
        self.container(name).map(ContainerFacts::image_digest).or_else(left_out)
    }

    /// Whether a container has that image; `None` if there is no such container.
    pub fn has_image(&self, name: &str, image: &str) -> Option<bool> {
        let by_digest = || self.image_digest(name).map(|digest| digest == digest_of(image));
        self.container(name).map(|container| *container.image == *image).or_else(by_digest)
    }

    /// The facts without the containers, for a pod that does not run. 10,000 pods that wait for a node could otherwise have 25 KiB
    /// each of containers that differ.
    #[must_use]
    pub fn summary(mut self) -> Self {
        self.left_out = self.containers.iter().map(ContainerDigest::of).collect();
        self.containers = Vec::new();
        // The first one that is chosen is the subject of a manual Checkpoint of the pod, unless there are several.
        if let Ok(options) = &mut self.options
            && options.containers.len() > 2
        {
            let containers = options.containers[..2].to_vec();
            *options = Arc::new(CheckpointOptions { containers, ..**options });
        }
        self
    }

    /// The facts of a pod, whose revision the labels and annotations of those keys name.
    pub fn read(pod: WatchedPod, revision_labels: &RevisionLabels) -> Self {
        let WatchedPod { metadata, mut spec, status } = pod;
        let labels = metadata.labels.unwrap_or_default();
        let annotations = metadata.annotations.unwrap_or_default();
        let created = metadata.creation_timestamp.map(|created| created.0);
        let all = || spec.containers.iter().chain(&spec.init_containers);
        let images = all().filter_map(|container| container.image.as_ref());
        let image_bytes: usize = images.map(|image| image.len().min(LONGEST_IMAGE)).sum();
        let too_many_containers = all().count() > MOST_CONTAINERS || image_bytes > MOST_IMAGE_BYTES;
        if too_many_containers {
            (spec.containers, spec.init_containers) = (Vec::new(), Vec::new());
        }
        let containers = containers(&spec, &status);
        let names = |sidecar| {
            let of_kind = containers.iter().filter(move |container| container.sidecar == sidecar);
            of_kind.map(|container| &*container.name).collect::<Vec<&str>>()
        };
        let options = CheckpointOptions::parse(&annotations, &names(false), &names(true));
        let (template_hash, problem) = match revision_labels.value(&labels, &annotations) {
            Ok(value) => (value, None),
            Err(problem) => (None, Some(problem)),
        };
        let problems = options.as_ref().err().into_iter().flatten().chain(&problem);
        let problem = problems.map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let options = match options {
            Ok(options) if problem.is_empty() => Ok(Arc::new(options)),
            _ => Err(shortened(&problem, LONGEST_PROBLEM)),
        };
        Self {
            name: PodName {
                namespace: limited(metadata.namespace, LONGEST_NAME).unwrap_or_default().into(),
                name: limited(metadata.name, LONGEST_NAME).unwrap_or_default().into(),
            },
            uid: limited(metadata.uid, LONGEST_LABEL).unwrap_or_default(),
            created,
            labelled: labels.get(SNAP).is_some_and(|value| value == OPTED_IN),
            mutated: labels.get(MUTATED).map(|value| shortened(value, LONGEST_LABEL).into()),
            admission: annotations.get(ADMISSION).map(|value| shortened(value, LONGEST_LABEL).into()),
            mirror: annotations.contains_key(MIRROR),
            terminating: metadata.deletion_timestamp.is_some(),
            running: status.phase.as_deref() == Some("Running"),
            ended: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
            ready_since: ready_since(&status.conditions, created),
            node: limited(spec.node_name, LONGEST_NAME).map(Arc::from),
            controller: ControllerReference::among(metadata.owner_references.as_deref().unwrap_or_default())
                .map(Arc::new),
            template_hash: template_hash.map(Arc::from),
            containers,
            left_out: Box::default(),
            too_many_containers,
            options,
        }
    }
}

/// With no other labels than those of Kubernetes for the revision.
impl From<WatchedPod> for PodFacts {
    fn from(pod: WatchedPod) -> Self {
        Self::read(pod, &RevisionLabels::default())
    }
}

/// The text itself if it is not too long.
fn limited(text: Option<String>, longest: usize) -> Option<String> {
    text.map(|text| if text.len() > longest { shortened(&text, longest) } else { text })
}

/// A Ready condition without a transition time, which is optional, counts from the pod's creation.
fn ready_since(conditions: &[WatchedCondition], created: Option<Timestamp>) -> Option<Timestamp> {
    let ready = conditions.iter().find(|condition| condition.r#type == "Ready" && condition.status == "True")?;
    ready.last_transition_time.or(created)
}

#[cfg(test)]
mod tests;
