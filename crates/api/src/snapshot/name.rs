//! The names of Snapshots. A name is derived from what is saved, so that the creation of a Snapshot is the claim: the API server
//! creates no second object of the same name.
//!
//! A golden test freezes the scheme, because another name for the same revision would be another Snapshot.

use crate::checkpoint::WorkloadReference;
use crate::checkpoint_name::named;

pub use crate::checkpoint_name::DIGESTS;

/// The name of the Snapshot of a container of a revision, with `digest` hexadecimal digits.
pub fn of_revision(workload: &WorkloadReference, revision: &str, container: &str, digest: usize) -> String {
    named(&workload.name, container, &format!("{}/{revision}/{container}", workload.uid), digest, "")
}

/// The name of the Snapshot of one manual Checkpoint, which replaces that of the revision.
pub fn of_checkpoint(
    workload: &WorkloadReference,
    revision: &str,
    container: &str,
    checkpoint_uid: &str,
    digest: usize,
) -> String {
    let key = format!("{}/{revision}/{container}/{checkpoint_uid}", workload.uid);
    named(&workload.name, container, &key, digest, "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::is_object_name;

    fn workload(name: &str) -> WorkloadReference {
        WorkloadReference {
            api_version: "apps/v1".into(),
            kind: "Deployment".into(),
            name: name.into(),
            uid: "0f5c1c52-0a63-4a0e-8a51-6f3f0f6b1c22".into(),
        }
    }

    #[test]
    fn the_scheme_of_names_is_frozen() {
        let web = workload("web");
        assert_eq!(of_revision(&web, "7d4b8c8f9", "app", 10), "web-app-d4b398ce80");
        assert_eq!(of_revision(&web, "7d4b8c8f9", "app", 20), "web-app-d4b398ce805bacb30634");
        let uid = "7d0b2d0c-8b3a-4a9e-9c5f-2f1c6b8f5a11";
        assert_eq!(of_checkpoint(&web, "7d4b8c8f9", "app", uid, 10), "web-app-66921127f4");
    }

    #[test]
    fn another_revision_container_or_checkpoint_has_another_name() {
        let web = workload("web");
        let names: std::collections::HashSet<_> = [
            of_revision(&web, "r1", "app", 10),
            of_revision(&web, "r2", "app", 10),
            of_revision(&web, "r1", "log", 10),
            of_checkpoint(&web, "r1", "app", "c1", 10),
            of_checkpoint(&web, "r1", "app", "c2", 10),
        ]
        .into();
        assert_eq!(names.len(), 5);
    }

    #[test]
    fn the_name_of_any_owner_leads_to_a_valid_name() {
        for name in ["a b", "Web_App", "-", &"A".repeat(253)] {
            for digest in DIGESTS {
                let name = of_revision(&workload(name), "r", &"c".repeat(63), digest);
                assert!(is_object_name(&name), "{name}");
            }
        }
    }
}
