use std::time::Duration;

use super::*;
use serde_json::json;

use crate::redact::KnownSecrets;

const URL: &str = "http://snap-back-api/kubelet/checkpoint";
const NODE: &str = "worker-node-1";

fn now() -> Timestamp {
    "2025-01-01T00:00:00Z".parse().unwrap()
}

fn response(status: u16, body: &str) -> BackendResponse {
    let status = StatusCode::from_u16(status).unwrap();
    BackendResponse {
        status,
        retry_after_header: None,
        body: body.to_owned(),
        sent: KnownSecrets::default(),
        is_readable: true,
    }
}

fn outcome_of(response: &BackendResponse) -> Outcome {
    outcome(response, false, URL, NODE, now())
}

fn words(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Succeeded(_) => "",
        Outcome::Failed { message, .. } => message.as_str(),
    }
}

#[test]
fn each_row_of_the_table_has_its_outcome() {
    for (status, body, expected) in [
        (200, r#"{"success": true}"#, "Succeeded"),
        (200, r#"{"success": true, "message": "done", "checkpoint_path": null}"#, "Succeeded"),
        (200, r#"{"status": "started"}"#, "Succeeded"),
        (200, "{}", "Succeeded"),
        (200, "", "Succeeded"),
        (200, " \r\n", "Succeeded"),
        (201, r#"{"success": true}"#, "Succeeded"),
        (204, "", "Succeeded"),
        (200, "checkpoint done", "InvalidResponse"),
        (200, "<html></html>", "InvalidResponse"),
        (200, r#"{"success": tru"#, "InvalidResponse"),
        (200, r#"{"success": true} {"success": true}"#, "InvalidResponse"),
        (200, r#"[{"success": true}]"#, "InvalidResponse"),
        (200, "null", "InvalidResponse"),
        (200, "true", "InvalidResponse"),
        (200, r#"{"success": "true"}"#, "InvalidResponse"),
        (200, r#"{"success": 1}"#, "InvalidResponse"),
        (200, r#"{"success": null}"#, "InvalidResponse"),
        (202, r#"{"success": false}"#, "InvalidResponse"),
        (200, r#"{"success": false}"#, "BackendFailed"),
        (200, r#"{"success": false, "message": "criu failed"}"#, "BackendFailed"),
        (500, r#"{"success": true}"#, "BackendError"),
        (500, "Internal Server Error", "BackendError"),
        (502, "<html></html>", "BackendError"),
        (504, "", "BackendError"),
        (408, "", "BackendError"),
        (425, "", "BackendError"),
        (401, "", "Unauthorized"),
        (403, r#"{"detail": "Not authenticated"}"#, "Unauthorized"),
        (403, r#"{"detail": "Invalid token"}"#, "Unauthorized"),
        (403, "RBAC: access denied", "Unauthorized"),
        (403, r#"{"detail": "namespace shop is not allowed"}"#, "PodForbidden"),
        (404, r#"{"detail": "Not Found"}"#, "EndpointNotFound"),
        (404, r#"{"error": "not found"}"#, "EndpointNotFound"),
        (404, "<html>404 Not Found</html>", "EndpointNotFound"),
        (404, r#"{"message": "pod web-0 was not found"}"#, "PodNotFound"),
        (429, "", "Busy"),
        (503, "", "Busy"),
        (400, "", "Rejected"),
        (405, "", "Rejected"),
        (409, "", "Rejected"),
        (422, r#"{"detail": [{"loc": ["body", "pod_spec"], "msg": "field required"}]}"#, "Rejected"),
        (301, "", "Rejected"),
        (307, "", "Rejected"),
        (304, "", "Rejected"),
    ] {
        assert_eq!(outcome_of(&response(status, body)).as_str(), expected, "{status} {body}");
    }
}

#[test]
fn every_status_has_an_outcome() {
    for status in 100..=999 {
        let expected = match status {
            200..=299 => "Succeeded",
            401 | 403 => "Unauthorized",
            404 => "EndpointNotFound",
            429 | 503 => "Busy",
            408 | 425 | 500..=599 => "BackendError",
            300..=499 => "Rejected",
            _ => "InvalidResponse",
        };
        assert_eq!(outcome_of(&response(status, "")).as_str(), expected, "{status}");
    }
}

#[test]
fn a_success_that_is_cut_or_not_utf8_is_a_bad_response() {
    let unreadable = BackendResponse { is_readable: false, ..response(200, r#"{"success": true}"#) };
    assert_eq!(outcome_of(&unreadable).as_str(), "InvalidResponse");
    assert_eq!(outcome_of(&BackendResponse { is_readable: false, ..response(500, "oh") }).as_str(), "BackendError");
}

#[test]
fn a_success_has_the_location_of_the_checkpoint() {
    let located = |body: &str| match outcome_of(&response(200, body)) {
        Outcome::Succeeded(location) => location,
        failed @ Outcome::Failed { .. } => panic!("{failed}"),
    };
    let path = "/var/lib/kubelet/checkpoints/checkpoint-web-5f4d7c9b8d-x2k4z_shop-web-2025-01-01T00:00:00Z.tar";
    assert_eq!(
        located(&format!(r#"{{"success": true, "checkpoint_path": "{path}"}}"#)),
        Location { archive: Some(path.to_owned()), node: Some(NODE.to_owned()), ..Location::default() }
    );
    let image = "registry:5000/snap/web@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    assert_eq!(
        located(&format!(r#"{{"image_tag": "{image}"}}"#)),
        Location { image: Some(image.to_owned()), ..Location::default() }
    );
    assert_eq!(
        located(r#"{"image_tag": "docker://bob:hunter2@registry/web:1"}"#).image.as_deref(),
        Some("docker://[redacted]@registry/web:1")
    );
    for odd in [r#""""#, "null", "7", r#"["a"]"#, r#""a\nb""#, &format!(r#""{}""#, "a".repeat(1025))] {
        assert_eq!(located(&format!(r#"{{"image_tag": {odd}, "checkpoint_path": {odd}}}"#)), Location::default());
    }
}

#[test]
fn the_location_of_a_checkpoint_has_no_signature() {
    for (place, expected) in [
        ("https://a.blob.core.windows.net/c/x.tar?sv=1&sig=hunter2X", "https://a.blob.core.windows.net/c/x.tar"),
        ("https://s3/b/x.tar?X-Amz-Signature=hunter2X", "https://s3/b/x.tar"),
        ("https://s3/b/x.tar%3Fsig%3Dhunter2X", "https://s3/b/x.tar"),
        ("s3://b/x.tar#token=hunter2X", "s3://b/x.tar"),
        ("s3://b/x.tar&sig=hunter2X", "s3://b/x.tar"),
        ("https://bob:a?hunter2X@s3/b/x.tar", "https://[redacted]@s3/b/x.tar"),
    ] {
        for key in ["checkpoint_path", "image_tag"] {
            let Outcome::Succeeded(location) = outcome_of(&response(200, &json!({key: place}).to_string())) else {
                panic!("{place}");
            };
            assert_eq!(location.archive.or(location.image).as_deref(), Some(expected), "{key}");
        }
    }
}

#[test]
fn a_message_says_what_to_do_and_what_snaphook_answered() {
    for (status, body, expected) in [
        (
            500,
            "Internal Server Error",
            "SnapHook at http://snap-back-api/kubelet/checkpoint answered 500 Internal Server Error: Internal Server Error",
        ),
        (
            404,
            r#"{"detail": "Not Found"}"#,
            "SnapHook at http://snap-back-api/kubelet/checkpoint answered 404 Not Found (check `--snap-back-api-url` and `--snap-back-api-contract`): Not Found",
        ),
        (503, "", "SnapHook at http://snap-back-api/kubelet/checkpoint answered 503 Service Unavailable"),
        (
            200,
            r#"{"success": false, "message": "criu failed"}"#,
            "SnapHook at http://snap-back-api/kubelet/checkpoint failed: criu failed",
        ),
        (
            200,
            r#"{"success": false}"#,
            "SnapHook at http://snap-back-api/kubelet/checkpoint failed: it gives no reason",
        ),
        (
            200,
            "done",
            "SnapHook at http://snap-back-api/kubelet/checkpoint answered 200 OK, but the response is not a JSON object: done",
        ),
    ] {
        assert_eq!(words(&outcome_of(&response(status, body))), expected);
    }
}

#[test]
fn a_message_holds_no_secret() {
    let said = "Command 'curl -k -X POST --header Authorization: Bearer abc123 https://kubernetes/api' failed";
    for body in [said.to_owned(), serde_json::json!({"success": false, "message": said}).to_string()] {
        for status in [200, 400, 401, 404, 500, 503] {
            let outcome = outcome_of(&response(status, &body));
            assert!(!words(&outcome).contains("abc123"), "{outcome}");
            assert!(words(&outcome).contains("https://kubernetes/api"), "{outcome}");
        }
    }
}

#[test]
fn a_retry_after_is_kept_within_limits() {
    for (value, expected) in [
        ("7", Some(7)),
        (" 7 ", Some(7)),
        ("0", Some(0)),
        ("301", Some(300)),
        ("99999999999999999999999", Some(300)),
        ("Wed, 01 Jan 2025 00:00:30 GMT", Some(30)),
        ("Wed, 01 Jan 2025 09:00:00 GMT", Some(300)),
        ("Tue, 31 Dec 2024 23:59:59 GMT", Some(0)),
        ("", None),
        ("-7", None),
        ("1.5", None),
        ("soon", None),
    ] {
        let outcome = outcome_of(&BackendResponse { retry_after_header: Some(value.to_owned()), ..response(503, "") });
        let Outcome::Failed { retry_after, .. } = outcome else { panic!("{outcome}") };
        assert_eq!(retry_after, expected.map(Duration::from_secs), "{value}");
    }
}
