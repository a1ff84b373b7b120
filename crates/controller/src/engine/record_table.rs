//! The Checkpoints of the watched namespaces: those that are not finished as they are, and a small key of each.
//!
//! A container that has a Checkpoint costs no request when its pod is seen again, and finished Checkpoints take little
//! memory.

use std::collections::{HashMap, HashSet};
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::runtime::watcher::Event;
use sha2::{Digest, Sha256};

use snapwatcher_api::checkpoint::{Checkpoint, CheckpointSpec, CheckpointTarget, Phase};
use snapwatcher_api::pod::PodName;

use super::record_key::RecordKey;
use super::record_subject::RecordSubject;
use super::unfinished_records::{UnfinishedRecord, UnfinishedRecords};
use crate::record::fields;

/// All Checkpoints, by key.
pub(super) struct RecordTable {
    entries: HashMap<KeyDigest, Entry>,
    /// How many Succeeded Checkpoints there are of each container, by its image and by its revision.
    successes: HashMap<KeyDigest, usize>,
    /// What a listing under way has delivered, by scope.
    listings: HashMap<usize, HashSet<KeyDigest>>,
    /// The scopes whose first listing is complete. Before it, a missing Checkpoint proves nothing.
    listed: HashSet<usize>,
    unfinished: UnfinishedRecords,
}

/// The small key of one Checkpoint.
struct Entry {
    /// Under which keys it counts as a success; `None` until it has succeeded.
    successes: [Option<KeyDigest>; 2],
    /// Of the spec.
    target: u64,
    scope: usize,
}

/// What a container must have been checkpointed with, so that it needs no Checkpoint any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SuccessOf<'a> {
    /// With `once-per: pod`: this image.
    Image(&'a str),
    /// With `once-per: revision`: this revision.
    Revision(&'a str),
}

/// 128 bits of a SHA-256: in practice no two keys share one. Without the zero, an `Option` of it takes no more memory.
type KeyDigest = NonZero<u128>;

/// For which pods a claim must be tried again, because Checkpoints were deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reclaim {
    None,
    /// This pod.
    Pod {
        name: PodName,
        uid: String,
    },
    /// The pods of a revision, whose Checkpoint was deleted, and the pod that it was about.
    Revision {
        namespace: String,
        revision: String,
        pod: Option<String>,
    },
    /// The pods of a scope, since Checkpoints in it were deleted while the watch was interrupted.
    Scope(usize),
}

/// What one event changed.
#[derive(Debug)]
pub(super) enum RecordChange {
    None,
    /// This Checkpoint is new or has changed.
    Updated(Arc<Checkpoint>),
    Deleted(RecordKey, Reclaim),
    /// A listing is complete. These Checkpoints were deleted while the watch was interrupted, apart from finished ones.
    Listed {
        gone: Vec<RecordKey>,
        reclaim: Reclaim,
    },
}

impl RecordTable {
    /// `max_manual` is how many unfinished manual Checkpoints of a namespace are attempted.
    pub(super) fn new(max_manual: usize) -> Self {
        Self {
            entries: HashMap::new(),
            successes: HashMap::new(),
            listings: HashMap::new(),
            listed: HashSet::new(),
            unfinished: UnfinishedRecords::new(max_manual),
        }
    }

