//! Answers that are too long, too slow, or make no sense.

use std::time::{Duration, Instant};

use lab::registry::{FakeRegistry, Fault, Step};
use snapwatcher_registry::{Digest, ErrorKind};

use super::{CHUNK, content, failure, repository, upload};

/// What a bounded answer may take in these tests: some time-outs of a second.
const LIMIT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn the_body_of_an_error_is_read_within_limits() {
    for fault in [Fault::Endless(400), Fault::Silent(400)] {
        let registry = FakeRegistry::start().await.unwrap();
        registry.fail(Step::BeginUpload, fault.clone());
        let started = Instant::now();
        let (kind, text) = failure(repository(&registry).begin_upload().await);
        assert_eq!(kind, ErrorKind::Refused, "{fault:?}: {text}");
        assert!(text.contains("answered 400") && text.len() < 1000, "{fault:?}: {text}");
        assert!(started.elapsed() < LIMIT, "{fault:?}");
    }
}

#[tokio::test]
async fn the_text_of_an_error_is_one_short_line() {
    let registry = FakeRegistry::start().await.unwrap();
    let body = format!("one\n\u{1b}[31mtwo\u{202e}\r\n{}", "three ".repeat(10_000));
    registry.fail(Step::BeginUpload, Fault::Answer { status: 400, headers: Vec::new(), body });
    let (_, text) = failure(repository(&registry).begin_upload().await);
    assert!(text.contains("one two") && !text.chars().any(char::is_control), "{text}");
    assert!(text.len() < 600, "{text}");
}

#[tokio::test]
async fn what_has_no_end_is_not_read_to_its_end() {
    let registry = FakeRegistry::start().await.unwrap();
    let repository = repository(&registry);
    registry.fail(Step::GetManifest, Fault::Endless(200));
    let (kind, text) = failure(repository.manifest(&"a".parse::<snapwatcher_registry::Tag>().unwrap().into()).await);
    assert_eq!(kind, ErrorKind::Refused, "{text}");
    assert!(text.contains("the manifest is longer than 4194304 bytes"), "{text}");
    registry.fail(Step::ListTags, Fault::Endless(200));
    let (kind, text) = failure(repository.tags().next_page().await);
    assert_eq!(kind, ErrorKind::Refused, "{text}");
    assert!(text.contains("a page of tags is longer than 1048576 bytes"), "{text}");
    registry.fail(Step::GetBlob, Fault::Endless(200));
    let mut blob = repository.blob(&Digest::of(b"x"), 100_000);
    let error = loop {
        match blob.next().await {
            Ok(piece) => assert!(piece.is_some(), "the digest is wrong"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::WrongContent, "{error}");
}

#[tokio::test]
async fn a_registry_that_falls_silent_is_to_be_tried_later() {
    let registry = FakeRegistry::start().await.unwrap();
    let repository = repository(&registry);
    // As many as attempts of one operation.
    for _ in 0..8 {
        registry.fail(Step::GetManifest, Fault::Silent(200));
    }
    let started = Instant::now();
    let (kind, text) = failure(repository.manifest(&"a".parse::<snapwatcher_registry::Tag>().unwrap().into()).await);
    assert_eq!(kind, ErrorKind::RetryLater, "{text}");
    assert!(text.contains("nothing arrived, for 1 s") && text.contains("tried 8 times"), "{text}");
    assert!(started.elapsed() < LIMIT, "{:?}", started.elapsed());
}

#[tokio::test]
async fn answers_against_the_specification_are_errors() {
    let headers = |headers: Vec<(&'static str, String)>| Fault::Answer { status: 202, headers, body: String::new() };
    for (step, fault, expected) in [
        (Step::BeginUpload, headers(Vec::new()), "no valid `Location`"),
        (Step::BeginUpload, headers(vec![("location", String::new())]), "malformed"),
        (
            Step::Patch,
            Fault::Answer { status: 302, headers: vec![("location", "/x".to_owned())], body: String::new() },
            "302",
        ),
    ] {
        let registry = FakeRegistry::start().await.unwrap();
        registry.fail(step, fault.clone());
        let (kind, text) = failure(upload(&repository(&registry), &content(CHUNK)).await);
        assert_eq!(kind, ErrorKind::Refused, "{fault:?}: {text}");
        assert!(text.contains(expected), "{fault:?}: {text}");
    }
}

#[tokio::test]
async fn a_state_without_a_range_is_an_error() {
    let registry = FakeRegistry::start().await.unwrap();
    registry.fail(Step::Patch, Fault::Reset);
    registry.fail(Step::UploadState, Fault::Headers(vec![("range", "all of it".to_owned())]));
    let (kind, text) = failure(upload(&repository(&registry), &content(CHUNK)).await);
    assert_eq!(kind, ErrorKind::Refused, "{text}");
    assert!(text.contains("no valid `Range`"), "{text}");
}
