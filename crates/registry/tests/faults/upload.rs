//! The upload of a blob: each step fails in each way.

use std::time::Instant;

use lab::registry::{FakeRegistry, Fault, Step};
use snapwatcher_registry::{CHUNK_BYTES, Digest, ErrorKind, LONGEST_CHUNK_BYTES, RegistrySettings};

use super::{CHUNK, content, failure, per_second, repository, repository_of, settings, upload};

/// Three full chunks and a shorter one.
const LENGTH: usize = 3 * CHUNK + 500;

fn sent(registry: &FakeRegistry) -> usize {
    registry.requests_of(Step::Patch).iter().map(|request| usize::try_from(request.bytes).unwrap()).sum()
}

#[tokio::test]
async fn a_blob_is_sent_in_chunks_and_stored_whole() {
    let registry = FakeRegistry::start().await.unwrap();
    let content = content(LENGTH);
    let mut upload = repository(&registry).begin_upload().await.unwrap();
    upload.write(&content[..2500]).await.unwrap();
    assert_eq!(upload.offset(), 2000, "the rest is in memory");
    upload.write(&content[2500..]).await.unwrap();
    let digest = Digest::of(&content);
    assert_eq!(upload.finish(&digest).await.unwrap(), content.len() as u64);
    assert_eq!(registry.blob(digest.as_str()), Some(content));
    let patches = registry.requests_of(Step::Patch);
    let seen: Vec<_> = patches.iter().map(|request| (request.bytes, request.range.as_deref().unwrap())).collect();
    assert_eq!(seen, [(1000, "0-999"), (1000, "1000-1999"), (1000, "2000-2999"), (500, "3000-3499")]);
    assert_eq!(registry.requests_of(Step::FinishUpload).len(), 1);
}

#[tokio::test]
async fn an_empty_blob_is_stored() {
    let registry = FakeRegistry::start().await.unwrap();
    let digest = upload(&repository(&registry), b"").await.unwrap();
    assert_eq!(registry.blob(digest.as_str()), Some(Vec::new()));
    assert!(registry.requests_of(Step::Patch).is_empty());
}

#[tokio::test]
async fn a_chunk_that_fails_is_continued_without_sending_twice_what_is_stored() {
    for (fault, repeated) in [
        (Fault::Reset, 0),
        (Fault::LoseAnswer, 0),
        (Fault::CutAfter(2), 0),
        (Fault::CutAfter(300), 0),
        (Fault::CutAfter(999), 0),
        (Fault::status(500, "UNKNOWN"), 0),
        (Fault::status(502, ""), 0),
        (Fault::busy(503, "1"), 0),
        (Fault::busy(429, "Mon, 30 Nov 2026 12:00:00 GMT"), 0),
        (Fault::status(408, ""), 0),
        // Half of it was stored, all of it sent.
        (Fault::StoreHalf, 500),
        // Nothing was stored, all of it sent.
        (Fault::Hang, 1000),
    ] {
        for before in [0, 2] {
            let registry = FakeRegistry::start().await.unwrap();
            let content = content(LENGTH);
            let mut upload = repository(&registry).begin_upload().await.unwrap();
            upload.write(&content[..before * CHUNK]).await.unwrap();
            registry.fail(Step::Patch, fault.clone());
            upload.write(&content[before * CHUNK..]).await.unwrap();
            let digest = Digest::of(&content);
            upload.finish(&digest).await.unwrap();
            assert_eq!(registry.blob(digest.as_str()).as_ref(), Some(&content), "{fault:?} behind {before} chunks");
            assert_eq!(sent(&registry), LENGTH + repeated, "{fault:?} behind {before} chunks");
            assert_eq!(registry.unmet_faults(), 0, "{fault:?}");
        }
    }
}

#[tokio::test]
async fn one_stored_byte_which_looks_like_none_is_found_by_a_refusal() {
    let registry = FakeRegistry::start().await.unwrap();
    registry.fail(Step::Patch, Fault::CutAfter(1));
    let digest = upload(&repository(&registry), &content(LENGTH)).await.unwrap();
    assert_eq!(registry.blob(digest.as_str()), Some(content(LENGTH)));
    let patches = registry.requests_of(Step::Patch);
    let ranges: Vec<_> = patches.iter().take(3).map(|request| request.range.as_deref().unwrap()).collect();
    assert_eq!(ranges, ["0-999", "0-999", "1-999"]);
}

