//! The bodies that fuzzing begins with and those that it has found: each gets an answer or a refusal.

use std::fs;
use std::path::Path;

use snapwatcher_admission::{ValidationMode, answer_to_mutate, answer_to_validate};

#[test]
fn each_body_that_fuzzing_kept_is_answered_or_refused() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let bodies_of = |name: &str| {
        let bodies: Vec<_> = fs::read_dir(corpus.join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!bodies.is_empty(), "{name}");
        bodies
    };
    let bodies = [bodies_of("review"), bodies_of("found")].concat();
    let mut answered = 0;
    for path in bodies {
        let body = fs::read(&path).unwrap();
        for answer in [answer_to_mutate(&body), answer_to_validate(&body, ValidationMode::Deny)] {
            match answer {
                Ok(_) => answered += 1,
                Err(status) => assert!(status.is_client_error(), "{}: {status}", path.display()),
            }
        }
    }
    assert!(answered > 0);
}
