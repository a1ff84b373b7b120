//! Which tags of the repository belong to no Snapshot: pure functions of tags and manifests.
//!
//! A tag is the UID of its Snapshot. Other tags are not ours, and stay.

use std::collections::HashSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use snapwatcher_registry::{Manifest, ManifestFacts, Tag};

/// The most tags that are kept in memory, 16 bytes each. The rest is for later rounds.
pub(crate) const MOST_TAGS: usize = 100_000;

/// The UID that a tag is; `None`: it is no tag of a Snapshot.
pub(crate) fn uid_of(tag: &Tag) -> Option<Uuid> {
    let uid = Uuid::try_parse(tag.as_str()).ok()?;
    // As the API server writes it: each UID is one tag.
    (uid.hyphenated().to_string() == tag.as_str()).then_some(uid)
}

/// The tags whose Snapshots do not exist. The tags have to be listed before the Snapshots: the Snapshot of a listed tag existed
/// then, so it is missing only if it was deleted.
pub(crate) fn orphans(tags: Vec<Uuid>, snapshots: &HashSet<Uuid>) -> Vec<Uuid> {
    tags.into_iter().filter(|tag| !snapshots.contains(tag)).collect()
}

/// Whether the manifest behind an orphaned tag may be deleted: it is that of this Snapshot, and old enough. A manifest of
/// something else, or of an unknown age, stays.
pub(crate) fn may_delete(tag: Uuid, manifest: &Manifest, least_age: Duration, now: Timestamp) -> bool {
    let facts = ManifestFacts::read(&manifest.annotations);
    let least_age = SignedDuration::try_from(least_age).unwrap_or(SignedDuration::MAX);
    let is_of_tag = facts.snapshot == Some(tag.hyphenated().to_string());
    is_of_tag && facts.created.is_some_and(|created| now.duration_since(created) > least_age)
}

#[cfg(test)]
mod tests {
    use snapwatcher_api::fixtures::at;
    use snapwatcher_registry::{Descriptor, Digest};

    use super::*;

    const UID: &str = "7d0b2d0c-8b3a-4a9e-9c5f-2f1c6b8f5a11";

    fn uid(text: &str) -> Option<Uuid> {
        uid_of(&text.parse().unwrap())
    }

    fn manifest(annotations: &[(&str, &str)]) -> Manifest {
        let (media_type, digest) = (String::new(), Digest::of(b""));
        Manifest {
            digest: digest.clone(),
            configuration: Descriptor { media_type, digest, bytes: 2 },
            layers: Vec::new(),
            annotations: annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        }
    }

    #[test]
    fn only_the_uid_of_an_object_is_a_tag_of_a_snapshot() {
        assert_eq!(uid(UID).map(|uid| uid.to_string()).as_deref(), Some(UID));
        for tag in ["latest", "1.0", &UID.to_uppercase(), &UID.replace('-', ""), "0"] {
            assert_eq!(uid(tag), None, "{tag}");
        }
    }

    #[test]
    fn the_tags_of_snapshots_that_exist_stay() {
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert_eq!(orphans(vec![a, b], &HashSet::from([a])), [b]);
        assert!(orphans(vec![a], &HashSet::from([a, b])).is_empty());
    }

    #[test]
    fn a_manifest_that_is_young_or_of_something_else_stays() {
        let (key, created) = ("snap.weaversoft.io/snapshot", "org.opencontainers.image.created");
        let (day, old) = (Duration::from_secs(24 * 3600), at(0).to_string());
        let tag = uid(UID).unwrap();
        for (case, annotations, second, expected) in [
            ("old", vec![(key, UID), (created, &old)], 24 * 3600 + 1, true),
            ("young", vec![(key, UID), (created, &old)], 24 * 3600, false),
            ("of another Snapshot", vec![(key, "other"), (created, &old)], 48 * 3600, false),
            ("of no Snapshot", vec![(created, &old)], 48 * 3600, false),
            ("of unknown age", vec![(key, UID)], 48 * 3600, false),
            ("of a time that is none", vec![(key, UID), (created, "yesterday")], 48 * 3600, false),
        ] {
            assert_eq!(may_delete(tag, &manifest(&annotations), day, at(second)), expected, "{case}");
        }
    }
}
