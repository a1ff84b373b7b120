//! Redirects and upload addresses on other servers: followed, but without credentials.

use std::path::PathBuf;

use lab::registry::{FakeRegistry, Fault, Login, Step};
use snapwatcher_registry::{Digest, ErrorKind, RegistrySettings, Repository};
use tempfile::TempDir;

use super::{CHUNK, REPOSITORY, content, failure, repository, repository_of, settings, upload};

const BASIC: &str = "Basic Ym9iOmEtc2VjcmV0LXBhc3N3b3Jk";

/// A registry that requires credentials, the repository with them, and another server.
struct Servers {
    registry: FakeRegistry,
    repository: Repository,
    other: FakeRegistry,
    _folder: TempDir,
}

impl Servers {
    async fn start() -> Self {
        let (registry, other) = (FakeRegistry::start().await.unwrap(), FakeRegistry::start().await.unwrap());
        registry.require(Login::Basic { authorization: BASIC.to_owned() });
        let folder = tempfile::tempdir().unwrap();
        let path: PathBuf = folder.path().join("config.json");
        let entry = r#"{"username":"bob","password":"a-secret-password"}"#;
        std::fs::write(&path, format!(r#"{{"auths":{{"{}":{entry}}}}}"#, registry.address())).unwrap();
        let with_credentials = RegistrySettings { credentials_file: Some(path), ..settings(&registry) };
        Self { repository: repository_of(&with_credentials), registry, other, _folder: folder }
    }

    /// The other server got requests, and none had credentials.
    fn other_saw_no_credentials(&self) {
        let requests = self.other.requests();
        assert!(!requests.is_empty());
        assert!(requests.iter().all(|request| request.authorization.is_none()), "{requests:?}");
    }

    fn other_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.other.address())
    }
}

async fn read(repository: &Repository, content: &[u8]) -> Vec<u8> {
    let mut blob = repository.blob(&Digest::of(content), content.len() as u64);
    let mut read = Vec::new();
    while let Some(piece) = blob.next().await.unwrap() {
        read.extend_from_slice(&piece);
    }
    read
}

#[tokio::test]
async fn a_blob_is_read_from_another_server_without_credentials() {
    let servers = Servers::start().await;
    let content = content(5 * CHUNK);
    let digest = servers.other.add_blob(&content);
    let url = servers.other_url(&format!("/v2/storage/blobs/{digest}"));
    servers.registry.fail(Step::GetBlob, Fault::redirect(&url));
    assert_eq!(read(&servers.repository, &content).await, content);
    servers.other_saw_no_credentials();
    servers.registry.fail(Step::HeadBlob, Fault::redirect(&url));
    let found = servers.repository.blob_bytes(&digest.parse().unwrap()).await.unwrap();
    assert_eq!(found, Some(content.len() as u64));
    servers.other_saw_no_credentials();
}

#[tokio::test]
async fn an_upload_goes_to_another_server_without_credentials() {
    let servers = Servers::start().await;
    let content = content(3 * CHUNK + 1);
    let location = servers.other.begin_upload(REPOSITORY);
    servers.registry.fail(Step::BeginUpload, Fault::Headers(vec![("location", location)]));
    let digest = upload(&servers.repository, &content).await.unwrap();
    assert_eq!(servers.other.blob(digest.as_str()), Some(content));
    servers.other_saw_no_credentials();
    assert!(servers.registry.requests_of(Step::Patch).is_empty());
}

#[tokio::test]
async fn a_chunk_is_sent_again_to_where_a_redirect_leads() {
    let servers = Servers::start().await;
    let location = servers.other.begin_upload(REPOSITORY);
    servers.registry.fail(Step::Patch, Fault::redirect(&location));
    let digest = upload(&servers.repository, &content(2 * CHUNK)).await.unwrap();
    assert_eq!(servers.other.blob(digest.as_str()), Some(content(2 * CHUNK)));
    servers.other_saw_no_credentials();
}

#[tokio::test]
async fn a_signed_address_that_is_valid_for_get_alone_still_says_the_length() {
    let servers = Servers::start().await;
    let content = content(CHUNK);
    let digest = servers.other.add_blob(&content);
    let url = servers.other_url(&format!("/v2/storage/blobs/{digest}"));
    servers.registry.fail(Step::HeadBlob, Fault::redirect(&url));
    servers.other.fail(Step::HeadBlob, Fault::status(403, "SignatureDoesNotMatch"));
    servers.registry.fail(Step::GetBlob, Fault::redirect(&url));
    let found = servers.repository.blob_bytes(&digest.parse().unwrap()).await.unwrap();
    assert_eq!(found, Some(CHUNK as u64));
    servers.other_saw_no_credentials();
}

#[tokio::test]
async fn redirects_without_end_are_an_error() {
    let registry = FakeRegistry::start().await.unwrap();
    let digest = Digest::of(b"x");
    let again = format!("/v2/{REPOSITORY}/blobs/{digest}");
    for _ in 0..10 {
        registry.fail(Step::GetBlob, Fault::redirect(&again));
    }
    let (kind, text) = failure(repository(&registry).blob(&digest, 1).next().await);
    assert_eq!(kind, ErrorKind::Refused, "{text}");
    assert!(text.contains("more than 5 redirects"), "{text}");
    assert_eq!(registry.requests_of(Step::GetBlob).len(), 6);
}

#[tokio::test]
async fn an_address_that_is_not_used_is_named_by_its_cause() {
    let registry = FakeRegistry::start().await.unwrap();
    for (location, expected) in [
        ("http://192.0.2.1/upload", "it has no TLS"),
        ("ftp://127.0.0.1/upload", "neither http nor https"),
        ("http://bob:x@127.0.0.1/upload", "a user and a password"),
        ("/upload with spaces", "malformed"),
    ] {
        registry.fail(Step::BeginUpload, Fault::Headers(vec![("location", location.to_owned())]));
        let (kind, text) = failure(repository(&registry).begin_upload().await);
        assert_eq!(kind, ErrorKind::Refused, "{location}: {text}");
        assert!(text.contains(expected), "{location}: {text}");
    }
}
