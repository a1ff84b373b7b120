//! Any bytes as the body of a review: the response has the request's uid, or is a client error; the handler never panics.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use snapwatcher_admission::{ValidationMode, mutate_response, validate_response};

fuzz_target!(|body: &[u8]| {
    let responses = [
        mutate_response(body),
        validate_response(body, ValidationMode::Warn),
        validate_response(body, ValidationMode::Deny),
    ];
    for response in responses {
        let review = match response {
            Ok(review) => review,
            Err(status) => {
                assert!(status.is_client_error(), "{status}");
                continue;
            }
        };
        let review: Value = serde_json::from_slice(&review).expect("a response is JSON");
        assert_eq!(review["kind"], "AdmissionReview");
        assert_eq!(review["apiVersion"], "admission.k8s.io/v1");
        assert!(review["response"]["allowed"].is_boolean());
        // Ignored fields may be nested deeper, and have larger numbers, than `Value` accepts.
        if let Ok(request) = serde_json::from_slice::<Value>(body) {
            assert_eq!(review["response"]["uid"], request["request"]["uid"]);
        }
    }
});
