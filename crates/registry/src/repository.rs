//! What can be done in a registry.

use std::sync::Arc;

use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Method, StatusCode};

use crate::answer::Answer;
use crate::auth::Access;
use crate::blob_stream::BlobStream;
use crate::digest::{Digest, Reference, Tag};
use crate::error::{Cause, ErrorKind, Operation, RegistryError};
use crate::find_blob::find_blob;
use crate::image::{CheckpointImage, MANIFEST};
use crate::manifest::{self, Manifest};
use crate::repository_name::{RepositoryName, RepositoryNameError};
use crate::server::Server;
use crate::settings::{RegistrySettings, SettingsError};
use crate::tags::Tags;
use crate::upload::Upload;

/// How often a small blob is begun again after its upload was lost.
const MOST_BEGINNINGS: usize = 3;

/// A registry. Cloning is cheap; tokens, connections and the limit on bytes a second are shared.
#[derive(Debug, Clone)]
pub struct Registry {
    server: Arc<Server>,
    base: RepositoryName,
}

/// A repository in a registry. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Repository {
    server: Arc<Server>,
    name: RepositoryName,
}

/// What a registry did when a manifest was to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    Deleted,
    /// The registry permits no deletions, or does not support them.
    NotAllowed,
    NotFound,
}

impl Registry {
    /// Prepares requests. It sends none.
    pub fn new(settings: &RegistrySettings) -> Result<Self, SettingsError> {
        Ok(Self { server: Arc::new(Server::new(settings)?), base: settings.repository.clone() })
    }

    /// The repository of the settings.
    pub fn base(&self) -> Repository {
        Repository { server: Arc::clone(&self.server), name: self.base.clone() }
    }

    /// A repository below that of the settings.
    pub fn below(&self, path: &str) -> Result<Repository, RepositoryNameError> {
        Ok(Repository { server: Arc::clone(&self.server), name: self.base.below(path)? })
    }
}

impl Repository {
    pub fn name(&self) -> &RepositoryName {
        &self.name
    }

    /// Begins the upload of a blob.
    pub async fn begin_upload(&self) -> Result<Upload, RegistryError> {
        Upload::begin(Arc::clone(&self.server), self.name.clone()).await
    }

    /// The length of a blob in bytes; `None` if the repository does not have it.
    pub async fn blob_bytes(&self, digest: &Digest) -> Result<Option<u64>, RegistryError> {
        let found = find_blob(&self.server, &self.name, digest, Access::Pull).await;
        found.map_err(|cause| self.error(Operation::FindBlob(digest.clone()), cause))
    }

    /// Uploads a blob that is in memory, unless the repository has it.
    pub async fn push_blob(&self, content: &[u8]) -> Result<Digest, RegistryError> {
        let digest = Digest::of(content);
        let length = u64::try_from(content.len()).unwrap_or(u64::MAX);
        let mut beginnings = 0;
        while self.blob_bytes(&digest).await? != Some(length) {
            beginnings += 1;
            match self.upload(content, &digest).await {
                Err(error) if error.kind() == ErrorKind::UploadLost && beginnings < MOST_BEGINNINGS => {}
                result => return result.map(|()| digest),
            }
        }
        Ok(digest)
    }

    /// Pushes a checkpoint, the layer of which has been uploaded, and verifies it.
    pub async fn push(&self, tag: &Tag, image: &CheckpointImage) -> Result<(), RegistryError> {
        self.push_blob(&image.configuration).await?;
        let put = self.put_manifest(tag, image).await;
        put.map_err(|cause| self.error(Operation::PushManifest(tag.clone()), cause))?;
        self.verify(image).await
    }

    /// Checks that the repository has exactly this manifest, and its blobs with their lengths.
    pub async fn verify(&self, image: &CheckpointImage) -> Result<(), RegistryError> {
        let verified = self.verified(image).await;
        verified.map_err(|cause| self.error(Operation::Verify(image.digest().clone()), cause))
    }

    /// Reads a manifest. Its digest is that of the reference, if it has one.
    pub async fn manifest(&self, reference: &Reference) -> Result<Manifest, RegistryError> {
        let read = manifest::read(&self.server, &self.name, reference).await;
        read.map_err(|cause| self.error(Operation::ReadManifest(reference.clone()), cause))
    }