    /// How many Checkpoints there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_listed(&self, scope: usize) -> bool {
        self.listed.contains(&scope)
    }

    /// Whether there is a Checkpoint of that name, and whether it is the one of this target. `None`: there is none.
    pub(super) fn has_target(&self, namespace: &str, name: &str, target: &CheckpointTarget) -> Option<bool> {
        let entry = self.entries.get(&digest(&[namespace, name]))?;
        Some(entry.target == target_digest(&CheckpointSpec::from(target)))
    }

    /// Whether a Succeeded Checkpoint of that pod and container exists, with that image or revision, whatever its name.
    pub(super) fn has_success(&self, pod_uid: &str, container: &str, of: SuccessOf<'_>) -> bool {
        self.successes.contains_key(&success_digest(pod_uid, container, of))
    }

    pub(super) fn unfinished(&self, key: &RecordKey) -> Option<&UnfinishedRecord> {
        self.unfinished.get(key)
    }

    /// Counts an unfinished Checkpoint towards the limit of its namespace, unless it is about a container of a pod that exists, and
    /// SnapWatcher creates one of its name for that container.
    pub(super) fn count(&mut self, key: &RecordKey, has_container: bool) {
        self.unfinished.count(key, has_container);
    }

    /// The API server has refused an operation on this Checkpoint. Returns how long no other one starts. `jitter` is from 0 to 1.
    pub(super) fn refused(&mut self, key: &RecordKey, jitter: f64, boot: Duration) -> Duration {
        self.unfinished.refused(key, jitter, boot)
    }

    /// Whether this is an unfinished Checkpoint beyond the limit of its namespace.
    pub(super) fn is_excess(&self, key: &RecordKey) -> bool {
        self.unfinished.is_excess(key)
    }

    pub(super) fn contains(&self, key: &RecordKey) -> bool {
        self.entries.contains_key(&key_digest(key))
    }

    /// Whether the watch has shown that Checkpoint finished.
    pub(super) fn is_finished(&self, key: &RecordKey) -> bool {
        self.contains(key) && self.unfinished.get(key).is_none()
    }

    /// In the order in which they were created.
    pub(super) fn unfinished_keys(&self) -> Vec<RecordKey> {
        self.unfinished.keys_by_age()
    }

    /// The next unfinished Checkpoint about that subject, in order; `None`: there are no more.
    pub(super) fn next_about(&self, subject: &RecordSubject, after: Option<&RecordKey>) -> Option<RecordKey> {
        self.unfinished.next_about(subject, after)
    }

    /// Takes over one event of the watch of `scope`.
    pub(super) fn apply(&mut self, scope: usize, event: Event<Checkpoint>, boot: Duration) -> RecordChange {
        match event {
            Event::Init => {
                self.listings.insert(scope, HashSet::new());
                RecordChange::None
            }
            Event::InitApply(checkpoint) => {
                let (key, updated) = self.insert(scope, checkpoint, boot);
                self.listings.entry(scope).or_default().insert(key);
                RecordChange::Updated(updated)
            }
            Event::InitDone => self.finish_listing(scope),
            Event::Apply(checkpoint) => RecordChange::Updated(self.insert(scope, checkpoint, boot).1),
            Event::Delete(checkpoint) => {
                let key = RecordKey::of(&checkpoint);
                self.remove(name_digest(&checkpoint));
                self.unfinished.remove(&key);
                let pod = fields::pod_uid(&checkpoint).map(str::to_owned);
                let reclaim = match (checkpoint.spec.revision.clone(), pod) {
                    // Its new Checkpoint may be claimed for any of its pods, not only for the one in the status.
                    (Some(revision), pod) => Reclaim::Revision { namespace: key.namespace().to_owned(), revision, pod },
                    (None, Some(uid)) => {
                        fields::pod_name(&checkpoint).map_or(Reclaim::None, |name| Reclaim::Pod { name, uid })
                    }
                    (None, None) => Reclaim::None,
                };
                RecordChange::Deleted(key, reclaim)
            }
        }
    }

    fn insert(&mut self, scope: usize, checkpoint: Checkpoint, boot: Duration) -> (KeyDigest, Arc<Checkpoint>) {
        let digest = name_digest(&checkpoint);
        self.remove(digest);
        let successes = success_digests(&checkpoint);
        for success in successes.into_iter().flatten() {
            *self.successes.entry(success).or_default() += 1;
        }
        let target = target_digest(&checkpoint.spec);
        self.entries.insert(digest, Entry { successes, target, scope });
        let (key, checkpoint) = (RecordKey::of(&checkpoint), Arc::new(checkpoint));
        if checkpoint.phase().is_final() {
            self.unfinished.remove(&key);
        } else {
            self.unfinished.insert(key, checkpoint.clone(), boot);
        }
        (digest, checkpoint)
    }

    fn remove(&mut self, key: KeyDigest) {
        let Some(Entry { successes, .. }) = self.entries.remove(&key) else { return };
        for success in successes.into_iter().flatten() {
            if let Some(count) = self.successes.get_mut(&success) {
                *count -= 1;
                if *count == 0 {
                    self.successes.remove(&success);
                }
            }
        }
    }

    fn finish_listing(&mut self, scope: usize) -> RecordChange {
        let listed = self.listings.remove(&scope).unwrap_or_default();
        let is_gone = |(key, entry): &(&KeyDigest, &Entry)| entry.scope == scope && !listed.contains(key);
        let digests: HashSet<KeyDigest> = self.entries.iter().filter(is_gone).map(|(key, _)| *key).collect();
        for digest in &digests {
            self.remove(*digest);
        }
        let is_gone = |key: &&RecordKey| digests.contains(&key_digest(key));
        let gone: Vec<RecordKey> = self.unfinished.keys().filter(is_gone).cloned().collect();
        for key in &gone {
            self.unfinished.remove(key);
        }
        // Some can have been created and deleted while the watch was interrupted.
        let is_first = self.listed.insert(scope);
        RecordChange::Listed { gone, reclaim: if is_first { Reclaim::None } else { Reclaim::Scope(scope) } }
    }
}

