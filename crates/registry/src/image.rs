//! The image that a checkpoint is in a registry: one layer, a configuration and a manifest (OCI image specification 1.1).
//!
//! A checkpoint that is not encrypted is an image that containerd, CRI-O and podman restore from, and that skopeo and
//! checkpointctl read. Its configuration has the digest of the layer before its compression, because containerd compares it when it
//! unpacks the layer. An encrypted checkpoint can be used by nothing but this program. So it is no image but an artifact: a runtime
//! refuses it in place of unpacking what it can't read.

mod annotations;

use std::collections::HashMap;

use oci_spec::OciSpecError;
use oci_spec::image::{
    Arch, Descriptor, HistoryBuilder, ImageConfigurationBuilder, ImageManifestBuilder, MediaType, Os, RootFsBuilder,
    Sha256Digest,
};
use serde::Serialize;

pub use self::annotations::{CheckpointFacts, ManifestFacts};
use crate::digest::Digest;

/// An archive compressed by zstd, as the layer of an image.
pub const PLAIN_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

/// The same, encrypted by age (<https://age-encryption.org/v1>).
pub const ENCRYPTED_LAYER: &str = "application/vnd.snapweaver.checkpoint.v1.tar+zstd+age";

/// What an encrypted checkpoint is.
pub const ARTIFACT: &str = "application/vnd.snapweaver.checkpoint.v1";

/// The type of each manifest that is pushed.
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// The configuration of an artifact, by the image specification ("Guidance for an Empty Descriptor").
const EMPTY_CONFIGURATION: &[u8] = b"{}";
const SCHEMA_VERSION: u32 = 2;

/// The layer: a blob that was uploaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    pub digest: Digest,
    /// Its length in the registry.
    pub bytes: u64,
    pub form: LayerForm,
}

/// How the archive is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LayerForm {
    /// Compressed alone. The digest is that of the archive before its compression.
    Plain {
        uncompressed: Digest,
    },
    Encrypted,
}

/// Configuration and manifest, as bytes: the digest of a manifest is of its bytes. The same layer and facts make the same bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointImage {
    pub(crate) configuration: Vec<u8>,
    pub(crate) manifest: Vec<u8>,
    digest: Digest,
    blobs: Vec<(Digest, u64)>,
}

