//! Reading a blob: it continues where a connection broke, and is checked by its digest.

use lab::registry::{FakeRegistry, Fault, Step};
use snapwatcher_registry::{Digest, ErrorKind, RegistryError, Repository};

use super::{content, failure, repository};

const LENGTH: usize = 200_000;

async fn read(repository: &Repository, digest: &Digest, bytes: usize) -> Result<Vec<u8>, RegistryError> {
    let mut blob = repository.blob(digest, bytes as u64);
    let mut read = Vec::new();
    while let Some(piece) = blob.next().await? {
        assert!(!piece.is_empty());
        read.extend_from_slice(&piece);
    }
    assert_eq!(blob.next().await?, None, "the end remains the end");
    Ok(read)
}

async fn with_blob() -> (FakeRegistry, Repository, Digest) {
    let registry = FakeRegistry::start().await.unwrap();
    let digest = registry.add_blob(&content(LENGTH)).parse().unwrap();
    let repository = repository(&registry);
    (registry, repository, digest)
}

#[tokio::test]
async fn a_blob_is_read_whole() {
    let (registry, repository, digest) = with_blob().await;
    assert_eq!(read(&repository, &digest, LENGTH).await.unwrap(), content(LENGTH));
    assert_eq!(registry.requests_of(Step::GetBlob).len(), 1);
    let empty = registry.add_blob(b"").parse().unwrap();
    assert_eq!(read(&repository, &empty, 0).await.unwrap(), b"");
}

#[tokio::test]
async fn a_read_that_breaks_is_continued_by_its_range() {
    let (registry, repository, digest) = with_blob().await;
    for bytes in [70_000, 1, 50_000] {
        registry.fail(Step::GetBlob, Fault::CutBody(bytes));
    }
    registry.fail(Step::GetBlob, Fault::status(503, ""));
    registry.fail(Step::GetBlob, Fault::Reset);
    assert_eq!(read(&repository, &digest, LENGTH).await.unwrap(), content(LENGTH));
    let requests = registry.requests_of(Step::GetBlob);
    let ranges: Vec<_> = requests.iter().map(|request| request.range.as_deref()).collect();
    let last = Some("bytes=120001-199999");
    assert_eq!(ranges, [None, Some("bytes=70000-199999"), Some("bytes=70001-199999"), last, last, last]);
}

#[tokio::test]
async fn a_server_that_ignores_ranges_is_read_from_the_start() {
    let (registry, repository, digest) = with_blob().await;
    registry.fail(Step::GetBlob, Fault::CutBody(70_000));
    registry.fail(Step::GetBlob, Fault::IgnoreRange);
    assert_eq!(read(&repository, &digest, LENGTH).await.unwrap(), content(LENGTH));
}

#[tokio::test]
async fn a_blob_with_other_bytes_is_not_read_to_its_end() {
    let (registry, repository, digest) = with_blob().await;
    registry.fail(Step::GetBlob, Fault::OtherBytes);
    let (kind, text) = failure(read(&repository, &digest, LENGTH).await);
    assert_eq!(kind, ErrorKind::WrongContent, "{text}");
    // A part of the blob has another digest too.
    let (kind, _) = failure(read(&repository, &digest, LENGTH - 1).await);
    assert_eq!(kind, ErrorKind::WrongContent);
    let (kind, _) = failure(read(&repository, &digest, 0).await);
    assert_eq!(kind, ErrorKind::WrongContent);
}

#[tokio::test]
async fn a_blob_that_is_shorter_than_its_manifest_says_is_wrong_content() {
    let (_registry, repository, digest) = with_blob().await;
    let (kind, text) = failure(read(&repository, &digest, LENGTH + 1).await);
    assert_eq!(kind, ErrorKind::WrongContent, "{text}");
}

#[tokio::test]
async fn another_part_than_the_requested_one_is_an_error() {
    let (registry, repository, digest) = with_blob().await;
    registry.fail(Step::GetBlob, Fault::CutBody(70_000));
    let other = format!("bytes 0-{}/{LENGTH}", LENGTH - 1);
    registry.fail(Step::GetBlob, Fault::Headers(vec![("content-range", other)]));
    let (kind, text) = failure(read(&repository, &digest, LENGTH).await);
    assert_eq!(kind, ErrorKind::Refused, "{text}");
    assert!(text.contains("another part"), "{text}");
}

#[tokio::test]
async fn a_read_that_falls_silent_is_continued() {
    let (registry, repository, digest) = with_blob().await;
    registry.fail(Step::GetBlob, Fault::Silent(200));
    assert_eq!(read(&repository, &digest, LENGTH).await.unwrap(), content(LENGTH));
    assert_eq!(registry.requests_of(Step::GetBlob).len(), 2);
}

#[tokio::test]
async fn the_length_is_found_without_head() {
    let (registry, repository, digest) = with_blob().await;
    for fault in [Fault::status(405, "UNSUPPORTED"), Fault::status(501, "")] {
        registry.fail(Step::HeadBlob, fault);
        assert_eq!(repository.blob_bytes(&digest).await.unwrap(), Some(LENGTH as u64));
    }
    registry.fail(Step::HeadBlob, Fault::status(405, ""));
    registry.fail(Step::GetBlob, Fault::IgnoreRange);
    assert_eq!(repository.blob_bytes(&digest).await.unwrap(), Some(LENGTH as u64));
    registry.fail(Step::HeadBlob, Fault::status(500, ""));
    assert_eq!(repository.blob_bytes(&digest).await.unwrap(), Some(LENGTH as u64));
}
