use std::time::Duration;

use super::*;
use crate::redact::KnownSecrets;

const ARCHIVE: &str = "/var/lib/kubelet/checkpoints/checkpoint-web-0_shop-app-2026-01-01T00:00:00Z.tar";

fn request() -> Request<'static> {
    Request {
        kubelet: "the kubelet of node `n1`".to_owned(),
        node: "n1",
        identity: "system:serviceaccount:snap:snapwatcher-kubelet",
    }
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
    outcome(response, &request(), "2026-01-01T00:00:00Z".parse().unwrap())
}

fn failure(words: &str) -> String {
    format!("checkpointing of shop/web-0/app failed ({words})")
}

#[test]
fn each_row_of_the_table_has_its_outcome() {
    let taken = format!(r#"{{"items":["{ARCHIVE}"]}}"#);
    let failed = failure("rpc error: code = Unknown desc = criu failed: type NOTIFY errno 0");
    let no_criu = failure("rpc error: code = Unknown desc = checkpoint/restore support not available");
    let unsupported = failure("rpc error: code = Unimplemented desc = unknown method CheckpointContainer");
    for (status, body, expected) in [
        (200, taken.as_str(), "Succeeded"),
        (200, r#"{"items":[]}"#, "InvalidResponse"),
        (200, r#"{"items":[""]}"#, "InvalidResponse"),
        (200, r#"{"items":[1]}"#, "InvalidResponse"),
        (200, r#"{"items":"x"}"#, "InvalidResponse"),
        (200, "{}", "InvalidResponse"),
        (200, "", "InvalidResponse"),
        (200, "ok", "InvalidResponse"),
        (202, taken.as_str(), "InvalidResponse"),
        (204, "", "InvalidResponse"),
        (401, "Unauthorized", "Unauthorized"),
        (403, "Forbidden (user=x, verb=create, resource=nodes, subresource(s)=[checkpoint])", "Unauthorized"),
        (404, "404 page not found\n", "CheckpointApiDisabled"),
        (404, "404: Page Not Found", "CheckpointApiDisabled"),
        (404, "", "CheckpointApiDisabled"),
        (404, "pod does not exist", "PodNotOnNode"),
        (404, "container app does not exist", "NoSuchContainer"),
        (405, "Debug endpoints are disabled.", "CheckpointApiDisabled"),
        (429, "", "Busy"),
        (503, "", "Busy"),
        (500, failed.as_str(), "CheckpointFailed"),
        (500, no_criu.as_str(), "NodeNotPrepared"),
        (500, unsupported.as_str(), "CheckpointUnsupported"),
        (500, "Authorization error (user=x, verb=create, resource=nodes, subresource=checkpoint)", "Unauthorized"),
        (500, "recover from panic situation", "BackendError"),
        (501, "", "BackendError"),
        (502, "<html></html>", "BackendError"),
        (408, "", "BackendError"),
        (425, "", "BackendError"),
        (400, "Bad Request", "Rejected"),
        (422, "", "Rejected"),
        (302, "", "Rejected"),
        (600, "", "InvalidResponse"),
    ] {
        let outcome = outcome_of(&response(status, body));
        assert_eq!(outcome.as_str(), expected, "{status} {body}: {outcome}");
    }
}

#[test]
fn a_checkpoint_has_a_location() {
    let outcome = outcome_of(&response(200, &format!(r#"{{"items":["{ARCHIVE}"]}}"#)));
    let location = Location { archive: Some(ARCHIVE.to_owned()), node: Some("n1".to_owned()), ..Location::default() };
    assert_eq!(outcome, Outcome::Succeeded(location));
}

#[test]
fn a_body_that_was_cut_off_is_not_parsed() {
    let outcome = outcome_of(&BackendResponse { is_readable: false, ..response(200, r#"{"items":["/a"]}"#) });
    assert_eq!(outcome.as_str(), "InvalidResponse");
}

#[test]
fn a_failure_says_what_to_do() {
    let forbidden = "Forbidden (user=system:serviceaccount:snap:snapwatcher-kubelet, verb=create, resource=nodes, \
                     subresource(s)=[checkpoint])";
    for (status, body, words) in [
        (
            403,
            forbidden,
            &["system:serviceaccount:snap:snapwatcher-kubelet needs the right `create` on `nodes/checkpoint`"][..],
        ),
        (401, "Unauthorized", &["does not accept the token of system:serviceaccount:snap:snapwatcher-kubelet"]),
        (404, "404 page not found", &["`ContainerCheckpoint`", "`enableDebuggingHandlers`", "404 page not found"]),
        (404, "pod does not exist", &["does not know the pod yet", "404 Not Found: pod does not exist"]),
        (500, &failure("criu binary not found in shim path"), &["install CRIU on the node", "shim path"]),
        (500, &failure("rpc error: code = Unimplemented desc = x"), &["does not support checkpoints", "Unimplemented"]),
        (500, &failure("criu failed: type NOTIFY errno 0"), &["failed to take the checkpoint", "type NOTIFY errno 0"]),
    ] {
        let outcome = outcome_of(&response(status, body)).to_string();
        for word in words.iter().chain(&["the kubelet of node `n1`"]) {
            assert!(outcome.contains(word), "{word} in: {outcome}");
        }
    }
}

#[test]
fn a_secret_in_a_response_is_removed_and_the_advice_is_not_cut_off() {
    let long = format!("criu binary not found; Authorization: Bearer abcdefgh12345678 {}", "x ".repeat(2000));
    let outcome = outcome_of(&response(500, &failure(&long))).to_string();
    assert!(outcome.contains("install CRIU on the node"), "{outcome}");
    assert!(!outcome.contains("abcdefgh12345678"), "{outcome}");
}

#[test]
fn a_retry_after_of_the_kubelet_is_kept() {
    let busy = BackendResponse { retry_after_header: Some("7".to_owned()), ..response(429, "") };
    let Outcome::Failed { retry_after, .. } = outcome_of(&busy) else { panic!("it is no success") };
    assert_eq!(retry_after, Some(Duration::from_secs(7)));
}
