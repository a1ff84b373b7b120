//! The objects of one kind, in the order of their keys, and the log of their changes.

use std::cmp::Ordering;
use std::sync::Arc;

use kube::core::ObjectMeta;

use super::stored::{Stored, key};

/// One event of a watch.
#[derive(Debug, Clone, PartialEq)]
pub struct Event<T> {
    pub kind: EventKind,
    /// The revision of the change. A watch resumes from it.
    pub revision: u64,
    /// The object after the change. In a DELETED event: as it was before, with the `resourceVersion` of the change.
    pub object: Arc<T>,
}

/// The type of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    Added,
    Modified,
    Deleted,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    pub items: Vec<Arc<T>>,
    /// All pages of a list show the state at this revision. A watch after the list begins at it.
    pub revision: u64,
    /// Set if more objects follow.
    pub next: Option<Continue>,
}

/// The token for the next page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Continue {
    pub(super) revision: u64,
    /// Namespace and name of the last object on the page before.
    after: (String, String),
}

#[derive(Debug, Clone)]
struct Change<T> {
    revision: u64,
    before: Option<Arc<T>>,
    after: Option<Arc<T>>,
}

#[derive(Debug, Clone)]
pub(super) struct Collection<T> {
    /// Sorted by [`order`].
    objects: Vec<Arc<T>>,
    /// Sorted by revision.
    changes: Vec<Change<T>>,
}

impl<T> Default for Collection<T> {
    fn default() -> Self {
        Self { objects: Vec::new(), changes: Vec::new() }
    }
}

impl<T: Stored> Collection<T> {
    pub(super) fn get(&self, namespace: &str, name: &str) -> Option<&Arc<T>> {
        let at = self.position((namespace, name)).ok()?;
        self.objects.get(at)
    }

    /// Stores an object under the key in its metadata, in place of the one that has this key.
    pub(super) fn put(&mut self, revision: u64, mut object: T) -> Arc<T> {
        object.metadata_mut().resource_version = Some(revision.to_string());
        let object = Arc::new(object);
        let before = match self.position(key(object.metadata())) {
            Ok(at) => Some(std::mem::replace(&mut self.objects[at], Arc::clone(&object))),
            Err(at) => {
                self.objects.insert(at, Arc::clone(&object));
                None
            }
        };
        self.changes.push(Change { revision, before, after: Some(Arc::clone(&object)) });
        object
    }

    /// Removes the object that has the key in this metadata.
    pub(super) fn remove(&mut self, revision: u64, metadata: &ObjectMeta) {
        if let Ok(at) = self.position(key(metadata)) {
            let before = Some(self.objects.remove(at));
            self.changes.push(Change { revision, before, after: None });
        }
    }

    /// The objects of one namespace or of all.
    pub(super) fn within(&self, namespace: Option<&str>) -> impl Iterator<Item = &Arc<T>> {
        self.objects.iter().filter(move |object| is_within(object.as_ref(), namespace))
    }

    /// A page of the objects that are selected. `limit` 0 means all.
    pub(super) fn page(
        &self,
        (namespace, select): (Option<&str>, fn(&T) -> bool),
        limit: usize,
        (revision, token): (u64, Option<&Continue>),
    ) -> Page<T> {
        let past;
        let (objects, after) = match token {
            None => (&self.objects, None),
            Some(token) => {
                past = self.at(token.revision);
                (&past, Some((token.after.0.as_str(), token.after.1.as_str())))
            }
        };
        let is_next = |object: &T| after.is_none_or(|after| order(key(object.metadata()), after).is_gt());
        let mut items: Vec<_> = objects
            .iter()
            .filter(|object| is_within(object.as_ref(), namespace) && select(object) && is_next(object))
            .take(if limit == 0 { usize::MAX } else { limit + 1 })
            .cloned()
            .collect();
        let revision = token.map_or(revision, |token| token.revision);
        let has_more = limit > 0 && items.len() > limit;
        items.truncate(if has_more { limit } else { usize::MAX });
        let last = items.last().filter(|_| has_more).map(|object| key(object.metadata()));
        let next = last.map(|(namespace, name)| Continue { revision, after: (namespace.to_owned(), name.to_owned()) });
        Page { items, revision, next }
    }

    /// The events since a revision of the objects that are selected. An object that is selected from now on is added for the
    /// watch, one that is no longer selected is deleted for it.
    pub(super) fn events(
        &self,
        namespace: Option<&str>,
        select: fn(&T) -> bool,
        since: u64,
    ) -> impl Iterator<Item = Event<T>> {
        let first = self.changes.partition_point(|change| change.revision <= since);
        let is_seen = move |object: &&Arc<T>| is_within(object.as_ref(), namespace) && select(object);
        self.changes[first..].iter().filter_map(move |change| {
            let revision = change.revision;
            let (before, after) = (change.before.as_ref().filter(is_seen), change.after.as_ref().filter(is_seen));
            let (kind, object) = match (before, after) {
                (None, None) => return None,
                (None, Some(after)) => (EventKind::Added, Arc::clone(after)),
                (Some(_), Some(after)) => (EventKind::Modified, Arc::clone(after)),
                (Some(before), None) => {
                    let mut last = T::clone(before);
                    last.metadata_mut().resource_version = Some(revision.to_string());
                    (EventKind::Deleted, Arc::new(last))
                }
            };
            Some(Event { kind, revision, object })
        })
    }

    /// Forgets the changes up to this revision.
    pub(super) fn forget(&mut self, revision: u64) {
        let first = self.changes.partition_point(|change| change.revision <= revision);
        self.changes.drain(..first);
    }

    /// The objects as they were at an earlier revision.
    fn at(&self, revision: u64) -> Vec<Arc<T>> {
        let mut objects = self.objects.clone();
        for change in self.changes.iter().rev().take_while(|change| change.revision > revision) {
            let Some(changed) = change.after.as_ref().or(change.before.as_ref()) else { continue };
            let found = objects.binary_search_by(|object| order(key(object.metadata()), key(changed.metadata())));
            match (found, change.before.clone()) {
                (Ok(at), Some(before)) => objects[at] = before,
                (Err(at), Some(before)) => objects.insert(at, before),
                (Ok(at), None) => drop(objects.remove(at)),
                (Err(_), None) => {}
            }
        }
        objects
    }

    fn position(&self, wanted: (&str, &str)) -> Result<usize, usize> {
        self.objects.binary_search_by(|object| order(key(object.metadata()), wanted))
    }
}

fn is_within<T: Stored>(object: &T, namespace: Option<&str>) -> bool {
    namespace.is_none_or(|namespace| key(object.metadata()).0 == namespace)
}

/// The order of `namespace/name` in etcd. That of the namespaces differs from it: `a-b/` comes before `a/`.
fn order(one: (&str, &str), other: (&str, &str)) -> Ordering {
    if one.0 == other.0 {
        return one.1.cmp(other.1);
    }
    one.0.bytes().chain([b'/']).cmp(other.0.bytes().chain([b'/']))
}
