//! Any bytes as the body of a review: an answer with the request's own uid, or a refusal; never a panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use snapwatcher_admission::{ValidationMode, answer_to_mutate, answer_to_validate};

fuzz_target!(|body: &[u8]| {
    let answers = [
        answer_to_mutate(body),
        answer_to_validate(body, ValidationMode::Warn),
        answer_to_validate(body, ValidationMode::Deny),
    ];
    for answer in answers {
        let answer = match answer {
            Ok(answer) => answer,
            Err(status) => {
                assert!(status.is_client_error(), "{status}");
                continue;
            }
        };
        let answer: Value = serde_json::from_slice(&answer).expect("an answer is JSON");
        assert_eq!(answer["kind"], "AdmissionReview");
        assert_eq!(answer["apiVersion"], "admission.k8s.io/v1");
        assert!(answer["response"]["allowed"].is_boolean());
        // What we skip may be deeper, and its numbers larger, than this reader takes.
        if let Ok(review) = serde_json::from_slice::<Value>(body) {
            assert_eq!(answer["response"]["uid"], review["request"]["uid"]);
        }
    }
});
