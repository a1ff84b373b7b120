//! What the stand-in stores.

use std::collections::{BTreeMap, HashMap};

use sha2::{Digest, Sha256};

/// Blobs, manifests and uploads. All repositories share the blobs.
#[derive(Debug, Default)]
pub(super) struct Contents {
    blobs: HashMap<String, Vec<u8>>,
    uploads: HashMap<String, Vec<u8>>,
    manifests: HashMap<(String, String), Vec<u8>>,
    tags: BTreeMap<(String, String), String>,
    begun: u64,
}

/// Why a request is refused: the status and the code of the specification.
pub(super) type Refusal = (u16, &'static str);

impl Contents {
    pub(super) fn blob(&self, digest: &str) -> Option<&[u8]> {
        self.blobs.get(digest).map(Vec::as_slice)
    }

    pub(super) fn add_blob(&mut self, content: Vec<u8>) -> String {
        let digest = digest_of(&content);
        self.blobs.insert(digest.clone(), content);
        digest
    }

    /// Begins an upload and returns its name.
    pub(super) fn begin(&mut self) -> String {
        self.begun += 1;
        let upload = format!("upload-{}", self.begun);
        self.uploads.insert(upload.clone(), Vec::new());
        upload
    }

    /// The number of bytes of an upload.
    pub(super) fn stored(&self, upload: &str) -> Result<usize, Refusal> {
        self.uploads.get(upload).map(Vec::len).ok_or((404, "BLOB_UPLOAD_UNKNOWN"))
    }

    /// Appends a chunk that begins at `start`.
    pub(super) fn append(&mut self, upload: &str, start: usize, chunk: &[u8]) -> Result<usize, Refusal> {
        let stored = self.uploads.get_mut(upload).ok_or((404, "BLOB_UPLOAD_UNKNOWN"))?;
        if stored.len() != start {
            return Err((416, "RANGE_INVALID"));
        }
        stored.extend_from_slice(chunk);
        Ok(stored.len())
    }

    /// Makes a blob of an upload. An upload with another digest is removed.
    pub(super) fn finish(&mut self, upload: &str, digest: &str) -> Result<(), Refusal> {
        let content = self.uploads.remove(upload).ok_or((404, "BLOB_UPLOAD_UNKNOWN"))?;
        if digest_of(&content) != digest {
            return Err((400, "DIGEST_INVALID"));
        }
        self.blobs.insert(digest.to_owned(), content);
        Ok(())
    }

    pub(super) fn forget(&mut self, upload: &str) -> Result<(), Refusal> {
        self.uploads.remove(upload).map(drop).ok_or((404, "BLOB_UPLOAD_UNKNOWN"))
    }

    pub(super) fn open_uploads(&self) -> usize {
        self.uploads.len()
    }

    /// Stores a manifest and returns its digest. `reference` may be a digest.
    pub(super) fn put_manifest(&mut self, repository: &str, reference: &str, content: Vec<u8>) -> String {
        let digest = digest_of(&content);
        self.manifests.insert((repository.to_owned(), digest.clone()), content);
        if !reference.contains(':') {
            self.tags.insert((repository.to_owned(), reference.to_owned()), digest.clone());
        }
        digest
    }

    /// The number of manifests of a repository.
    pub(super) fn manifests(&self, repository: &str) -> usize {
        self.manifests.keys().filter(|(of, _)| of == repository).count()
    }

    /// The digests of blobs that no manifest names.
    pub(super) fn orphaned_blobs(&self) -> Vec<String> {
        let named = |digest: &String| {
            self.manifests.values().any(|content| String::from_utf8_lossy(content).contains(digest.as_str()))
        };
        self.blobs.keys().filter(|digest| !named(digest)).cloned().collect()
    }

    /// Digest and content of a manifest.
    pub(super) fn manifest(&self, repository: &str, reference: &str) -> Option<(String, &[u8])> {
        let tagged = self.tags.get(&(repository.to_owned(), reference.to_owned()));
        let digest = tagged.map_or(reference, String::as_str);
        let content = self.manifests.get(&(repository.to_owned(), digest.to_owned()))?;
        Some((digest.to_owned(), content))
    }

    pub(super) fn delete_manifest(&mut self, repository: &str, digest: &str) -> Result<(), Refusal> {
        let deleted = self.manifests.remove(&(repository.to_owned(), digest.to_owned()));
        self.tags.retain(|(tagged, _), target| tagged != repository || target != digest);
        deleted.map(drop).ok_or((404, "MANIFEST_UNKNOWN"))
    }

    /// At most `count` tags of a repository behind `last`, and whether there are more.
    pub(super) fn tags(&self, repository: &str, last: &str, count: usize) -> (Vec<&str>, bool) {
        let of_repository = self.tags.keys().filter(|(tagged, _)| tagged == repository).map(|(_, tag)| tag.as_str());
        let mut tags: Vec<_> = of_repository.filter(|tag| *tag > last).collect();
        let has_more = tags.len() > count;
        tags.truncate(count);
        (tags, has_more)
    }
}

pub(super) fn digest_of(content: &[u8]) -> String {
    format!("sha256:{:x}", Sha256::digest(content))
}
