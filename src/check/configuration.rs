//! Tests the two webhook configurations: whether they exist, and whether they have a `caBundle`.

use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use kube::{Api, Client};

use super::finding::{Finding, Topic};
use snapwatcher_certificates::ConfigurationKind;
use snapwatcher_daemon::telemetry::error_chain;
use snapwatcher_kubernetes::cluster::{CallError, call};

/// The configuration that a flag names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NamedConfiguration {
    pub(super) kind: ConfigurationKind,
    pub(super) name: String,
    /// Whether SnapWatcher updates the `caBundle`. Otherwise the user does.
    pub(super) updates_ca_bundle: bool,
}

/// The configuration as it was read.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ConfigurationRead {
    Absent,
    /// The servers that its webhooks call.
    Found(Vec<WebhookClientConfig>),
    Unreadable(String),
}

/// Evaluates the configuration.
pub(super) fn evaluate(named: &NamedConfiguration, read: &ConfigurationRead) -> Finding {
    let NamedConfiguration { kind, name, updates_ca_bundle } = named;
    let what = format!("{} configuration `{name}`", kind.as_str());
    let failed = |seen: &str, remedy: String| Finding::failed(Topic::Configuration, &what, seen, remedy);
    let clients = match read {
        ConfigurationRead::Absent => {
            let remedy = format!("install it, or set {} to the name of the installed one", kind.flag());
            return failed("there is no object of that name", remedy);
        }
        ConfigurationRead::Unreadable(message) => {
            return failed(message, "grant the right to get it, see above".to_owned());
        }
        ConfigurationRead::Found(clients) if clients.is_empty() => {
            return failed("it has no webhook", "install it as docs/running.md shows it".to_owned());
        }
        ConfigurationRead::Found(clients) => clients,
    };
    let bundles = clients.iter().filter(|client| has_bundle(client)).count();
    if bundles == clients.len() {
        return Finding::ok(Topic::Configuration, what, format!("{} with a caBundle", counted(clients.len())));
    }
    if *updates_ca_bundle {
        let remedy = format!(
            "start SnapWatcher with {} {name}, which writes the caBundle. If SnapWatcher runs, the check `ca-bundle` of \
             /readyz?verbose shows why it did not",
            kind.flag()
        );
        return failed("it has no caBundle, so the API server cannot verify the webhook", remedy);
    }
    let seen = "it has no caBundle, so the API server verifies the webhook by the CAs of its own machine".to_owned();
    let remedy = "write the CA of --tls-cert into the caBundle, unless the API server's machine trusts it".to_owned();
    Finding::warning(Topic::Configuration, what, seen, remedy)
}

/// The finding if no flag names a configuration.
pub(super) fn unnamed(kind: ConfigurationKind) -> Finding {
    let what = format!("{} configuration", kind.as_str());
    let effect = match kind {
        ConfigurationKind::Mutating => "SnapWatcher updates no caBundle for `/mutate`",
        ConfigurationKind::Validating => "SnapWatcher updates no caBundle for `/validate`",
    };
    let seen = format!("{} is not set: {effect}", kind.flag());
    Finding::skipped(Topic::Configuration, what, seen)
}

fn has_bundle(client: &WebhookClientConfig) -> bool {
    client.ca_bundle.as_ref().is_some_and(|bundle| !bundle.0.is_empty())
}

fn counted(webhooks: usize) -> String {
    if webhooks == 1 { "one webhook".to_owned() } else { format!("{webhooks} webhooks") }
}

pub(super) async fn read(client: &Client, named: &NamedConfiguration) -> ConfigurationRead {
    let NamedConfiguration { kind, name, .. } = named;
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
        Ok(Some(clients)) => ConfigurationRead::Found(clients),
        Ok(None) => ConfigurationRead::Absent,
        Err(error) => ConfigurationRead::Unreadable(error_chain(&error)),
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
    fn a_configuration_has_to_exist_and_to_have_a_ca_bundle() {
        let named = |updates_ca_bundle| NamedConfiguration {
            kind: ConfigurationKind::Mutating,
            name: "snapwatcher".to_owned(),
            updates_ca_bundle,
        };
        for (case, updates_ca_bundle, found, state, words) in [
            ("valid", true, ConfigurationRead::Found(vec![client(Some("PEM"))]), State::Ok, "one webhook with"),
            ("absent", true, ConfigurationRead::Absent, State::Failed, "no object of that name"),
            ("not allowed", true, ConfigurationRead::Unreadable("forbidden".to_owned()), State::Failed, "forbidden"),
            ("empty", true, ConfigurationRead::Found(Vec::new()), State::Failed, "no webhook"),
            ("untouched", true, ConfigurationRead::Found(vec![client(None)]), State::Failed, "no caBundle"),
            ("an empty bundle", true, ConfigurationRead::Found(vec![client(Some(""))]), State::Failed, "no caBundle"),
            (
                "one of two",
                true,
                ConfigurationRead::Found(vec![client(Some("PEM")), client(None)]),
                State::Failed,
                "no caBundle",
            ),
            (
                "updated by the user",
                false,
                ConfigurationRead::Found(vec![client(None)]),
                State::Warning,
                "CAs of its own machine",
            ),
        ] {
            let finding = evaluate(&named(updates_ca_bundle), &found);
            assert_eq!(finding.state, state, "{case}: {finding:?}");
            assert!(finding.seen.contains(words), "{case}: {finding:?}");
        }
    }

    #[test]
    fn an_absent_configuration_is_reported_with_its_flag() {
        for kind in ConfigurationKind::ALL {
            let named = NamedConfiguration { kind, name: "x".to_owned(), updates_ca_bundle: true };
            assert!(evaluate(&named, &ConfigurationRead::Absent).remedy.unwrap().contains(kind.flag()));
            assert!(unnamed(kind).seen.contains(kind.flag()));
        }
    }
}
