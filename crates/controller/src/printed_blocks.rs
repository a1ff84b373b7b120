//! A limit on repeated log blocks: who deletes Checkpoints again and again has their pods claimed as often. The first claim of
//! a container always has its block. So has the first one after another image or revision, within the lines of its namespace: people can
//! change both of a running pod.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use snapwatcher_api::pod::PodFacts;

/// The same block may be printed again after this time.
const REPEAT_AFTER: Duration = Duration::from_secs(3600);
/// How many keys are remembered, two of a block, each in about 50 bytes. The oldest one is forgotten for one more.
const MAX_KEYS: usize = 40_000;

/// The blocks that were printed within [`REPEAT_AFTER`].
#[derive(Debug, Default)]
pub(crate) struct PrintedBlocks {
    hasher: RandomState,
    printed: Mutex<Printed>,
}

#[derive(Debug, Default)]
struct Printed {
    keys: HashSet<u64>,
    /// The same keys, the oldest first.
    times: VecDeque<(Instant, u64)>,
}

/// What is known about a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Block {
    /// There was none about this container.
    First,
    /// There was one about this container, with another image or revision.
    Changed,
    Repeated,
}

impl PrintedBlocks {
    /// What is known about the block about a claim. From now on it is known.
    pub(crate) fn note(&self, pod: &PodFacts, container: &str, now: Instant) -> Block {
        let keys = [
            self.hasher.hash_one((&pod.uid, container)),
            self.hasher.hash_one((&pod.uid, container, pod.image_digest(container), pod.revision())),
        ];
        match keys.map(|key| self.is_new(key, now)) {
            [true, _] => Block::First,
            [false, true] => Block::Changed,
            [false, false] => Block::Repeated,
        }
    }

    fn is_new(&self, key: u64, now: Instant) -> bool {
        let mut printed = self.printed.lock().unwrap_or_else(PoisonError::into_inner);
        let Printed { keys, times } = &mut *printed;
        while let Some((_, oldest)) = times.front().filter(|(at, _)| now.saturating_duration_since(*at) >= REPEAT_AFTER)
        {
            keys.remove(oldest);
            times.pop_front();
        }
        if !keys.insert(key) {
            return false;
        }
        if times.len() >= MAX_KEYS
            && let Some((_, oldest)) = times.pop_front()
        {
            keys.remove(&oldest);
        }
        times.push_back((now, key));
        true
    }
}

#[cfg(test)]
mod tests {
    use snapwatcher_api::fixtures::pod;

    use super::*;

    fn facts(uid: &str) -> PodFacts {
        let mut facts = pod("web").labeled().ready(0).facts();
        uid.clone_into(&mut facts.uid);
        facts
    }

    #[test]
    fn a_container_has_one_first_block_an_hour_and_one_more_for_each_image() {
        let (blocks, start) = (PrintedBlocks::default(), Instant::now());
        let note = |uid: &str, container: &str, now| blocks.note(&facts(uid), container, now);
        assert_eq!([note("a", "app", start), note("a", "app", start)], [Block::First, Block::Repeated]);
        assert_eq!([note("b", "app", start), note("a", "other", start)], [Block::First; 2]);
        let mut updated = facts("a");
        updated.containers[0].image = "another".into();
        assert_eq!([0, 1].map(|_| blocks.note(&updated, "app", start)), [Block::Changed, Block::Repeated]);
        assert_eq!(note("a", "app", start + Duration::from_secs(3599)), Block::Repeated);
        assert_eq!(note("a", "app", start + REPEAT_AFTER), Block::First);
    }

    #[test]
    fn the_memory_of_blocks_is_bounded_and_the_first_block_of_each_pod_is_printed() {
        let (blocks, start) = (PrintedBlocks::default(), Instant::now());
        let note = |number: usize| blocks.note(&facts(&number.to_string()), "app", start);
        assert!((0..=MAX_KEYS / 2).all(|number| note(number) == Block::First));
        let kept = blocks.printed.lock().unwrap().keys.len();
        assert_eq!((kept, note(MAX_KEYS / 2), note(0)), (MAX_KEYS, Block::Repeated, Block::First));
    }
}
