//! The client against Docker's registry 2.8 and 3, and that of go-containerregistry.
//!
//! They differ in what they keep of a chunk that was cut off, in the form of upload addresses, and in the errors for what is
//! unknown or not permitted.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod interrupted;
mod whole;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use lab::registry::{RegistryKind, RegistryOptions, RegistryProgram};
use snapwatcher_api::outcome::Redacted;
use snapwatcher_registry::{
    Digest, Protocol, Registry, RegistryError, RegistrySettings, RegistryTimes, Repository, RepositoryName,
};
use tempfile::TempDir;

const CHUNK: usize = 256 * 1024;

/// A registry, and the client for it.
struct Running {
    kind: RegistryKind,
    program: RegistryProgram,
    settings: RegistrySettings,
    folder: TempDir,
}

impl Running {
    async fn start(kind: RegistryKind, options: RegistryOptions) -> Self {
        let program = RegistryProgram::start(kind, options).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut settings = RegistrySettings {
            chunk_bytes: CHUNK,
            times: RegistryTimes {
                silence: Duration::from_secs(20),
                first_wait: Duration::from_millis(20),
                longest_wait: Duration::from_millis(200),
                ..RegistryTimes::default()
            },
            ..RegistrySettings::new(name(program.address()), Redacted::own)
        };
        if options.tls {
            settings.protocol = Protocol::Https;
            settings.ca_file = Some(program.ca_file());
        }
        if options.basic {
            settings.credentials_file = Some(credentials(&folder, &program.credentials()));
        }
        Self { kind, program, settings, folder }
    }

    fn repository(&self) -> Repository {
        repository(&self.settings)
    }

    /// The client, as if the registry were at this address.
    fn repository_at(&self, address: SocketAddr) -> Repository {
        repository(&RegistrySettings { repository: name(address), ..self.settings.clone() })
    }
}

fn name(address: SocketAddr) -> RepositoryName {
    format!("{address}/snapshots").parse().unwrap()
}

fn repository(settings: &RegistrySettings) -> Repository {
    Registry::new(settings).unwrap().below("shop/web").unwrap()
}

fn credentials(folder: &TempDir, json: &str) -> PathBuf {
    let path = folder.path().join("config.json");
    fs::write(&path, json).unwrap();
    path
}

/// Content in which no two parts are equal, another one for each seed.
fn content(seed: u32, length: usize) -> Vec<u8> {
    (seed..).flat_map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()).take(length).collect()
}

async fn upload(repository: &Repository, content: &[u8]) -> Result<Digest, RegistryError> {
    let mut upload = repository.begin_upload().await?;
    for piece in content.chunks(64 * 1024) {
        upload.write(piece).await?;
    }
    let digest = Digest::of(content);
    upload.finish(&digest).await?;
    Ok(digest)
}

async fn read(repository: &Repository, digest: &Digest, bytes: u64) -> Vec<u8> {
    let mut blob = repository.blob(digest, bytes);
    let mut read = Vec::new();
    while let Some(piece) = blob.next().await.unwrap() {
        read.extend_from_slice(&piece);
    }
    read
}