/// A manifest could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error("could not make the manifest of a checkpoint")]
    Specification(#[from] OciSpecError),
    #[error("could not write the manifest of a checkpoint as JSON")]
    Json(#[from] serde_json::Error),
}

impl CheckpointImage {
    pub fn new(layer: &Layer, facts: &CheckpointFacts) -> Result<Self, ImageError> {
        let (layer_type, annotations) = match &layer.form {
            LayerForm::Plain { .. } => (PLAIN_LAYER, facts.for_runtimes()),
            LayerForm::Encrypted => (ENCRYPTED_LAYER, facts.own()),
        };
        let configuration = match &layer.form {
            LayerForm::Plain { uncompressed } => configuration(uncompressed, facts)?,
            LayerForm::Encrypted => EMPTY_CONFIGURATION.to_vec(),
        };
        let configured = (Digest::of(&configuration), length(&configuration));
        let stored = (layer.digest.clone(), layer.bytes);
        let manifest = ImageManifestBuilder::default()
            .schema_version(SCHEMA_VERSION)
            .media_type(MediaType::ImageManifest)
            .layers(vec![descriptor(MediaType::from(layer_type), &stored)?])
            .annotations(annotations.into_iter().collect::<HashMap<_, _>>());
        let manifest = match layer.form {
            LayerForm::Plain { .. } => manifest.config(descriptor(MediaType::ImageConfig, &configured)?),
            LayerForm::Encrypted => {
                manifest.artifact_type(MediaType::from(ARTIFACT)).config(descriptor(MediaType::EmptyJSON, &configured)?)
            }
        };
        let manifest = json(&manifest.build()?)?;
        Ok(Self { digest: Digest::of(&manifest), configuration, manifest, blobs: vec![configured, stored] })
    }

    /// The digest of the manifest, by which the image is known.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Configuration and layer, with their lengths in bytes.
    pub fn blobs(&self) -> &[(Digest, u64)] {
        &self.blobs
    }
}

/// The least that runtimes accept: architecture, operating system and layer. skopeo compares the history with the layers.
fn configuration(uncompressed: &Digest, facts: &CheckpointFacts) -> Result<Vec<u8>, ImageError> {
    let created = facts.created.to_string();
    let layers = RootFsBuilder::default().typ("layers").diff_ids(vec![uncompressed.to_string()]).build()?;
    let history = HistoryBuilder::default().created(created.as_str()).created_by("snapwatcher").build()?;
    let configuration = ImageConfigurationBuilder::default()
        .architecture(Arch::from(facts.architecture.as_str()))
        .os(Os::Linux)
        .created(created)
        .rootfs(layers)
        .history(vec![history])
        .build()?;
    json(&configuration)
}

fn descriptor(media_type: MediaType, (digest, bytes): &(Digest, u64)) -> Result<Descriptor, ImageError> {
    let digest: Sha256Digest = digest.hex().parse()?;
    Ok(Descriptor::new(media_type, *bytes, digest))
}

/// JSON with sorted keys: the annotations are in a hash map.
fn json(value: &impl Serialize) -> Result<Vec<u8>, ImageError> {
    Ok(serde_json::to_vec(&serde_json::to_value(value)?)?)
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn image(form: LayerForm) -> (CheckpointImage, Value, Value) {
        let layer = Layer { digest: Digest::of(b"layer"), bytes: 5, form };
        let facts = CheckpointFacts {
            container: "app".to_owned(),
            architecture: "amd64".to_owned(),
            created: "2026-11-30T12:00:00Z".parse().unwrap(),
            ..CheckpointFacts::default()
        };
        let image = CheckpointImage::new(&layer, &facts).unwrap();
        assert_eq!(image, CheckpointImage::new(&layer, &facts).unwrap(), "the same facts make the same bytes");
        let [configuration, manifest] =
            [&image.configuration, &image.manifest].map(|bytes| serde_json::from_slice(bytes).unwrap());
        (image, configuration, manifest)
    }

    #[test]
    fn a_plain_checkpoint_is_an_image_that_runtimes_restore() {
        let uncompressed = Digest::of(b"archive");
        let (image, configuration, manifest) = image(LayerForm::Plain { uncompressed: uncompressed.clone() });
        assert_eq!(configuration["rootfs"], json!({"type": "layers", "diff_ids": [uncompressed.as_str()]}));
        assert_eq!((&configuration["architecture"], &configuration["os"]), (&json!("amd64"), &json!("linux")));
        assert_eq!(configuration["history"].as_array().unwrap().len(), 1);
        let expected = json!({"mediaType": PLAIN_LAYER, "digest": Digest::of(b"layer").as_str(), "size": 5});
        assert_eq!(manifest["layers"], json!([expected]));
        assert_eq!(manifest["mediaType"], MANIFEST);
        assert_eq!(manifest["config"]["mediaType"], "application/vnd.oci.image.config.v1+json");
        assert_eq!(manifest["config"]["digest"], Digest::of(&image.configuration).as_str());
        assert_eq!(manifest["annotations"]["org.criu.checkpoint.container.name"], "app");
        assert_eq!(image.digest(), &Digest::of(&image.manifest));
        assert_eq!(image.blobs()[1], (Digest::of(b"layer"), 5));
    }

    #[test]
    fn an_encrypted_checkpoint_is_an_artifact_that_no_runtime_takes_for_an_image() {
        let (image, configuration, manifest) = image(LayerForm::Encrypted);
        assert_eq!(configuration, json!({}));
        assert_eq!(manifest["artifactType"], ARTIFACT);
        assert_eq!(manifest["config"]["mediaType"], "application/vnd.oci.empty.v1+json");
        assert_eq!(manifest["config"]["size"], 2);
        assert_eq!(manifest["layers"][0]["mediaType"], ENCRYPTED_LAYER);
        let annotations = manifest["annotations"].as_object().unwrap();
        assert!(
            annotations.keys().all(|key| !key.starts_with("org.criu") && !key.contains("cri-o")),
            "{annotations:?}"
        );
        assert_eq!(image.blobs()[0], (Digest::of(b"{}"), 2));
    }
}
