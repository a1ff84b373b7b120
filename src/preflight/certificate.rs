//! The certificate from files, where one is given: what `run` would read of it at its start.

use jiff::Timestamp;

use super::finding::{Finding, Topic};
use snapwatcher_certificates::{CertificateError, TlsSource};
use snapwatcher_daemon::clock;
use snapwatcher_daemon::telemetry::error_chain;

/// Reads the files; nothing where the program makes its certificate itself.
pub(super) async fn look(source: &TlsSource) -> Option<Finding> {
    let TlsSource::Files { certificate, .. } = source else { return None };
    let read = source.not_after().await.transpose()?;
    Some(verdict(&format!("certificate in `{}`", certificate.display()), read, clock::now()))
}

fn verdict(what: &str, read: Result<Timestamp, CertificateError>, now: Timestamp) -> Finding {
    let failed = |seen: String, remedy: &str| Finding::failed(Topic::Certificate, what, seen, remedy.to_owned());
    match read {
        Err(error) => failed(error_chain(&error), "mend the file, or name another: SnapWatcher does not start with it"),
        Ok(end) if end <= now => failed(format!("expired at {end}"), "renew it; it is read again every minute"),
        Ok(end) => Finding::ok(Topic::Certificate, what, format!("can be served with, until {end}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::State;
    use snapwatcher_certificates::write_development_certificates;

    #[tokio::test]
    async fn files_are_judged_as_at_a_start() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        for folder in &folders {
            write_development_certificates(folder.path(), &["localhost".to_owned()], false, clock::now()).unwrap();
        }
        let [one, other] = &folders;
        std::fs::write(one.path().join("junk"), "junk").unwrap();
        for (certificate, key, expected) in [
            (one.path().join("tls.crt"), one, Ok("can be served with, until 20")),
            (one.path().join("missing"), one, Err("could not read")),
            (one.path().join("junk"), one, Err("contains no certificate in PEM form")),
            (one.path().join("tls.crt"), other, Err("does not belong to the first certificate")),
        ] {
            let finding = look(&TlsSource::Files { certificate, key: key.path().join("tls.key") }).await.unwrap();
            let (state, words) = match expected {
                Ok(words) => (State::Ok, words),
                Err(words) => (State::Failed, words),
            };
            assert_eq!(finding.state, state, "{finding:?}");
            assert!(finding.seen.contains(words), "{words}: {finding:?}");
        }
    }

    #[test]
    fn an_expired_certificate_fails() {
        let now = clock::now();
        assert_eq!(verdict("certificate", Ok(now), now).state, State::Failed);
    }
}
