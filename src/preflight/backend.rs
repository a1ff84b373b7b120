//! Who takes checkpoints: whether SnapHook can be reached and knows the contract's path. No checkpoint is asked for.

use reqwest::StatusCode;

use super::finding::{Finding, Topic};
use snapwatcher_backends::snaphook::{Contract, SnapHook, SnapHookProbe, SnapHookSettings};
use snapwatcher_daemon::telemetry::error_chain;

/// Judges what SnapHook answered to a `GET` of the path to which checkpoints are posted.
pub(super) fn verdict(url: &str, contract: Contract, probe: &SnapHookProbe) -> Finding {
    let what = format!("back-end snaphook at {url}, contract {contract}");
    let failed = |seen: &str, remedy: &str| Finding::failed(Topic::Backend, &what, seen, remedy.to_owned());
    let warning = |seen: &str, remedy: &str| Finding::warning(Topic::Backend, &what, seen, remedy.to_owned());
    let compare = "compare --snap-back-api-url and --snap-back-api-contract with the server that is asked";
    let status = match probe {
        SnapHookProbe::Answered(status) => *status,
        SnapHookProbe::BadToken(words) => {
            return failed(words, "put a token into the file of --snap-back-api-token-file, or leave the flag out");
        }
        SnapHookProbe::Unreachable(words) => {
            return failed(
                words,
                "see that SnapHook runs and SNAP_BACK_API_URL is its address; for TLS --snap-back-api-ca-file",
            );
        }
        SnapHookProbe::NoResponse(words) => return warning(words, "look at SnapHook's log"),
    };
    let answers = format!("answers {status} to a GET");
    match status {
        // RFC 9110, 15.5.6: the path is known, the method is not one of it.
        StatusCode::METHOD_NOT_ALLOWED => {
            Finding::ok(Topic::Backend, what, "reachable, and its path takes no GET, as a path for checkpoints should")
        }
        StatusCode::NOT_FOUND => warning(&format!("{answers}: it may have no such path"), compare),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            failed(&answers, "give a valid token by --snap-back-api-token-file")
        }
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            warning(&format!("{answers}: it is busy"), "nothing, if it passes; else look at SnapHook's log")
        }
        status if status.is_redirection() => {
            warning(&format!("{answers}: redirects are not followed"), "give the address that it redirects to")
        }
        status if status.is_server_error() => warning(&answers, "look at SnapHook's log"),
        _ => warning(&format!("{answers}: it may be another server"), compare),
    }
}

/// The dry run, which asks nobody.
pub(super) fn nobody() -> Finding {
    Finding::skipped(Topic::Backend, "back-end log", "nobody is asked: what would be asked is only logged")
}

pub(super) async fn look(settings: SnapHookSettings) -> Finding {
    let contract = settings.contract;
    match SnapHook::new(settings) {
        Ok(snaphook) => verdict(snaphook.display_url(), contract, &snaphook.probe().await),
        Err(error) => {
            let remedy = "mend the setting: SnapWatcher does not start with it".to_owned();
            Finding::failed(Topic::Backend, "back-end snaphook", error_chain(&error), remedy)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;

    #[test]
    fn an_answer_to_get_tells_whether_the_path_is_known() {
        for (status, state, words) in [
            (405, State::Ok, "takes no GET"),
            (404, State::Warning, "no such path"),
            (200, State::Warning, "another server"),
            (301, State::Warning, "not followed"),
            (400, State::Warning, "another server"),
            (401, State::Failed, "401"),
            (403, State::Failed, "403"),
            (429, State::Warning, "busy"),
            (500, State::Warning, "500"),
            (503, State::Warning, "busy"),
        ] {
            let probe = SnapHookProbe::Answered(StatusCode::from_u16(status).unwrap());
            let finding = verdict("http://snap", Contract::default(), &probe);
            assert_eq!(finding.state, state, "{status}: {finding:?}");
            assert!(finding.seen.contains(words), "{status}: {finding:?}");
            assert_eq!(finding.remedy.is_none(), state == State::Ok, "{status}");
        }
    }

    #[test]
    fn one_that_can_not_be_asked_is_told_with_the_words_why() {
        for (probe, state) in [
            (SnapHookProbe::BadToken("words".to_owned()), State::Failed),
            (SnapHookProbe::Unreachable("words".to_owned()), State::Failed),
            (SnapHookProbe::NoResponse("words".to_owned()), State::Warning),
        ] {
            let finding = verdict("http://snap", Contract::default(), &probe);
            assert_eq!((finding.state, finding.seen.as_str()), (state, "words"));
        }
        assert_eq!(nobody().state, State::Skipped);
    }
}
