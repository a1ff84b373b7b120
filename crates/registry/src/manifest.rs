//! Reads a manifest, and checks that it is what its digest says.

use std::collections::BTreeMap;

use oci_spec::image::ImageManifest;
use reqwest::Method;
use reqwest::header::{ACCEPT, HeaderName, HeaderValue};

use crate::auth::Access;
use crate::digest::{Digest, Reference};
use crate::error::Cause;
use crate::image::MANIFEST;
use crate::repository_name::RepositoryName;
use crate::server::Server;

/// The longest manifest that is read, in bytes. The specification lets clients expect that registries accept as much.
const LONGEST: usize = 4 * 1024 * 1024;

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// A manifest of an image or artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Of its bytes, by this client.
    pub digest: Digest,
    pub configuration: Descriptor,
    pub layers: Vec<Descriptor>,
    pub annotations: BTreeMap<String, String>,
}

/// A blob that a manifest names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    pub media_type: String,
    pub digest: Digest,
    pub bytes: u64,
}

/// Reads a manifest and parses it.
pub(crate) async fn read(
    server: &Server,
    repository: &RepositoryName,
    reference: &Reference,
) -> Result<Manifest, Cause> {
    let bytes = bytes(server, repository, reference, Access::Pull).await?;
    parsed(&bytes)
        .ok_or_else(|| server.protocol("a manifest is malformed, or names blobs by another digest than SHA-256"))
}

/// Reads the bytes of a manifest. They have the digest that is in the reference.
pub(crate) async fn bytes(
    server: &Server,
    repository: &RepositoryName,
    reference: &Reference,
    access: Access,
) -> Result<Vec<u8>, Cause> {
    let mut get = server.call(Method::GET, repository, &format!("manifests/{reference}"), access);
    get.headers.insert(ACCEPT, HeaderValue::from_static(MANIFEST));
    let read = server.patiently(|| server.read(repository, &get, "the manifest", LONGEST)).await;
    let (reply, bytes) = read.map_err(|cause| if cause.status() == 404 { Cause::NotFound } else { cause })?;
    let digest = Digest::of(&bytes);
    let named = match reference {
        Reference::Digest(digest) => Some(digest.clone()),
        // A digest of another algorithm can't be compared.
        Reference::Tag(_) => {
            let header = reply.response.headers().get(CONTENT_DIGEST);
            header.and_then(|value| value.to_str().ok()?.parse().ok())
        }
    };
    match named {
        Some(named) if named != digest => {
            Err(Cause::WrongContent { why: format!("manifest {reference} has the digest {digest} and not {named}") })
        }
        _ => Ok(bytes),
    }
}

fn parsed(bytes: &[u8]) -> Option<Manifest> {
    let manifest = ImageManifest::from_reader(bytes).ok()?;
    let layers: Option<Vec<_>> = manifest.layers().iter().map(described).collect();
    Some(Manifest {
        digest: Digest::of(bytes),
        configuration: described(manifest.config())?,
        layers: layers?,
        annotations: manifest.annotations().clone().unwrap_or_default().into_iter().collect(),
    })
}

fn described(descriptor: &oci_spec::image::Descriptor) -> Option<Descriptor> {
    Some(Descriptor {
        media_type: descriptor.media_type().to_string(),
        digest: descriptor.digest().to_string().parse().ok()?,
        bytes: descriptor.size(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn manifest(layer_digest: &str) -> Option<Manifest> {
        let digest = Digest::of(b"").to_string();
        let json = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest, "size": 2},
            "layers": [{"mediaType": "application/x", "digest": layer_digest, "size": 7}],
            "annotations": {"a": "b"},
        });
        parsed(json.to_string().as_bytes())
    }

    #[test]
    fn the_blobs_of_a_manifest_are_found() {
        let layer = Digest::of(b"layer");
        let manifest = manifest(layer.as_str()).unwrap();
        assert_eq!(manifest.layers, [Descriptor { media_type: "application/x".to_owned(), digest: layer, bytes: 7 }]);
        assert_eq!(manifest.configuration.media_type, "application/vnd.oci.empty.v1+json");
        assert_eq!(manifest.annotations["a"], "b");
    }

    #[test]
    fn a_blob_with_another_digest_than_sha256_is_refused() {
        for digest in ["sha512:00", "../blah", "", &format!("sha512:{}", "0".repeat(128))] {
            assert_eq!(manifest(digest), None, "{digest}");
        }
        assert_eq!(parsed(b"{}"), None);
        assert_eq!(parsed(b"not json"), None);
    }
}