#[tokio::test]
async fn a_failing_question_for_the_state_is_repeated() {
    for fault in [Fault::Reset, Fault::status(503, ""), Fault::Hang, Fault::Silent(500)] {
        let registry = FakeRegistry::start().await.unwrap();
        registry.fail(Step::Patch, Fault::CutAfter(400));
        registry.fail(Step::UploadState, fault.clone());
        let digest = upload(&repository(&registry), &content(LENGTH)).await.unwrap();
        assert_eq!(registry.blob(digest.as_str()), Some(content(LENGTH)), "{fault:?}");
        assert_eq!(sent(&registry), LENGTH, "{fault:?}");
    }
}

#[tokio::test]
async fn without_a_state_the_chunk_is_repeated() {
    for state in [Fault::status(405, "UNSUPPORTED"), Fault::status(400, "NAME_INVALID"), Fault::status(501, "")] {
        let registry = FakeRegistry::start().await.unwrap();
        registry.fail(Step::Patch, Fault::status(500, ""));
        registry.fail(Step::UploadState, state.clone());
        let digest = upload(&repository(&registry), &content(LENGTH)).await.unwrap();
        assert_eq!(registry.blob(digest.as_str()), Some(content(LENGTH)), "{state:?}");
        // It has a part of the chunk, and does not say so.
        let registry = FakeRegistry::start().await.unwrap();
        registry.fail(Step::Patch, Fault::CutAfter(300));
        for _ in 0..2 {
            registry.fail(Step::UploadState, state.clone());
        }
        let (kind, text) = failure(upload(&repository(&registry), &content(LENGTH)).await);
        assert_eq!(kind, ErrorKind::UploadLost, "{state:?}: {text}");
    }
}

#[tokio::test]
async fn an_answer_that_acknowledges_another_number_than_is_stored_is_corrected() {
    for range in ["0-0", "0-99999", "0-499", "x"] {
        let registry = FakeRegistry::start().await.unwrap();
        registry.fail(Step::Patch, Fault::Headers(vec![("range", range.to_owned())]));
        let digest = upload(&repository(&registry), &content(LENGTH)).await.unwrap();
        assert_eq!(registry.blob(digest.as_str()), Some(content(LENGTH)), "{range}");
    }
}

#[tokio::test]
async fn an_upload_that_the_registry_has_forgotten_is_lost() {
    for (fault, other) in [
        ((Step::Patch, Fault::Forget), None),
        ((Step::Patch, Fault::status(404, "BLOB_UPLOAD_INVALID")), None),
        ((Step::Patch, Fault::Reset), Some((Step::UploadState, Fault::Forget))),
        ((Step::Patch, Fault::Reset), Some((Step::UploadState, Fault::status(400, "BLOB_UPLOAD_INVALID")))),
        // It has fewer bytes than it acknowledged, or more than were sent.
        ((Step::Patch, Fault::Reset), Some((Step::UploadState, Fault::Headers(vec![("range", "0-99999".to_owned())])))),
        ((Step::FinishUpload, Fault::Forget), None),
        ((Step::FinishUpload, Fault::Reset), Some((Step::UploadState, Fault::Forget))),
        (
            (Step::FinishUpload, Fault::Reset),
            Some((Step::UploadState, Fault::Headers(vec![("range", "0-9".to_owned())]))),
        ),
    ] {
        let registry = FakeRegistry::start().await.unwrap();
        let case = format!("{fault:?} {other:?}");
        registry.fail(fault.0, fault.1);
        if let Some((step, fault)) = other {
            registry.fail(step, fault);
        }
        let (kind, text) = failure(upload(&repository(&registry), &content(LENGTH)).await);
        assert_eq!(kind, ErrorKind::UploadLost, "{case}: {text}");
        assert_eq!(registry.unmet_faults(), 0, "{case}");
    }
}

