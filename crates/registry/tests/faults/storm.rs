//! Random faults in all steps of an upload. Whatever happens: the registry has exactly the blob, or the client says that it has not.

use lab::registry::{FakeRegistry, Fault, Step};
use snapwatcher_registry::{Digest, ErrorKind};

use super::{CHUNK, content, repository, upload};

const HISTORIES: u64 = 60;

fn fault(random: &mut fastrand::Rng) -> Fault {
    match random.u8(..12) {
        0 => Fault::Reset,
        1 => Fault::LoseAnswer,
        2 => Fault::CutAfter(random.usize(..CHUNK)),
        3 => Fault::StoreHalf,
        4 => Fault::status(500, "UNKNOWN"),
        5 => Fault::busy(503, "0"),
        6 => Fault::busy(429, "1"),
        7 => Fault::Headers(vec![("range", format!("0-{}", random.u32(..5000)))]),
        8 => Fault::status(416, "RANGE_INVALID"),
        9 => Fault::status(404, "BLOB_UPLOAD_UNKNOWN"),
        10 => Fault::Forget,
        _ => Fault::status(502, ""),
    }
}

fn step(random: &mut fastrand::Rng) -> Step {
    let steps = [Step::BeginUpload, Step::Patch, Step::Patch, Step::UploadState, Step::FinishUpload, Step::HeadBlob];
    steps[random.usize(..steps.len())]
}

#[tokio::test]
async fn a_blob_is_whole_or_the_upload_has_failed() {
    let (mut stored, mut lost, mut other) = (0, 0, 0);
    for seed in 0..HISTORIES {
        let mut random = fastrand::Rng::with_seed(seed);
        let registry = FakeRegistry::start().await.unwrap();
        for _ in 0..random.u8(1..6) {
            registry.fail(step(&mut random), fault(&mut random));
        }
        let content = content(random.usize(1..5 * CHUNK));
        let digest = Digest::of(&content);
        let result = upload(&repository(&registry), &content).await;
        let found = registry.blob(digest.as_str());
        assert!(found.is_none() || found.as_ref() == Some(&content), "seed {seed}");
        match result {
            Ok(_) => {
                assert_eq!(found, Some(content), "seed {seed}");
                stored += 1;
            }
            Err(error) if error.kind() == ErrorKind::UploadLost => lost += 1,
            Err(error) => {
                // A 404 or 416 in a step where it makes no sense.
                assert_eq!(error.kind(), ErrorKind::Refused, "seed {seed}: {error}");
                other += 1;
            }
        }
    }
    println!("{stored} stored, {lost} lost, {other} refused");
    assert!(stored > HISTORIES / 3 && lost > 0, "the faults met both ends: {stored} stored, {lost} lost");
}
