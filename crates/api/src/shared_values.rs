//! One copy of each value that many objects have in common, such as a namespace or an image.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

/// Unused values are dropped at the latest when there are so many values.
const FIRST_SWEEP: usize = 1000;

/// One copy of each shared value. At most as many unused ones are kept as used ones, or 1000.
#[derive(Debug)]
pub struct SharedValues<T: ?Sized> {
    values: HashSet<Arc<T>>,
    /// How many values there are when unused ones are dropped next.
    next_sweep: usize,
}

impl<T: ?Sized> Default for SharedValues<T> {
    fn default() -> Self {
        Self { values: HashSet::new(), next_sweep: FIRST_SWEEP }
    }
}

impl<T: ?Sized + Eq + Hash> SharedValues<T> {
    /// Returns the shared copy of a value, which becomes one if there is none.
    pub fn share(&mut self, value: Arc<T>) -> Arc<T> {
        self.values.get(&*value).cloned().unwrap_or_else(|| self.insert(value))
    }

    /// The same of a borrowed value, of which a copy is made only if there is none.
    pub fn shared<'v>(&mut self, value: &'v T) -> Arc<T>
    where
        Arc<T>: From<&'v T>,
    {
        self.values.get(value).cloned().unwrap_or_else(|| self.insert(value.into()))
    }

    fn insert(&mut self, value: Arc<T>) -> Arc<T> {
        if self.values.len() >= self.next_sweep {
            self.values.retain(|value| Arc::strong_count(value) > 1);
            self.next_sweep = FIRST_SWEEP.max(2 * self.values.len());
        }
        self.values.insert(Arc::clone(&value));
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_share_one_copy() {
        let mut values = SharedValues::default();
        let first: Arc<str> = values.share("busybox".into());
        assert!(Arc::ptr_eq(&first, &values.share("busybox".into())));
    }

    #[test]
    fn unused_values_are_dropped_and_used_ones_stay_shared() {
        let mut values = SharedValues::default();
        let used: Vec<Arc<str>> = (0..3 * FIRST_SWEEP).map(|number| values.share(number.to_string().into())).collect();
        assert_eq!(values.values.len(), used.len());
        for number in 0..100 * FIRST_SWEEP {
            let _: Arc<str> = values.share(format!("unused-{number}").into());
            assert!(values.values.len() <= 2 * used.len());
        }
        assert!(used.iter().all(|value| Arc::ptr_eq(value, &values.share(value.to_string().into()))));
    }
}