#[tokio::test]
async fn a_range_that_is_refused_again_and_again_is_a_lost_upload() {
    let registry = FakeRegistry::start().await.unwrap();
    for _ in 0..2 {
        registry.fail(Step::Patch, Fault::status(416, "RANGE_INVALID"));
    }
    let (kind, text) = failure(upload(&repository(&registry), &content(LENGTH)).await);
    assert_eq!(kind, ErrorKind::UploadLost, "{text}");
}

#[tokio::test]
async fn closing_an_upload_is_repeated_until_the_blob_is_there() {
    for (fault, puts) in [
        // The blob is found, so nothing is closed twice.
        (Fault::LoseAnswer, 1),
        (Fault::Reset, 2),
        (Fault::Hang, 2),
        (Fault::status(500, ""), 2),
        (Fault::busy(503, "0"), 2),
    ] {
        let registry = FakeRegistry::start().await.unwrap();
        registry.fail(Step::FinishUpload, fault.clone());
        let digest = upload(&repository(&registry), &content(LENGTH)).await.unwrap();
        assert_eq!(registry.blob(digest.as_str()), Some(content(LENGTH)), "{fault:?}");
        assert_eq!(registry.requests_of(Step::FinishUpload).len(), puts, "{fault:?}");
        assert_eq!(sent(&registry), LENGTH, "{fault:?}");
    }
}

#[tokio::test]
async fn another_digest_at_the_end_is_wrong_content() {
    for fault in [
        Fault::status(400, "DIGEST_INVALID"),
        Fault::Headers(vec![("docker-content-digest", Digest::of(b"other").to_string())]),
    ] {
        let registry = FakeRegistry::start().await.unwrap();
        registry.fail(Step::FinishUpload, fault.clone());
        let (kind, text) = failure(upload(&repository(&registry), &content(LENGTH)).await);
        assert_eq!(kind, ErrorKind::WrongContent, "{fault:?}: {text}");
    }
    let registry = FakeRegistry::start().await.unwrap();
    let mut upload = repository(&registry).begin_upload().await.unwrap();
    upload.write(b"one").await.unwrap();
    let (kind, text) = failure(upload.finish(&Digest::of(b"other")).await);
    assert_eq!(kind, ErrorKind::WrongContent, "{text}");
}

#[tokio::test]
async fn a_blob_of_another_length_after_a_lost_answer_is_wrong_content() {
    let registry = FakeRegistry::start().await.unwrap();
    registry.fail(Step::FinishUpload, Fault::LoseAnswer);
    registry.fail(Step::HeadBlob, Fault::Headers(vec![("content-length", "7".to_owned())]));
    let (kind, text) = failure(upload(&repository(&registry), &content(LENGTH)).await);
    assert_eq!(kind, ErrorKind::WrongContent, "{text}");
}

#[tokio::test]
async fn chunks_are_as_long_as_the_registry_requires() {
    let registry = FakeRegistry::start().await.unwrap();
    registry.require_chunks("1500");
    registry.fail(Step::Patch, Fault::StoreHalf);
    let content = content(LENGTH);
    let digest = upload(&repository(&registry), &content).await.unwrap();
    assert_eq!(registry.blob(digest.as_str()), Some(content));
    let patches = registry.requests_of(Step::Patch);
    let lengths: Vec<_> = patches.iter().map(|request| request.bytes).collect();
    // What is left of the first chunk is too short to be sent alone.
    assert_eq!(lengths, [1500, 1500, 1250]);
}

#[tokio::test]
async fn a_registry_that_requires_too_long_chunks_is_refused() {
    let registry = FakeRegistry::start().await.unwrap();
    registry.require_chunks(&(LONGEST_CHUNK_BYTES + 1).to_string());
    let (kind, text) = failure(repository(&registry).begin_upload().await);
    assert_eq!(kind, ErrorKind::Refused);
    assert!(text.contains(&LONGEST_CHUNK_BYTES.to_string()), "{text}");
}

