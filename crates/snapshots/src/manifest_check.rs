//! Whether the manifest that a node reports is that of its Snapshot: a pure comparison.
//!
//! A node names the manifest by its digest, so the registry cannot exchange it. Who can push can be its author, so
//! what it says is compared with the spec, which never changes.

use snapwatcher_api::snapshot::Snapshot;
use snapwatcher_registry::{ENCRYPTED_LAYER, Manifest, ManifestFacts, PLAIN_LAYER};

/// What the origin's node reports of what it has pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    /// The digest of the manifest, as it was written.
    pub(crate) manifest: String,
    pub(crate) bytes: Option<i64>,
    pub(crate) stored_bytes: Option<i64>,
}

/// How the manifest differs from the Snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Difference {
    #[error("its {what} is {found}, and not {expected}")]
    Value { what: &'static str, found: String, expected: String },
    #[error("it has {0} layers, and not one")]
    Layers(usize),
}

/// What the registry holds, if the manifest is that of the Snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Checked {
    pub(crate) bytes: Option<i64>,
    pub(crate) stored_bytes: i64,
}

/// Compares a manifest with its Snapshot and with what the node reports.
pub(crate) fn check(snapshot: &Snapshot, report: &Report, manifest: &Manifest) -> Result<Checked, Difference> {
    let facts = ManifestFacts::read(&manifest.annotations);
    let (metadata, spec) = (&snapshot.metadata, &snapshot.spec);
    // These three are in each manifest of an agent.
    equal("Snapshot", facts.snapshot.as_deref(), metadata.uid.as_deref())?;
    equal("namespace", facts.namespace.as_deref(), metadata.namespace.as_deref())?;
    equal("container", facts.container.as_deref(), Some(&spec.container))?;
    if let Some(image_id) = &facts.image_id {
        equal("image", Some(image_digest(image_id)), Some(image_digest(&spec.image_id)))?;
    }
    let bytes = facts.bytes.map(signed);
    if let (Some(found), Some(expected)) = (bytes, report.bytes) {
        equal("size before compression", Some(&found.to_string()), Some(&expected.to_string()))?;
    }
    let [layer] = manifest.layers.as_slice() else { return Err(Difference::Layers(manifest.layers.len())) };
    let expected = if spec.recipient.is_some() { ENCRYPTED_LAYER } else { PLAIN_LAYER };
    equal("layer's type", Some(&layer.media_type), Some(expected))?;
    let stored_bytes = signed(layer.bytes);
    if let Some(expected) = report.stored_bytes {
        equal("size", Some(&stored_bytes.to_string()), Some(&expected.to_string()))?;
    }
    Ok(Checked { bytes: bytes.or(report.bytes), stored_bytes })
}

fn equal(what: &'static str, found: Option<&str>, expected: Option<&str>) -> Result<(), Difference> {
    let shown = |text: Option<&str>| text.map_or_else(|| "missing".to_owned(), |text| format!("`{text}`"));
    if found.is_some() && found == expected {
        Ok(())
    } else {
        Err(Difference::Value { what, found: shown(found), expected: shown(expected) })
    }
}

/// The digest in an image ID, as `sha256:...`: kubelets and runtimes put different texts before it.
fn image_digest(id: &str) -> &str {
    id.rsplit_once('@').map_or(id, |(_, digest)| digest)
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use snapwatcher_api::snapshot::SnapshotSpec;
    use snapwatcher_registry::{Descriptor, Digest};

    use super::*;

    fn snapshot() -> Snapshot {
        let spec = SnapshotSpec {
            container: "app".to_owned(),
            image_id: "docker.io/library/busybox@sha256:1".to_owned(),
            recipient: Some("age1x".to_owned()),
            ..SnapshotSpec::default()
        };
        let mut snapshot = Snapshot::new("web", spec);
        snapshot.metadata.namespace = Some("shop".to_owned());
        snapshot.metadata.uid = Some("u".to_owned());
        snapshot
    }

    fn manifest() -> Manifest {
        let annotation = |(key, value): (&str, &str)| (format!("snap.weaversoft.io/{key}"), value.to_owned());
        let annotations = [
            ("snapshot", "u"),
            ("namespace", "shop"),
            ("container", "app"),
            ("image-id", "sha256:1"),
            ("bytes", "100"),
        ];
        let descriptor = |media_type: &str| Descriptor {
            media_type: media_type.to_owned(),
            digest: Digest::of(b"layer"),
            bytes: 40,
        };
        Manifest {
            digest: Digest::of(b"manifest"),
            configuration: descriptor("application/vnd.oci.empty.v1+json"),
            layers: vec![descriptor(ENCRYPTED_LAYER)],
            annotations: annotations.map(annotation).into_iter().collect::<BTreeMap<_, _>>(),
        }
    }

    fn report() -> Report {
        Report { manifest: Digest::of(b"manifest").to_string(), bytes: Some(100), stored_bytes: Some(40) }
    }

    fn changed(change: impl FnOnce(&mut Manifest)) -> Result<Checked, String> {
        let mut manifest = manifest();
        change(&mut manifest);
        check(&snapshot(), &report(), &manifest).map_err(|difference| difference.to_string())
    }

    fn with(key: &str, value: &str) -> Result<Checked, String> {
        changed(|manifest| drop(manifest.annotations.insert(format!("snap.weaversoft.io/{key}"), value.to_owned())))
    }

    #[test]
    fn the_manifest_of_the_snapshot_is_accepted() {
        assert_eq!(changed(|_| ()), Ok(Checked { bytes: Some(100), stored_bytes: 40 }));
        let without = changed(|manifest| {
            manifest.annotations.remove("snap.weaversoft.io/bytes");
            manifest.annotations.remove("snap.weaversoft.io/image-id");
        });
        assert_eq!(without, Ok(Checked { bytes: Some(100), stored_bytes: 40 }));
    }

    #[test]
    fn a_manifest_of_another_snapshot_is_not_believed() {
        for (case, found, words) in [
            ("another Snapshot", with("snapshot", "v"), "its Snapshot is `v`, and not `u`"),
            ("another namespace", with("namespace", "blog"), "its namespace is `blog`, and not `shop`"),
            ("another container", with("container", "log"), "its container is `log`, and not `app`"),
            ("another image", with("image-id", "x@sha256:2"), "its image is `sha256:2`, and not `sha256:1`"),
            ("another size", with("bytes", "99"), "its size before compression is `99`, and not `100`"),
            ("no Snapshot", changed(|manifest| manifest.annotations.clear()), "its Snapshot is missing, and not `u`"),
            ("no layer", changed(|manifest| manifest.layers.clear()), "it has 0 layers"),
            ("another length", changed(|manifest| manifest.layers[0].bytes = 41), "its size is `41`, and not `40`"),
            (
                "not encrypted",
                changed(|manifest| PLAIN_LAYER.clone_into(&mut manifest.layers[0].media_type)),
                "its layer's type is `application/vnd.oci.image.layer.v1.tar+zstd`",
            ),
        ] {
            let error = found.unwrap_err();
            assert!(error.starts_with(words), "{case}: {error}");
        }
    }

    #[test]
    fn an_encrypted_layer_is_not_believed_where_none_is_expected() {
        let plain = Snapshot { spec: SnapshotSpec { recipient: None, ..snapshot().spec }, ..snapshot() };
        assert!(check(&plain, &report(), &manifest()).is_err());
    }
}