    /// Reads a blob of this length. It sends the first request at the first piece.
    pub fn blob(&self, digest: &Digest, bytes: u64) -> BlobStream {
        BlobStream::new(Arc::clone(&self.server), self.name.clone(), digest.clone(), bytes)
    }

    /// The tags of the repository.
    pub fn tags(&self) -> Tags {
        Tags::new(Arc::clone(&self.server), self.name.clone())
    }

    /// Deletes a manifest, and with it its tags.
    pub async fn delete_manifest(&self, digest: &Digest) -> Result<Deletion, RegistryError> {
        let deleted = self.deleted(digest).await;
        deleted.map_err(|cause| self.error(Operation::DeleteManifest(digest.clone()), cause))
    }

    /// Checks that the registry can be reached and accepts uploads: begins one and cancels it.
    pub async fn check_writable(&self) -> Result<(), RegistryError> {
        let upload = self.begin_upload().await?;
        // Not every registry can cancel. That it accepts uploads is known.
        drop(upload.cancel().await);
        Ok(())
    }

    async fn upload(&self, content: &[u8], digest: &Digest) -> Result<(), RegistryError> {
        let mut upload = self.begin_upload().await?;
        upload.write(content).await?;
        upload.finish(digest).await.map(drop)
    }

    async fn put_manifest(&self, tag: &Tag, image: &CheckpointImage) -> Result<(), Cause> {
        let server = &self.server;
        let mut put = server.call(Method::PUT, &self.name, &format!("manifests/{tag}"), Access::Push);
        put.headers.insert(CONTENT_TYPE, HeaderValue::from_static(MANIFEST));
        put.body = image.manifest.clone().into();
        let created = [StatusCode::CREATED, StatusCode::ACCEPTED, StatusCode::NO_CONTENT, StatusCode::OK];
        match server.patiently(|| server.expect(&self.name, &put, &created)).await {
            Ok(_) => Ok(()),
            Err(cause) if cause.answer().is_some_and(|answer| answer.has_code("MANIFEST_BLOB_UNKNOWN")) => {
                Err(Cause::UploadLost { why: "it does not have a blob of the manifest" })
            }
            Err(cause) => Err(cause),
        }
    }

    async fn verified(&self, image: &CheckpointImage) -> Result<(), Cause> {
        let reference = Reference::Digest(image.digest().clone());
        // The digest of what is read was compared. Equal bytes are required nevertheless, because nothing else says it.
        if manifest::bytes(&self.server, &self.name, &reference, Access::Push).await? != image.manifest {
            return Err(Cause::WrongContent { why: "it does not return the manifest that was pushed".to_owned() });
        }
        for (digest, bytes) in image.blobs() {
            match find_blob(&self.server, &self.name, digest, Access::Push).await? {
                Some(found) if found == *bytes => {}
                Some(found) => {
                    let why = format!("blob {digest} has {found} bytes, expected are {bytes}");
                    return Err(Cause::WrongContent { why });
                }
                None => return Err(Cause::WrongContent { why: format!("blob {digest} is missing") }),
            }
        }
        Ok(())
    }

    async fn deleted(&self, digest: &Digest) -> Result<Deletion, Cause> {
        let server = &self.server;
        let delete = server.call(Method::DELETE, &self.name, &format!("manifests/{digest}"), Access::Delete);
        let done = [StatusCode::ACCEPTED, StatusCode::NO_CONTENT, StatusCode::OK];
        match server.patiently(|| server.expect(&self.name, &delete, &done)).await {
            Ok(_) => Ok(Deletion::Deleted),
            Err(cause) if cause.answer().is_some_and(Answer::is_unsupported) => Ok(Deletion::NotAllowed),
            Err(cause) if cause.status() == 404 => Ok(Deletion::NotFound),
            Err(cause) => Err(cause),
        }
    }

    fn error(&self, operation: Operation, cause: Cause) -> RegistryError {
        RegistryError { operation, repository: self.name.clone(), cause }
    }
}