/// When the attempt in the status started, which distinguishes it from other attempts of its Checkpoint.
pub(super) fn attempt_start(checkpoint: &Checkpoint) -> Option<Timestamp> {
    checkpoint.status.as_ref()?.start_time.as_ref().map(|start| start.0)
}

fn success_digests(checkpoint: &Checkpoint) -> [Option<KeyDigest>; 2] {
    let subject = fields::pod_uid(checkpoint).zip(fields::container(checkpoint));
    let subject = subject.filter(|_| checkpoint.phase() == Phase::Succeeded);
    let of = |of: SuccessOf<'_>| subject.map(|(pod_uid, container)| success_digest(pod_uid, container, of));
    let image = fields::image(checkpoint).map(SuccessOf::Image);
    let revision = fields::revision(checkpoint).map(SuccessOf::Revision);
    [image.and_then(of), revision.and_then(of)]
}

fn success_digest(pod_uid: &str, container: &str, of: SuccessOf<'_>) -> KeyDigest {
    match of {
        SuccessOf::Image(image) => digest(&[pod_uid, container, "image", image]),
        SuccessOf::Revision(revision) => digest(&[pod_uid, container, "revision", revision]),
    }
}

/// Equal for equal specs.
fn target_digest(spec: &CheckpointSpec) -> u64 {
    let CheckpointSpec { pod, workload, revision, container, image } = spec;
    let pod = pod.as_ref().map(|pod| (pod.name.as_str(), pod.uid.as_deref().unwrap_or_default()));
    let workload = workload.as_ref().map(|workload| (workload.kind.as_str(), workload.uid.as_str()));
    let ((name, pod_uid), (kind, workload_uid)) = (pod.unwrap_or_default(), workload.unwrap_or_default());
    let (revision, container) = (revision.as_deref().unwrap_or_default(), container.as_deref().unwrap_or_default());
    let image = image.as_deref().unwrap_or_default();
    let digest = digest(&[name, pod_uid, kind, workload_uid, revision, container, image]);
    u64::try_from(digest.get() >> 64).unwrap_or_default()
}

fn name_digest(checkpoint: &Checkpoint) -> KeyDigest {
    digest(&[checkpoint.metadata.namespace.as_deref().unwrap_or_default(), &checkpoint.name_any()])
}

fn key_digest(key: &RecordKey) -> KeyDigest {
    digest(&[key.namespace(), key.name()])
}

/// With the length of each part, since an image can hold any separator. So different parts give different texts.
fn digest(parts: &[&str]) -> KeyDigest {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    let digest = hash.finalize().iter().take(16).fold(0, |digest, &byte| digest << 8 | u128::from(byte));
    KeyDigest::new(digest).unwrap_or(KeyDigest::MAX)
}

#[cfg(test)]
mod tests;
