//! Tests the back-end: whether SnapHook can be reached and knows the contract's path. No checkpoint is requested.

use reqwest::StatusCode;

use super::finding::{Finding, Topic};
use snapwatcher_backends::snaphook::{Contract, SnapHook, SnapHookProbe, SnapHookSettings};
use snapwatcher_daemon::telemetry::error_chain;

/// Evaluates SnapHook's response to a `GET` of the path to which checkpoint requests are posted.
pub(super) fn evaluate(url: &str, contract: Contract, probe: &SnapHookProbe) -> Finding {
    let what = format!("back-end snaphook at {url}, contract {contract}");
    let failed = |seen: &str, remedy: &str| Finding::failed(Topic::Backend, &what, seen, remedy.to_owned());
    let warning = |seen: &str, remedy: &str| Finding::warning(Topic::Backend, &what, seen, remedy.to_owned());
    let compare = "compare --snap-back-api-url and --snap-back-api-contract with the server";
    let status = match probe {
        SnapHookProbe::Answered(status) => *status,
        SnapHookProbe::BadToken(message) => {
            return failed(message, "put a token into the file of --snap-back-api-token-file, or remove the flag");
        }
        SnapHookProbe::Untrusted(message) => {
            return failed(message, "set the flag, or replace the certificate, as the message says");
        }
        SnapHookProbe::Unreachable(message) => {
            return failed(message, "see that SnapHook runs and that SNAP_BACK_API_URL is its address");
        }
        SnapHookProbe::NoResponse(message) => return warning(message, "read SnapHook's log"),
    };
    let response = format!("responds {status} to a GET");
    match status {
        // RFC 9110, 15.5.6: the server knows the path, but not with this method.
        StatusCode::METHOD_NOT_ALLOWED => {
            Finding::ok(Topic::Backend, what, "reachable, and its path rejects GET as a path for checkpoints does")
        }
        StatusCode::NOT_FOUND => warning(&format!("{response}: it may not have this path"), compare),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            failed(&response, "put a valid token into the file of --snap-back-api-token-file")
        }
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            warning(&format!("{response}: it is busy"), "nothing, if it passes; otherwise read SnapHook's log")
        }
        status if status.is_redirection() => warning(
            &format!("{response}: SnapWatcher does not follow redirects"),
            "set SNAP_BACK_API_URL to the address that it redirects to",
        ),
        status if status.is_server_error() => warning(&response, "read SnapHook's log"),
        _ => warning(&format!("{response}: it may be another server"), compare),
    }
}

/// The finding for back-end `log`, which sends no requests.
pub(super) fn dry_run() -> Finding {
    Finding::skipped(Topic::Backend, "back-end log", "no requests are sent: eligible pods are only logged")
}

/// The finding for `--suspend`.
pub(super) fn suspended() -> Finding {
    let remedy = "to resume, remove --suspend (SNAPWATCHER_SUSPEND)".to_owned();
    let seen = "suspended by --suspend: Checkpoints are created, and no requests are sent";
    Finding::warning(Topic::Backend, "back-end", seen, remedy)
}

/// The finding for secrets that are sent without encryption, if there are any.
fn plain_http(settings: &SnapHookSettings) -> Option<Finding> {
    let exposed = settings.exposed_by_plain_http()?;
    let seen = format!("SNAP_BACK_API_URL is an http URL: anyone on the way to SnapHook can read {exposed}");
    let remedy = "use an https URL and, if its CA is not public, --snap-back-api-ca-file".to_owned();
    Some(Finding::warning(Topic::Backend, "back-end snaphook, encryption", seen, remedy))
}

pub(super) async fn check(settings: SnapHookSettings) -> Vec<Finding> {
    let mut findings: Vec<_> = plain_http(&settings).into_iter().collect();
    findings.push(probe(settings).await);
    findings
}

async fn probe(settings: SnapHookSettings) -> Finding {
    let contract = settings.contract;
    match SnapHook::new(settings) {
        Ok(snaphook) => evaluate(snaphook.display_url(), contract, &snaphook.probe().await),
        Err(error) => {
            let remedy = "correct the setting: SnapWatcher does not start with it".to_owned();
            Finding::failed(Topic::Backend, "back-end snaphook", error_chain(&error), remedy)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::finding::State;
    use super::*;

    #[test]
    fn the_response_to_get_shows_whether_the_path_is_known() {
        for (status, state, words) in [
            (405, State::Ok, "rejects GET"),
            (404, State::Warning, "may not have this path"),
            (200, State::Warning, "another server"),
            (301, State::Warning, "does not follow"),
            (400, State::Warning, "another server"),
            (401, State::Failed, "401"),
            (403, State::Failed, "403"),
            (429, State::Warning, "busy"),
            (500, State::Warning, "500"),
            (503, State::Warning, "busy"),
        ] {
            let probe = SnapHookProbe::Answered(StatusCode::from_u16(status).unwrap());
            let finding = evaluate("http://snap", Contract::default(), &probe);
            assert_eq!(finding.state, state, "{status}: {finding:?}");
            assert!(finding.seen.contains(words), "{status}: {finding:?}");
            assert_eq!(finding.remedy.is_none(), state == State::Ok, "{status}");
        }
    }

    #[test]
    fn a_back_end_that_gives_no_response_is_reported_with_the_cause() {
        for (probe, state) in [
            (SnapHookProbe::BadToken("words".to_owned()), State::Failed),
            (SnapHookProbe::Untrusted("words".to_owned()), State::Failed),
            (SnapHookProbe::Unreachable("words".to_owned()), State::Failed),
            (SnapHookProbe::NoResponse("words".to_owned()), State::Warning),
        ] {
            let finding = evaluate("http://snap", Contract::default(), &probe);
            assert_eq!((finding.state, finding.seen.as_str()), (state, "words"));
        }
        assert_eq!(dry_run().state, State::Skipped);
    }

    #[test]
    fn secrets_over_plain_http_are_a_warning() {
        let settings = |url: &str, contract| SnapHookSettings {
            url: url.parse().unwrap(),
            contract,
            kube_api_address: String::new(),
            cluster_name: None,
            request_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_secs(1),
            token_file: None,
            ca_file: None,
        };
        let finding = plain_http(&settings("http://snap", Contract::SnapapiPodSpec)).unwrap();
        assert_eq!(finding.state, State::Warning);
        assert!(finding.seen.contains("the environment variables of pods"), "{finding:?}");
        assert!(finding.remedy.is_some_and(|remedy| remedy.contains("https")));
        assert!(plain_http(&settings("http://snap", Contract::KubeletCheckpoint)).is_none());
        assert!(plain_http(&settings("https://bob:x@snap", Contract::SnapapiPodSpec)).is_none());
    }
}
