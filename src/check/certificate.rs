//! Tests where the serving certificate comes from: the files of `--tls-cert`, as `run` does at its start, or the CA Secret.

use std::path::Path;

use jiff::Timestamp;

use super::finding::{Finding, Topic};
use snapwatcher_certificates::{CaSecretState, CertificateError, SecretReadError, TlsSource, ca_secret_state};
use snapwatcher_daemon::clock;
use snapwatcher_daemon::telemetry::error_chain;
use snapwatcher_kubernetes::cluster::Cluster;

/// Reads the files or the Secret.
pub(super) async fn check(source: &TlsSource, cluster: &Cluster) -> Option<Finding> {
    match source {
        TlsSource::Files { certificate, .. } => check_files(source, certificate).await,
        TlsSource::CaSecret { namespace, secret, .. } => {
            let state = ca_secret_state(cluster, namespace, secret).await;
            Some(evaluate_secret(&format!("CA Secret `{namespace}/{secret}`"), state))
        }
    }
}

fn evaluate_secret(what: &str, state: Result<CaSecretState, SecretReadError>) -> Finding {
    let topic = Topic::Certificate;
    match state {
        Ok(CaSecretState::Usable) => Finding::ok(topic, what, "contains a CA"),
        Ok(CaSecretState::Empty) => Finding::ok(topic, what, "is empty: SnapWatcher writes its CA when it starts"),
        Ok(CaSecretState::Unusable(why)) => {
            Finding::warning(topic, what, why.to_string(), "start SnapWatcher, which corrects it".to_owned())
        }
        Err(SecretReadError::Missing(missing)) => {
            Finding::failed(topic, what, "does not exist, and SnapWatcher never creates it", missing.remedy())
        }
        Err(SecretReadError::Call(error)) => {
            Finding::failed(topic, what, error_chain(&error), "grant the right to list it, see above".to_owned())
        }
    }
}

async fn check_files(source: &TlsSource, certificate: &Path) -> Option<Finding> {
    let read = source.not_after().await.transpose()?;
    Some(evaluate(&format!("certificate in `{}`", certificate.display()), read, clock::now()))
}

fn evaluate(what: &str, read: Result<Timestamp, CertificateError>, now: Timestamp) -> Finding {
    let failed = |seen: String, remedy: &str| Finding::failed(Topic::Certificate, what, seen, remedy.to_owned());
    match read {
        Err(error) => {
            failed(error_chain(&error), "correct the file, or name another: SnapWatcher does not start with it")
        }
        Ok(end) if end <= now => {
            failed(format!("expired at {end}"), "renew it. SnapWatcher reads the file again every minute")
        }
        Ok(end) => Finding::ok(Topic::Certificate, what, format!("can be used, and expires at {end}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::State;
    use snapwatcher_certificates::{MissingSecret, UnusableCa, write_development_certificates};

    #[tokio::test]
    async fn files_are_tested_as_at_a_start() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        for folder in &folders {
            write_development_certificates(folder.path(), &["localhost".to_owned()], false, clock::now()).unwrap();
        }
        let [one, other] = &folders;
        std::fs::write(one.path().join("junk"), "junk").unwrap();
        for (certificate, key, expected) in [
            (one.path().join("tls.crt"), one, Ok("can be used, and expires at 20")),
            (one.path().join("missing"), one, Err("could not read")),
            (one.path().join("junk"), one, Err("contains no certificate in PEM form")),
            (one.path().join("tls.crt"), other, Err("does not belong to the first certificate")),
        ] {
            let source = TlsSource::Files { certificate: certificate.clone(), key: key.path().join("tls.key") };
            let finding = check_files(&source, &certificate).await.unwrap();
            let (state, words) = match expected {
                Ok(words) => (State::Ok, words),
                Err(words) => (State::Failed, words),
            };
            assert_eq!(finding.state, state, "{finding:?}");
            assert!(finding.seen.contains(words), "{words}: {finding:?}");
        }
    }

    #[test]
    fn a_missing_secret_fails_with_the_commands_that_create_it() {
        let missing = MissingSecret { namespace: "snap".to_owned(), name: "ca".to_owned() };
        let finding = evaluate_secret("CA Secret", Err(missing.into()));
        assert_eq!(finding.state, State::Failed);
        let remedy = finding.remedy.unwrap();
        assert!(remedy.contains("helm upgrade"), "{remedy}");
        assert!(remedy.contains("kubectl create secret generic ca --namespace snap"), "{remedy}");
        for (state, expected) in [
            (CaSecretState::Empty, State::Ok),
            (CaSecretState::Usable, State::Ok),
            (CaSecretState::Unusable(UnusableCa::NoKey), State::Warning),
        ] {
            assert_eq!(evaluate_secret("CA Secret", Ok(state)).state, expected);
        }
    }

    #[test]
    fn an_expired_certificate_fails() {
        let now = clock::now();
        assert_eq!(evaluate("certificate", Ok(now), now).state, State::Failed);
    }
}
