//! How many slots one namespace may have while pods of several namespaces are watched, so that attempts that take long leave
//! slots to the other namespaces.
//!
//! A namespace takes a slot only while it has fewer than are free. So it has at most half of the slots that the others do not
//! have, rounded up: of 8 slots, one namespace has at most 4, and two together 6. The last free slot goes to a namespace that
//! has none; of one or two slots a namespace has one. The price is that slots stay free: the next namespace whose pods become
//! Ready finds one at once, however long the attempts of the others take. Such a limit is known from buffers that the ports of
//! a switch share: <https://doi.org/10.1109/90.664262>.

/// The most slots that a namespace may have if the others have so many.
pub(super) fn share(concurrent: usize, others: usize) -> usize {
    concurrent.saturating_sub(others).div_ceil(2)
}

/// The slots of one namespace.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct NamespaceSlots {
    pub(super) certain: usize,
    /// Those of attempts that only annotations show, which people can write.
    pub(super) claimed: usize,
}

/// How many slots count. A namespace cannot have taken more than its share beside the namespaces that have as many or more, so what
/// annotations claim beyond it is made up. (It can if it was alone at that time. Then the leader that follows may exceed the limit, by
/// attempts that started in the last second of the one before; otherwise annotations of one namespace could hold all slots.) What namespaces have taken in truth is always counted: the one of them that took its
/// last slot last had no more than its share beside all that the others have now.
pub(super) fn counted(concurrent: usize, namespaces: impl Iterator<Item = NamespaceSlots>) -> usize {
    let mut namespaces: Vec<NamespaceSlots> = namespaces.collect();
    namespaces.sort_by_key(|slots| std::cmp::Reverse((slots.certain + slots.claimed, slots.certain)));
    namespaces.into_iter().fold(0, |others, NamespaceSlots { certain, claimed }| {
        others + (certain + claimed).min(share(concurrent, others)).max(certain)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many slots each namespace has when each takes as many as it may, one namespace after the other.
    fn greedy(concurrent: usize, namespaces: usize) -> Vec<usize> {
        let mut taken = vec![0; namespaces];
        for number in 0..namespaces {
            let others: usize = taken.iter().sum();
            taken[number] = share(concurrent, others);
        }
        taken
    }

    #[test]
    fn a_namespace_has_half_of_what_the_others_leave() {
        for (concurrent, expected) in [
            (1, [1, 0, 0, 0]),
            (2, [1, 1, 0, 0]),
            (3, [2, 1, 0, 0]),
            (4, [2, 1, 1, 0]),
            (8, [4, 2, 1, 1]),
            (16, [8, 4, 2, 1]),
        ] {
            assert_eq!(greedy(concurrent, 4), expected, "{concurrent}");
        }
    }

    #[test]
    fn two_namespaces_never_have_all_slots_if_there_are_four() {
        for concurrent in 4..40 {
            // In each order in which they take slots.
            for first in 0..=share(concurrent, 0) {
                let mut taken = [first, 0];
                loop {
                    let next = (0..2).rev().find(|&of| taken[of] < share(concurrent, taken[1 - of]));
                    let Some(next) = next else { break };
                    taken[next] += 1;
                }
                assert!(taken[0] + taken[1] < concurrent, "{taken:?} of {concurrent}");
            }
        }
    }

    #[test]
    fn made_up_attempts_leave_as_many_slots_as_true_ones() {
        let claimed = |claimed: usize| NamespaceSlots { certain: 0, claimed };
        assert_eq!(counted(8, [claimed(100)].into_iter()), 4);
        assert_eq!(counted(8, [claimed(100), claimed(100)].into_iter()), 6);
        let own = NamespaceSlots { certain: 3, claimed: 0 };
        assert_eq!(counted(8, [own, claimed(100)].into_iter()), 7, "3 beside 4");
    }

    #[test]
    fn all_slots_that_namespaces_have_taken_are_counted() {
        // Each namespace takes and releases slots as it likes.
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..5000 {
            let (concurrent, mut taken) = (random.usize(1..=12), [0usize; 5]);
            for _ in 0..30 {
                let (of, sum) = (random.usize(..5), taken.iter().sum::<usize>());
                if random.u8(..3) == 0 {
                    taken[of] = taken[of].saturating_sub(1);
                } else if taken[of] < share(concurrent, sum - taken[of]) {
                    taken[of] += 1;
                }
            }
            let slots = taken.map(|taken| {
                let claimed = random.usize(..=taken);
                NamespaceSlots { certain: taken - claimed, claimed }
            });
            assert_eq!(
                counted(concurrent, slots.into_iter()),
                taken.iter().sum::<usize>(),
                "{slots:?} of {concurrent}"
            );
        }
    }
}
