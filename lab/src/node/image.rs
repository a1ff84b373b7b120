//! Builds container images in memory, after the OCI image specification 1.1. A node can pull only from the lab's
//! registry.
//!
//! Each image has one layer. [`Image::of_archive`] makes an image of a checkpoint archive. An annotation of its
//! manifest makes the runtime restore the container (containerd: `container_checkpoint_linux.go`; CRI-O: its tutorial
//! on checkpoints).

use std::io;
use std::path::Path;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// Marks a checkpoint image for containerd.
const CONTAINERD_CHECKPOINT: &str = "org.criu.checkpoint.container.name";
/// Marks a checkpoint image for CRI-O.
const CRIO_CHECKPOINT: &str = "io.kubernetes.cri-o.annotations.checkpoint.name";

/// An image.
#[derive(Clone, Debug)]
pub struct Image {
    layer: Vec<u8>,
    configuration: Map<String, Value>,
    annotations: Map<String, Value>,
}

/// The files of an image's layer.
pub struct Files(tar::Builder<Vec<u8>>);

/// A part of an image as a registry stores it.
#[derive(Clone, Debug)]
pub(super) struct Blob {
    pub(super) digest: String,
    pub(super) content: Vec<u8>,
}

impl Default for Files {
    fn default() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }
}

impl Files {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a folder.
    pub fn folder(mut self, path: &str, mode: u32) -> io::Result<Self> {
        let mut header = header(tar::EntryType::Directory, mode, 0);
        self.0.append_data(&mut header, format!("{path}/"), io::empty())?;
        Ok(self)
    }

    /// Adds a file.
    pub fn file(mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<Self> {
        let mut header = header(tar::EntryType::Regular, mode, content.len() as u64);
        self.0.append_data(&mut header, path, content)?;
        Ok(self)
    }

    /// Adds a symbolic link.
    pub fn link(mut self, path: &str, to: &str) -> io::Result<Self> {
        let mut header = header(tar::EntryType::Symlink, 0o777, 0);
        self.0.append_link(&mut header, path, to)?;
        Ok(self)
    }

    /// Makes an image of these files that runs `command`.
    pub fn image(self, command: &[&str]) -> io::Result<Image> {
        let mut image = Image::of_layer(self.0.into_inner()?);
        image.configuration.insert("Entrypoint".to_owned(), json!(command));
        image.configuration.insert("Env".to_owned(), json!(["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]));
        Ok(image)
    }
}

impl Image {
    /// Makes an image from which the runtime restores the container of this name.
    pub fn of_archive(archive: &Path, container: &str) -> io::Result<Self> {
        let mut image = Self::of_layer(std::fs::read(archive)?);
        for annotation in [CONTAINERD_CHECKPOINT, CRIO_CHECKPOINT] {
            image.annotations.insert(annotation.to_owned(), json!(container));
        }
        Ok(image)
    }

    fn of_layer(layer: Vec<u8>) -> Self {
        Self { layer, configuration: Map::new(), annotations: Map::new() }
    }

    /// Sets user and group of the program, for example `1001:1001`.
    pub fn user(mut self, user: &str) -> Self {
        self.configuration.insert("User".to_owned(), json!(user));
        self
    }

    /// Layer, configuration and manifest, in the order in which they are pushed.
    pub(super) fn blobs(self) -> [Blob; 3] {
        let layer = Blob::of(self.layer);
        let configuration = Blob::of_json(&json!({
            "architecture": architecture(),
            "os": "linux",
            "config": self.configuration,
            // The layer is not compressed, so its digest is also the diff ID.
            "rootfs": {"type": "layers", "diff_ids": [layer.digest]},
        }));
        let described =
            |kind: &str, blob: &Blob| json!({"mediaType": kind, "digest": blob.digest, "size": blob.content.len()});
        let manifest = Blob::of_json(&json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": described(CONFIG, &configuration),
            "layers": [described(LAYER, &layer)],
            "annotations": self.annotations,
        }));
        [layer, configuration, manifest]
    }
}

impl Blob {
    fn of(content: Vec<u8>) -> Self {
        Self { digest: format!("sha256:{:x}", Sha256::digest(&content)), content }
    }

    fn of_json(value: &Value) -> Self {
        Self::of(value.to_string().into_bytes())
    }
}

/// This machine's architecture in Go's notation, which images use.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    // Constant metadata, so that equal files make equal images.
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell() -> Image {
        let files = Files::new().folder("bin", 0o755).unwrap().file("bin/sh", 0o755, b"#!").unwrap();
        files.link("bin/ls", "sh").unwrap().image(&["/bin/sh"]).unwrap()
    }

    #[test]
    fn equal_files_make_equal_images() {
        let digests = |image: Image| image.blobs().map(|blob| blob.digest);
        assert_eq!(digests(shell()), digests(shell()));
    }

    #[test]
    fn a_manifest_names_the_parts_of_the_image() {
        let [layer, configuration, manifest] = shell().blobs();
        let manifest: Value = serde_json::from_slice(&manifest.content).unwrap();
        assert_eq!(manifest["layers"][0]["digest"], json!(layer.digest));
        assert_eq!(manifest["layers"][0]["size"], json!(layer.content.len()));
        assert_eq!(manifest["config"]["digest"], json!(configuration.digest));
        let configuration: Value = serde_json::from_slice(&configuration.content).unwrap();
        assert_eq!(configuration["config"]["Entrypoint"], json!(["/bin/sh"]));
    }

    #[test]
    fn a_layer_holds_the_files_with_their_modes() {
        let [layer, ..] = shell().blobs();
        let mut archive = tar::Archive::new(layer.content.as_slice());
        let entries = archive.entries().unwrap().map(Result::unwrap);
        let seen: Vec<_> = entries
            .map(|entry| (entry.path().unwrap().display().to_string(), entry.header().mode().unwrap()))
            .collect();
        let expected = [("bin/", 0o755), ("bin/sh", 0o755), ("bin/ls", 0o777)];
        assert_eq!(seen, expected.map(|(path, mode)| (path.to_owned(), mode)));
    }

    #[test]
    fn an_archive_is_the_layer_of_an_image_that_both_runtimes_restore() {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("checkpoint.tar");
        std::fs::write(&archive, "an archive").unwrap();
        let [layer, _, manifest] = Image::of_archive(&archive, "app").unwrap().blobs();
        assert_eq!(layer.content, b"an archive");
        let manifest: Value = serde_json::from_slice(&manifest.content).unwrap();
        assert_eq!(manifest["annotations"][CONTAINERD_CHECKPOINT], "app");
        assert_eq!(manifest["annotations"][CRIO_CHECKPOINT], "app");
    }
}
