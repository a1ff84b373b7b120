//! A timeline as it is stored: some hundred bytes, where [`PodTimeline`] has some thousand.

use std::sync::Arc;

use jiff::Timestamp;

use snapwatcher_api::pod::PodName;

use super::timeline::{AdmissionTime, ContainerTimeline, PodTimeline};
use super::words::{LONGEST_TEXT, Words, cut};

/// What the allocator and the map need for one timeline beside its strings, estimated from above.
const OVERHEAD: usize = 160;
/// What the allocator needs for one string.
const STRING_OVERHEAD: usize = 16;

/// How many containers of one pod are shown. A person can create Checkpoints of containers that the pod does not have.
pub(super) const MAX_CONTAINERS: usize = 64;

/// The UID of a pod. Kubernetes' own ones take 16 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Uid {
    Uuid([u8; 16]),
    Other(Box<str>),
}

/// A point in time in microseconds, the precision of Kubernetes' `MicroTime`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Moment(i64);

/// One timeline without namespace and UID.
#[derive(Debug)]
pub(super) struct Stored {
    name: Arc<str>,
    admission: Moment,
    seen: Moment,
    ready: Moment,
    waiting_for: Option<Arc<str>>,
    /// By name. Almost every pod has one or two.
    containers: Vec<StoredContainer>,
    /// The memory that it takes, estimated from above: as if it shared no string.
    bytes: usize,
    /// The number of its last change, see [`Store`](super::store::Store).
    pub(super) last_change: u64,
    by_other_replica: bool,
}

#[derive(Debug)]
struct StoredContainer {
    name: Arc<str>,
    checkpoint: Option<Box<str>>,
    claimed: Moment,
    requested: Moment,
    finished: Moment,
    outcome: Option<Arc<str>>,
}

impl Moment {
    const NONE: Self = Self(i64::MIN);

    fn time(self) -> Option<Timestamp> {
        (self != Self::NONE).then(|| Timestamp::from_microsecond(self.0).ok())?
    }
}

impl From<Option<Timestamp>> for Moment {
    fn from(time: Option<Timestamp>) -> Self {
        time.map_or(Self::NONE, |time| Self(time.as_microsecond()))
    }
}

impl From<&str> for Uid {
    fn from(uid: &str) -> Self {
        uuid(uid).map_or_else(|| Self::Other(cut(uid).into()), Self::Uuid)
    }
}

impl Uid {
    pub(super) fn text(&self) -> String {
        match self {
            Self::Other(uid) => uid.to_string(),
            Self::Uuid(bytes) => {
                let hex = format!("{:032x}", u128::from_be_bytes(*bytes));
                let part = |from, to| hex.get(from..to).unwrap_or_default();
                [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
            }
        }
    }
}

/// Reads a UUID in the one form that [`Uid::text`] writes.
fn uuid(text: &str) -> Option<[u8; 16]> {
    let mut digits = 0;
    let mut value = 0_u128;
    for (at, character) in text.bytes().enumerate() {
        if matches!(at, 8 | 13 | 18 | 23) {
            if character != b'-' {
                return None;
            }
            continue;
        }
        let digit = match character {
            b'0'..=b'9' => character - b'0',
            b'a'..=b'f' => character - b'a' + 10,
            _ => return None,
        };
        digits += 1;
        value = value << 4 | u128::from(digit);
    }
    (digits == 32 && text.len() == 36).then(|| value.to_be_bytes())
}

impl Stored {
    pub(super) fn new(name: &Arc<str>) -> Self {
        let name = if name.len() > LONGEST_TEXT { cut(name).into() } else { Arc::clone(name) };
        Self {
            bytes: size_of::<Self>() + OVERHEAD + string_bytes(&name),
            name,
            admission: Moment::NONE,
            seen: Moment::NONE,
            ready: Moment::NONE,
            waiting_for: None,
            containers: Vec::new(),
            last_change: 0,
            by_other_replica: false,
        }
    }

