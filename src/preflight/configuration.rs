//! The two webhook configurations: whether they are there, and whether they hold a CA bundle.

use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use kube::{Api, Client};

use super::finding::{Finding, Topic};
use snapwatcher_certificates::ConfigurationKind;
use snapwatcher_daemon::telemetry::error_chain;
use snapwatcher_kubernetes::cluster::{CallError, call};

/// Which configuration the settings name, and who keeps its `caBundle`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) kind: ConfigurationKind,
    pub(super) name: String,
    /// Whether the bundle is SnapWatcher's to keep; otherwise the user's.
    pub(super) keeps_bundle: bool,
}

/// What was read.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Found {
    Absent,
    /// Whom its webhooks call.
    Calling(Vec<WebhookClientConfig>),
    Unreadable(String),
}

/// Judges the configuration as it stands at the API server.
pub(super) fn verdict(wanted: &Wanted, found: &Found) -> Finding {
    let Wanted { kind, name, keeps_bundle } = wanted;
    let what = format!("{} configuration `{name}`", kind.as_str());
    let failed = |seen: &str, remedy: String| Finding::failed(Topic::Configuration, &what, seen, remedy);
    let clients = match found {
        Found::Absent => {
            let remedy = format!("install it, or name the one that is installed by {}", kind.flag());
            return failed("there is none of that name", remedy);
        }
        Found::Unreadable(words) => return failed(words, "grant the right to get it, see above".to_owned()),
        Found::Calling(clients) if clients.is_empty() => {
            return failed("it has no webhook", "install it as docs/running.md shows it".to_owned());
        }
        Found::Calling(clients) => clients,
    };
    let bundles = clients.iter().filter(|client| has_bundle(client)).count();
    if bundles == clients.len() {
        return Finding::ok(Topic::Configuration, what, format!("{} with a caBundle", counted(clients.len())));
    }
    if *keeps_bundle {
        let remedy = format!(
            "start SnapWatcher with {} {name}, which puts its CA there; if it runs: the check `bundle` of \
             /readyz?verbose says why it did not",
            kind.flag()
        );
        return failed("it has no caBundle, so the API server trusts nobody it calls", remedy);
    }
    let seen = "it has no caBundle, so the API server goes by the CAs of its own machine".to_owned();
    let remedy = "put the CA of --tls-cert there, unless it is one that the API server's machine trusts".to_owned();
    Finding::warning(Topic::Configuration, what, seen, remedy)
}

/// A configuration that the settings do not name.
pub(super) fn unnamed(kind: ConfigurationKind) -> Finding {
    let what = format!("{} configuration", kind.as_str());
    let effect = match kind {
        ConfigurationKind::Mutating => "no pod is labelled at its admission by this process",
        ConfigurationKind::Validating => "nobody is warned at admission of what can't be checkpointed",
    };
    let seen = format!("none is named by {}: {effect}", kind.flag());
    Finding::skipped(Topic::Configuration, what, seen)
}

fn has_bundle(client: &WebhookClientConfig) -> bool {
    client.ca_bundle.as_ref().is_some_and(|bundle| !bundle.0.is_empty())
}

fn counted(webhooks: usize) -> String {
    if webhooks == 1 { "one webhook".to_owned() } else { format!("{webhooks} webhooks") }
}

pub(super) async fn read(client: &Client, wanted: &Wanted) -> Found {
    let Wanted { kind, name, .. } = wanted;
    let what = format!("read {} configuration `{name}`", kind.as_str());
    let clients: Result<Option<Vec<WebhookClientConfig>>, CallError> = match kind {
        ConfigurationKind::Mutating => {
            let api: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
            call(what, api.get_opt(name))
                .await
                .map(|found| Some(found?.webhooks.into_iter().flatten().map(|webhook| webhook.client_config).collect()))
        }
        ConfigurationKind::Validating => {
            let api: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
            call(what, api.get_opt(name))
                .await
                .map(|found| Some(found?.webhooks.into_iter().flatten().map(|webhook| webhook.client_config).collect()))
        }
    };
    match clients {
        Ok(Some(clients)) => Found::Calling(clients),
        Ok(None) => Found::Absent,
        Err(error) => Found::Unreadable(error_chain(&error)),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::super::finding::State;
    use super::*;

    fn client(bundle: Option<&str>) -> WebhookClientConfig {
        let ca_bundle = bundle.map(|text| ByteString(text.as_bytes().to_vec()));
        WebhookClientConfig { ca_bundle, url: Some("https://127.0.0.1:8443/mutate".to_owned()), service: None }
    }

    #[test]
    fn a_configuration_has_to_be_there_and_hold_a_bundle() {
        let wanted =
            |keeps_bundle| Wanted { kind: ConfigurationKind::Mutating, name: "snapwatcher".to_owned(), keeps_bundle };
        for (case, keeps_bundle, found, state, words) in [
            ("as it should be", true, Found::Calling(vec![client(Some("PEM"))]), State::Ok, "one webhook with"),
            ("absent", true, Found::Absent, State::Failed, "none of that name"),
            ("not allowed", true, Found::Unreadable("forbidden".to_owned()), State::Failed, "forbidden"),
            ("empty", true, Found::Calling(Vec::new()), State::Failed, "no webhook"),
            ("untouched", true, Found::Calling(vec![client(None)]), State::Failed, "no caBundle"),
            ("an empty bundle", true, Found::Calling(vec![client(Some(""))]), State::Failed, "no caBundle"),
            ("one of two", true, Found::Calling(vec![client(Some("PEM")), client(None)]), State::Failed, "no caBundle"),
            ("the user's", false, Found::Calling(vec![client(None)]), State::Warning, "CAs of its own machine"),
        ] {
            let finding = verdict(&wanted(keeps_bundle), &found);
            assert_eq!(finding.state, state, "{case}: {finding:?}");
            assert!(finding.seen.contains(words), "{case}: {finding:?}");
        }
    }

    #[test]
    fn an_absent_configuration_is_told_with_its_flag() {
        for kind in ConfigurationKind::ALL {
            let wanted = Wanted { kind, name: "x".to_owned(), keeps_bundle: true };
            assert!(verdict(&wanted, &Found::Absent).remedy.unwrap().contains(kind.flag()));
            assert!(unnamed(kind).seen.contains(kind.flag()));
        }
    }
}
