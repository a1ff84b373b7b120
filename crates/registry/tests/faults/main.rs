//! The client against a registry that fails on request. The registry of the lab is strict, so a blob that it stores was sent by the
//! rules of the specification.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod authentication;
mod hostile;
mod manifests;
mod proxy;
mod pull;
mod redirects;
mod storm;
mod upload;

use std::num::NonZeroU64;
use std::time::Duration;

use lab::registry::FakeRegistry;
use snapwatcher_api::outcome::Redacted;
use snapwatcher_registry::{
    Digest, ErrorKind, Registry, RegistryError, RegistrySettings, RegistryTimes, Repository, RepositoryName,
};

/// The repository of all tests.
const REPOSITORY: &str = "snapshots/shop/web";

/// The bytes of a chunk in these tests.
const CHUNK: usize = 1000;

/// Waits that are short, and as many repeats as in production.
fn times() -> RegistryTimes {
    RegistryTimes {
        connect: Duration::from_secs(2),
        silence: Duration::from_secs(1),
        closing: Duration::from_secs(1),
        first_wait: Duration::from_millis(5),
        longest_wait: Duration::from_millis(20),
        longest_retry_after: Duration::from_millis(20),
        ..RegistryTimes::default()
    }
}

fn name(registry: &FakeRegistry) -> RepositoryName {
    format!("{}/snapshots", registry.address()).parse().unwrap()
}

fn settings(registry: &FakeRegistry) -> RegistrySettings {
    RegistrySettings { chunk_bytes: CHUNK, times: times(), ..RegistrySettings::new(name(registry), Redacted::own) }
}

fn repository_of(settings: &RegistrySettings) -> Repository {
    Registry::new(settings).unwrap().below("shop/web").unwrap()
}

fn repository(registry: &FakeRegistry) -> Repository {
    repository_of(&settings(registry))
}

/// Content in which no two parts are equal.
fn content(length: usize) -> Vec<u8> {
    (0_u32..).flat_map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()).take(length).collect()
}

/// Uploads a blob by writes of 300 bytes.
async fn upload(repository: &Repository, content: &[u8]) -> Result<Digest, RegistryError> {
    let mut upload = repository.begin_upload().await?;
    for piece in content.chunks(300) {
        upload.write(piece).await?;
    }
    let digest = Digest::of(content);
    let length = upload.finish(&digest).await?;
    assert_eq!(length, content.len() as u64);
    Ok(digest)
}

/// The kind and the text of an error.
fn failure<T>(result: Result<T, RegistryError>) -> (ErrorKind, String) {
    match result {
        Ok(_) => panic!("it did not fail"),
        Err(error) => (error.kind(), error.to_string()),
    }
}

fn per_second(bytes: u64) -> Option<NonZeroU64> {
    NonZeroU64::new(bytes)
}
