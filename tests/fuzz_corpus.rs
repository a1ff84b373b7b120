//! The corpus of the fuzzer: each body gets an AdmissionReview or a client error.

use std::fs;
use std::path::Path;

use snapwatcher_admission::{ValidationMode, mutate_response, validate_response};

#[test]
fn each_body_of_the_corpus_gets_a_review_or_a_client_error() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let bodies_of = |name: &str| {
        let bodies: Vec<_> = fs::read_dir(corpus.join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!bodies.is_empty(), "{name}");
        bodies
    };
    let bodies = [bodies_of("review"), bodies_of("found")].concat();
    let mut reviews = 0;
    for path in bodies {
        let body = fs::read(&path).unwrap();
        for response in [mutate_response(&body), validate_response(&body, ValidationMode::Deny)] {
            match response {
                Ok(_) => reviews += 1,
                Err(status) => assert!(status.is_client_error(), "{}: {status}", path.display()),
            }
        }
    }
    assert!(reviews > 0);
}
