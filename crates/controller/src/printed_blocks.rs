//! A limit on repeated log blocks: who deletes Checkpoints again and again has their pods claimed as often. The first claim of
//! a container always has its block, and so has the first one after another image or revision.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use snapwatcher_api::pod::PodFacts;

/// The same block may be printed again after this time.
const REPEAT_AFTER: Duration = Duration::from_secs(3600);
/// How many blocks are remembered, each in about 50 bytes. The oldest one is forgotten for one more.
const MAX_BLOCKS: usize = 20_000;

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

impl PrintedBlocks {
    /// Whether the block about a claim may be printed now; if so, it counts as printed.
    pub(crate) fn may_print(&self, pod: &PodFacts, container: &str, now: Instant) -> bool {
        let key = self.hasher.hash_one((&pod.uid, container, pod.image_digest(container), pod.revision()));
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
        if times.len() >= MAX_BLOCKS
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
    fn a_block_is_printed_once_an_hour_for_each_pod_container_and_image() {
        let (blocks, start) = (PrintedBlocks::default(), Instant::now());
        assert!(blocks.may_print(&facts("a"), "app", start) && !blocks.may_print(&facts("a"), "app", start));
        assert!(blocks.may_print(&facts("b"), "app", start) && blocks.may_print(&facts("a"), "other", start));
        let mut updated = facts("a");
        updated.containers[0].image = "another".into();
        assert!(blocks.may_print(&updated, "app", start));
        assert!(!blocks.may_print(&facts("a"), "app", start + Duration::from_secs(3599)));
        assert!(blocks.may_print(&facts("a"), "app", start + REPEAT_AFTER));
    }

    #[test]
    fn the_memory_of_blocks_is_bounded_and_the_first_block_of_each_pod_is_printed() {
        let (blocks, start) = (PrintedBlocks::default(), Instant::now());
        let printed = |number: usize| blocks.may_print(&facts(&number.to_string()), "app", start);
        assert!((0..=MAX_BLOCKS).all(printed));
        let kept = blocks.printed.lock().unwrap().keys.len();
        assert_eq!((kept, printed(MAX_BLOCKS), printed(0)), (MAX_BLOCKS, false, true));
    }
}