    pub(super) fn is_seen(&self) -> bool {
        self.seen != Moment::NONE
    }

    pub(super) fn set_seen(&mut self, at: Timestamp, admission: Option<AdmissionTime>) {
        self.seen = Some(at).into();
        self.by_other_replica = admission.as_ref().is_some_and(|admission| admission.by_other_replica);
        self.admission = admission.map(|admission| admission.at).into();
    }

    /// Only the first time is kept.
    pub(super) fn set_ready(&mut self, at: Timestamp) {
        if self.ready == Moment::NONE {
            self.ready = Some(at).into();
        }
    }

    pub(super) fn set_waiting_for(&mut self, cause: Option<&str>, words: &mut Words) {
        let bytes = |cause: &Option<Arc<str>>| cause.as_deref().map_or(0, string_bytes);
        let before = bytes(&self.waiting_for);
        self.waiting_for = cause.map(|cause| words.shared(cause));
        self.bytes = self.bytes + bytes(&self.waiting_for) - before;
    }

    /// Changes a container. A container that has no stages yet is added, unless there are [`MAX_CONTAINERS`].
    pub(super) fn update_container(
        &mut self,
        name: &str,
        words: &mut Words,
        change: impl FnOnce(&mut ContainerTimeline),
    ) {
        let found = self.containers.binary_search_by(|container| container.name.as_ref().cmp(cut(name)));
        if found.is_err() && self.containers.len() >= MAX_CONTAINERS {
            return;
        }
        let mut timeline = found.map_or_else(|_| ContainerTimeline::default(), |at| self.containers[at].timeline());
        change(&mut timeline);
        let container = StoredContainer::new(name, timeline, words);
        self.bytes += container.bytes();
        match found {
            Ok(at) => {
                self.bytes -= self.containers[at].bytes();
                self.containers[at] = container;
            }
            Err(at) => {
                self.containers.reserve_exact(1);
                self.containers.insert(at, container);
            }
        }
    }

    /// The memory that this timeline takes, estimated from above: as if it shared no string.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The name of the pod.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The timeline for display.
    pub(super) fn timeline(&self, namespace: &str, uid: &Uid) -> PodTimeline {
        let by_other_replica = self.by_other_replica;
        PodTimeline {
            pod: PodName { namespace: namespace.into(), name: self.name.clone() },
            uid: uid.text(),
            admission: self.admission.time().map(|at| AdmissionTime { at, by_other_replica }),
            seen: self.seen.time(),
            ready: self.ready.time(),
            waiting_for: self.waiting_for.as_deref().map(str::to_owned),
            containers: self
                .containers
                .iter()
                .map(|container| (container.name.to_string(), container.timeline()))
                .collect(),
        }
    }
}

/// The memory of one string of its own.
fn string_bytes(text: &str) -> usize {
    text.len() + STRING_OVERHEAD
}

impl StoredContainer {
    fn bytes(&self) -> usize {
        let optional = |text: Option<&str>| text.map_or(0, string_bytes);
        let strings = optional(self.checkpoint.as_deref()) + optional(self.outcome.as_deref());
        size_of::<Self>() + string_bytes(&self.name) + strings
    }

    fn new(name: &str, timeline: ContainerTimeline, words: &mut Words) -> Self {
        let ContainerTimeline { checkpoint, claimed, requested, finished, outcome } = timeline;
        Self {
            name: words.shared(name),
            checkpoint: checkpoint.map(|checkpoint| cut(&checkpoint).into()),
            claimed: claimed.into(),
            requested: requested.into(),
            finished: finished.into(),
            outcome: outcome.map(|outcome| words.shared(&outcome)),
        }
    }

    fn timeline(&self) -> ContainerTimeline {
        ContainerTimeline {
            checkpoint: self.checkpoint.as_deref().map(str::to_owned),
            claimed: self.claimed.time(),
            requested: self.requested.time(),
            finished: self.finished.time(),
            outcome: self.outcome.as_deref().map(str::to_owned),
        }
    }
}

#[cfg(test)]
mod tests;
