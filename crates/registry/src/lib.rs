//! A client of OCI registries (distribution specification 1.1) for checkpoints: blobs of gigabytes whose digest is known at the
//! end, over connections that break, to registries that are not trusted with more than they need.
//!
//! - [`Upload`] sends a blob in chunks and continues after a failure without sending a byte twice.
//! - [`CheckpointImage`] is the manifest, [`Repository::push`] stores it and reads it back.
//! - [`BlobStream`] reads a blob, checks its digest and continues after a failure.
//!
//! All that a registry sends is bounded in length and in time. Its texts are redacted. Credentials go to the registry, and to the
//! token service that it names, and are in no text and no debug output. docs/decisions/0026 says why this is not `oci-client`.

mod answer;
mod auth;
mod blob_stream;
mod digest;
mod error;
mod find_blob;
mod http;
mod image;
mod manifest;
mod patience;
mod refusal;
mod repository;
mod repository_name;
mod secret;
mod server;
mod settings;
mod tags;
mod upload;

pub use self::answer::Answer;
pub use self::auth::{CredentialsError, EntryError};
pub use self::blob_stream::BlobStream;
pub use self::digest::{Digest, DigestError, Reference, Tag, TagError};
pub use self::error::{Cause, ErrorKind, Operation, RegistryError};
pub use self::http::{HopError, TlsError};
pub use self::image::{
    ARTIFACT, CheckpointFacts, CheckpointImage, ENCRYPTED_LAYER, ImageError, Layer, LayerForm, ManifestFacts,
    PLAIN_LAYER,
};
pub use self::manifest::{Descriptor, Manifest};
pub use self::repository::{Deletion, Registry, Repository};
pub use self::repository_name::{RepositoryName, RepositoryNameError};
pub use self::settings::{CHUNK_BYTES, LONGEST_CHUNK_BYTES, Protocol, RegistrySettings, RegistryTimes, SettingsError};
pub use self::tags::Tags;
pub use self::upload::Upload;
