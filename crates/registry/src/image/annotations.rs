//! What a manifest says about its checkpoint.
//!
//! The names are those of others, from their sources: `org.criu.checkpoint.*` of checkpointctl (`lib/annotations.go`), of which
//! containerd needs the name of the container (`container_checkpoint_linux.go`), and the one of CRI-O. Ours begin with the
//! group of our resources. None is a secret, so an encrypted checkpoint has ours too; it must not have those that make a runtime
//! restore it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use snapwatcher_api::text::one_visible_line;

/// Marks a checkpoint image for CRI-O.
const CRIO_CHECKPOINT: &str = "io.kubernetes.cri-o.annotations.checkpoint.name";
const CRIU: &str = "org.criu.checkpoint.";
const OWN: &str = "snap.weaversoft.io/";
const CREATED: &str = "org.opencontainers.image.created";
/// The names of ours that are read back.
const SNAPSHOT: &str = "snapshot";
const NAMESPACE: &str = "namespace";
const CONTAINER: &str = "container";
const IMAGE_ID: &str = "image-id";
const BYTES: &str = "bytes";

/// The longest value, in characters: the features of a processor have up to 3,000. A manifest of 4 MiB is all that registries have to
/// accept.
const LONGEST_VALUE: usize = 4096;

/// What is known about a checkpoint. An empty text, and no bytes, are left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckpointFacts {
    /// The UID of the Snapshot. A manifest is of one Snapshot, so its digest is too.
    pub snapshot: String,
    pub container: String,
    pub pod: String,
    pub pod_uid: String,
    pub namespace: String,
    /// The image as the pod names it.
    pub image: String,
    /// The image with its digest.
    pub image_id: String,
    /// `containerd` or `CRI-O`.
    pub engine: String,
    pub engine_version: String,
    /// `KIND/NAME`, for example `Deployment/web`.
    pub workload: String,
    pub revision: String,
    pub criu: String,
    pub runc: String,
    pub kernel: String,
    /// In Go's notation, for example `amd64`.
    pub architecture: String,
    /// The features of the processor that the checkpoint needs.
    pub cpu: String,
    /// The length of the archive before its compression, in bytes.
    pub bytes: u64,
    /// When the checkpoint was taken.
    pub created: Timestamp,
}

impl CheckpointFacts {
    /// The annotations of an image that runtimes restore.
    pub(super) fn for_runtimes(&self) -> BTreeMap<String, String> {
        let theirs = [
            ("container.name", &self.container),
            ("engine.name", &self.engine),
            ("engine.version", &self.engine_version),
            ("pod.name", &self.pod),
            ("pod.uid", &self.pod_uid),
            ("pod.namespace", &self.namespace),
            ("rootfsImageUserRequested", &self.image),
            ("rootfsImageName", &self.image),
            ("rootfsImageID", &self.image_id),
            ("criu.version", &self.criu),
            ("host.arch", &self.architecture),
            ("host.kernel", &self.kernel),
        ];
        let mut all = self.own();
        all.extend(theirs.into_iter().filter_map(|(name, value)| annotation(CRIU, name, value)));
        all.extend(annotation("", CRIO_CHECKPOINT, &self.container));
        all
    }

    /// The annotations that no other program interprets.
    pub(super) fn own(&self) -> BTreeMap<String, String> {
        let bytes = if self.bytes == 0 { String::new() } else { self.bytes.to_string() };
        let ours = [
            (SNAPSHOT, &self.snapshot),
            (NAMESPACE, &self.namespace),
            ("workload", &self.workload),
            ("revision", &self.revision),
            (CONTAINER, &self.container),
            (IMAGE_ID, &self.image_id),
            ("criu", &self.criu),
            ("runc", &self.runc),
            ("kernel", &self.kernel),
            ("arch", &self.architecture),
            ("cpu", &self.cpu),
            (BYTES, &bytes),
        ];
        let mut all: BTreeMap<_, _> =
            ours.into_iter().filter_map(|(name, value)| annotation(OWN, name, value)).collect();
        all.extend(annotation("", CREATED, &self.created.to_string()));
        all
    }
}

/// What the annotations of a manifest say about its checkpoint, as far as it is compared. Its text is that of the client that pushed it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ManifestFacts {
    /// The UID of the Snapshot.
    pub snapshot: Option<String>,
    pub namespace: Option<String>,
    pub container: Option<String>,
    pub image_id: Option<String>,
    pub bytes: Option<u64>,
    pub created: Option<Timestamp>,
}

impl ManifestFacts {
    /// Reads the annotations. What is missing or malformed is `None`.
    pub fn read(annotations: &BTreeMap<String, String>) -> Self {
        let own = |name: &str| annotations.get(&format!("{OWN}{name}")).cloned();
        Self {
            snapshot: own(SNAPSHOT),
            namespace: own(NAMESPACE),
            container: own(CONTAINER),
            image_id: own(IMAGE_ID),
            bytes: own(BYTES).and_then(|bytes| bytes.parse().ok()),
            created: annotations.get(CREATED).and_then(|time| time.parse().ok()),
        }
    }
}

/// One line of bounded length: names come from pods and from archives.
fn annotation(prefix: &str, name: &str, value: &str) -> Option<(String, String)> {
    let value: String = one_visible_line(value).chars().take(LONGEST_VALUE).collect();
    (!value.is_empty()).then(|| (format!("{prefix}{name}"), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> CheckpointFacts {
        CheckpointFacts {
            container: "app".to_owned(),
            namespace: "shop".to_owned(),
            image: "busybox:1\nforged".to_owned(),
            revision: "x".repeat(5000),
            bytes: 42,
            ..CheckpointFacts::default()
        }
    }

    #[test]
    fn each_runtime_finds_the_mark_that_it_looks_for() {
        let annotations = facts().for_runtimes();
        for name in ["org.criu.checkpoint.container.name", CRIO_CHECKPOINT, "snap.weaversoft.io/container"] {
            assert_eq!(annotations.get(name).map(String::as_str), Some("app"), "{name}");
        }
        assert_eq!(annotations.get("org.criu.checkpoint.pod.namespace").map(String::as_str), Some("shop"));
        assert!(!annotations.contains_key("org.criu.checkpoint.pod.name"), "what is not known is left out");
    }

    #[test]
    fn values_are_one_line_of_bounded_length() {
        let annotations = facts().for_runtimes();
        assert_eq!(annotations["org.criu.checkpoint.rootfsImageUserRequested"], "busybox:1 forged");
        assert_eq!(annotations["snap.weaversoft.io/revision"].len(), LONGEST_VALUE);
        assert_eq!(annotations["snap.weaversoft.io/bytes"], "42");
        assert_eq!(annotations[CREATED], "1970-01-01T00:00:00Z");
    }

    #[test]
    fn what_is_written_into_a_manifest_is_read_back() {
        let facts = CheckpointFacts { snapshot: "u".to_owned(), image_id: "sha256:1".to_owned(), ..facts() };
        let read = ManifestFacts::read(&facts.own());
        let expected = ManifestFacts {
            snapshot: Some("u".to_owned()),
            namespace: Some("shop".to_owned()),
            container: Some("app".to_owned()),
            image_id: Some("sha256:1".to_owned()),
            bytes: Some(42),
            created: Some(Timestamp::UNIX_EPOCH),
        };
        assert_eq!((&read, ManifestFacts::read(&facts.for_runtimes())), (&expected, read.clone()));
        let malformed = BTreeMap::from([("snap.weaversoft.io/bytes".to_owned(), "many".to_owned())]);
        assert_eq!(ManifestFacts::read(&malformed), ManifestFacts::default());
    }
}