#[tokio::test]
async fn beginning_is_repeated_and_a_refusal_is_not() {
    let registry = FakeRegistry::start().await.unwrap();
    for fault in [Fault::Reset, Fault::status(500, ""), Fault::busy(429, "0"), Fault::LoseAnswer] {
        registry.fail(Step::BeginUpload, fault);
    }
    repository(&registry).begin_upload().await.unwrap();
    registry.fail(Step::BeginUpload, Fault::status(404, "NAME_UNKNOWN"));
    let (kind, text) = failure(repository(&registry).begin_upload().await);
    assert_eq!(kind, ErrorKind::Refused);
    assert!(text.starts_with("could not begin an upload in `127.0.0.1") && text.contains("NAME_UNKNOWN"), "{text}");
    assert!(text.contains("create the repository"), "{text}");
    assert_eq!(registry.requests_of(Step::BeginUpload).len(), 6);
}

#[tokio::test]
async fn a_chunk_that_is_too_long_for_a_proxy_names_the_remedy() {
    let registry = FakeRegistry::start().await.unwrap();
    let body = "<html>nginx</html>".to_owned();
    registry.fail(Step::Patch, Fault::Answer { status: 413, headers: Vec::new(), body });
    // The answer comes while the chunk is being sent.
    let settings = RegistrySettings { chunk_bytes: CHUNK_BYTES, ..settings(&registry) };
    let mut upload = repository_of(&settings).begin_upload().await.unwrap();
    let (kind, text) = failure(upload.write(&content(CHUNK_BYTES)).await);
    assert_eq!(kind, ErrorKind::Refused);
    assert!(text.contains("413") && text.contains("shorter chunks") && text.contains("at byte 0"), "{text}");
}

#[tokio::test]
async fn a_registry_that_is_down_for_too_long_is_to_be_tried_later() {
    let registry = FakeRegistry::start().await.unwrap();
    let mut upload = repository(&registry).begin_upload().await.unwrap();
    registry.close_port().await;
    registry.fail(Step::Patch, Fault::Reset);
    let (kind, text) = failure(upload.write(&content(CHUNK)).await);
    assert_eq!(kind, ErrorKind::RetryLater);
    assert!(text.contains("could not connect to `127.0.0.1") && text.contains("it was tried 8 times"), "{text}");
}

#[tokio::test]
async fn progress_gives_a_failing_registry_new_attempts() {
    let registry = FakeRegistry::start().await.unwrap();
    // More failures than are permitted in a row.
    for _ in 0..12 {
        registry.fail(Step::Patch, Fault::CutAfter(50));
    }
    let digest = upload(&repository(&registry), &content(LENGTH)).await.unwrap();
    assert_eq!(registry.blob(digest.as_str()), Some(content(LENGTH)));
    assert_eq!(sent(&registry), LENGTH);
}

#[tokio::test]
async fn a_cancelled_upload_is_removed() {
    let registry = FakeRegistry::start().await.unwrap();
    let mut upload = repository(&registry).begin_upload().await.unwrap();
    upload.write(&content(LENGTH)).await.unwrap();
    assert_eq!(registry.open_uploads(), 1);
    registry.fail(Step::CancelUpload, Fault::LoseAnswer);
    upload.cancel().await.unwrap();
    assert_eq!(registry.open_uploads(), 0);
}

#[tokio::test]
async fn uploads_keep_to_the_limit_on_bytes_a_second() {
    let registry = FakeRegistry::start().await.unwrap();
    let limited = RegistrySettings { upload_bytes_per_second: per_second(20_000), ..settings(&registry) };
    let started = Instant::now();
    let repository = repository_of(&limited);
    let (one, other) = (content(5000), content(4000));
    let (one, other) = tokio::join!(upload(&repository, &one), upload(&repository, &other));
    assert!(one.is_ok() && other.is_ok(), "{one:?} {other:?}");
    // The last chunk waits only for those before it.
    assert!(started.elapsed().as_millis() >= 400, "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_registry_is_writable_if_an_upload_can_begin() {
    let registry = FakeRegistry::start().await.unwrap();
    repository(&registry).check_writable().await.unwrap();
    assert_eq!(registry.open_uploads(), 0);
    registry.fail(Step::BeginUpload, Fault::status(403, "DENIED"));
    let (kind, text) = failure(repository(&registry).check_writable().await);
    assert_eq!(kind, ErrorKind::Credentials, "{text}");
}
