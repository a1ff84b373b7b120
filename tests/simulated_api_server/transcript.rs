//! What a server answered to a script, without what differs between two servers that answer the same: UIDs and revisions are
//! replaced by their order.

use std::collections::BTreeMap;

use snapwatcher_api::checkpoint::{Checkpoint, CheckpointSpec, CheckpointStatus};

/// A rejected call.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) code: u16,
    pub(crate) reason: String,
    /// The reasons of the causes that a client reads.
    pub(crate) is_namespace_terminating: bool,
}

/// What one call gives: objects, in a watch with the types of the events, and whether a further page follows.
pub(crate) type Outcome = Result<(Vec<(&'static str, Checkpoint)>, bool), Refusal>;

/// The answer to one call, in a form that can be compared.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) refusal: Option<Refusal>,
    /// The objects in the answer, those of a watch with the type of the event.
    pub(crate) seen: Vec<(&'static str, Seen)>,
    /// A further page follows.
    pub(crate) has_more: bool,
}

/// An object as it was seen.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    pub(crate) name: String,
    /// The number of the UID, in the order in which they were seen.
    uid: usize,
    /// The rank of the `resourceVersion` among those of all objects in the transcript.
    version: u64,
    generation: Option<i64>,
    is_created_at_a_second: bool,
    is_terminating: bool,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    spec: CheckpointSpec,
    status: Option<CheckpointStatus>,
}

/// The answers to a script.
#[derive(Debug, Default)]
pub(crate) struct Transcript {
    pub(crate) answers: Vec<Answer>,
    uids: Vec<String>,
}

impl Transcript {
    pub(crate) fn add(&mut self, outcome: Outcome) {
        let answer = match outcome {
            Ok((objects, has_more)) => {
                let seen = objects.into_iter().map(|(kind, object)| (kind, self.seen(object))).collect();
                Answer { refusal: None, seen, has_more }
            }
            Err(refusal) => Answer { refusal: Some(refusal), seen: Vec::new(), has_more: false },
        };
        self.answers.push(answer);
    }

    /// Replaces each version by its rank.
    pub(crate) fn ranked(mut self) -> Vec<Answer> {
        let objects = || self.answers.iter().flat_map(|answer| &answer.seen);
        let mut versions: Vec<u64> = objects().map(|(_, seen)| seen.version).collect();
        versions.sort_unstable();
        versions.dedup();
        for (_, seen) in self.answers.iter_mut().flat_map(|answer| &mut answer.seen) {
            seen.version = versions.iter().position(|version| *version == seen.version).unwrap() as u64;
        }
        self.answers
    }

    fn seen(&mut self, object: Checkpoint) -> Seen {
        let Checkpoint { metadata, spec, status } = object;
        let uid = metadata.uid.unwrap();
        let known = self.uids.iter().position(|known| *known == uid);
        let uid = known.unwrap_or_else(|| {
            self.uids.push(uid);
            self.uids.len() - 1
        });
        Seen {
            name: metadata.name.unwrap(),
            uid,
            version: metadata.resource_version.unwrap().parse().unwrap(),
            generation: metadata.generation,
            is_created_at_a_second: metadata.creation_timestamp.unwrap().0.subsec_nanosecond() == 0,
            is_terminating: metadata.deletion_timestamp.is_some(),
            labels: metadata.labels.unwrap_or_default(),
            annotations: metadata.annotations.unwrap_or_default(),
            spec,
            status,
        }
    }
}
