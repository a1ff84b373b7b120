//! The Snapshots that exist, as the watch shows them: a few words of each, to know which copies and archives are needed.

use std::collections::HashMap;

use uuid::Uuid;

use snapwatcher_api::snapshot::{Snapshot, is_kept};

/// What is kept of a Snapshot.
#[derive(Debug, Clone, Copy)]
struct Known {
    is_kept: bool,
    scope: usize,
    /// The listing that has shown it last.
    listing: u32,
}

/// All Snapshots, by UID.
#[derive(Debug, Default)]
pub(crate) struct KnownSnapshots {
    snapshots: HashMap<Uuid, Known>,
    scopes: Vec<Listing>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Listing {
    number: u32,
    /// A listing has ended once.
    is_complete: bool,
}

impl KnownSnapshots {
    pub(crate) fn new(scopes: usize) -> Self {
        Self { snapshots: HashMap::new(), scopes: vec![Listing::default(); scopes] }
    }

    /// A listing begins: what it does not show is gone.
    pub(crate) fn begin(&mut self, scope: usize) {
        if let Some(listing) = self.scopes.get_mut(scope) {
            listing.number = listing.number.wrapping_add(1);
        }
    }

    pub(crate) fn end(&mut self, scope: usize) {
        let Some(listing) = self.scopes.get_mut(scope) else { return };
        listing.is_complete = true;
        let number = listing.number;
        self.snapshots.retain(|_, known| known.scope != scope || known.listing == number);
    }

    pub(crate) fn put(&mut self, scope: usize, snapshot: &Snapshot) {
        let Some(listing) = self.scopes.get(scope).map(|listing| listing.number) else { return };
        if let Some(uid) = uid(snapshot) {
            self.snapshots.insert(uid, Known { is_kept: is_kept(&snapshot.metadata), scope, listing });
        }
    }

    pub(crate) fn remove(&mut self, snapshot: &Snapshot) {
        if let Some(uid) = uid(snapshot) {
            self.snapshots.remove(&uid);
        }
    }

    /// Whether all listings have ended once, so that a Snapshot that is not known may be gone.
    pub(crate) fn is_complete(&self) -> bool {
        self.scopes.iter().all(|listing| listing.is_complete)
    }

    pub(crate) fn contains(&self, snapshot: Uuid) -> bool {
        self.snapshots.contains_key(&snapshot)
    }

    /// Whether an annotation pins the Snapshot. One that is not known yet counts as pinned.
    pub(crate) fn is_kept(&self, snapshot: Uuid) -> bool {
        self.snapshots.get(&snapshot).is_none_or(|known| known.is_kept)
    }
}

/// The UID of a Snapshot.
pub(crate) fn uid(snapshot: &Snapshot) -> Option<Uuid> {
    Uuid::try_parse(snapshot.metadata.uid.as_deref()?).ok()
}

#[cfg(test)]
mod tests {
    use snapwatcher_api::snapshot::SnapshotSpec;

    use super::*;

    fn snapshot(number: u128, keep: bool) -> Snapshot {
        let mut snapshot = Snapshot::new("web", SnapshotSpec::default());
        snapshot.metadata.uid = Some(Uuid::from_u128(number).to_string());
        let annotation = ("snap.weaversoft.io/keep".to_owned(), "true".to_owned());
        snapshot.metadata.annotations = keep.then(|| [annotation].into());
        snapshot
    }

    #[test]
    fn a_snapshot_is_gone_when_a_later_listing_of_its_scope_does_not_show_it() {
        let mut known = KnownSnapshots::new(2);
        for scope in [0, 1] {
            known.begin(scope);
            known.put(scope, &snapshot(scope as u128, false));
        }
        known.end(0);
        assert!(!known.is_complete(), "the other scope is not listed");
        known.end(1);
        assert!(known.is_complete());
        known.begin(0);
        assert!(known.contains(Uuid::from_u128(0)), "the new listing has not ended");
        known.end(0);
        assert!(!known.contains(Uuid::from_u128(0)) && known.contains(Uuid::from_u128(1)));
        known.remove(&snapshot(1, false));
        assert!(!known.contains(Uuid::from_u128(1)));
    }

    #[test]
    fn a_snapshot_that_is_not_known_yet_counts_as_pinned() {
        let mut known = KnownSnapshots::new(1);
        known.put(0, &snapshot(1, true));
        known.put(0, &snapshot(2, false));
        let kept = [1, 2, 3].map(|number| known.is_kept(Uuid::from_u128(number)));
        assert_eq!(kept, [true, false, true]);
    }
}
