//! The webhook as an API server reaches it: by the name that the configuration calls, verified by the bundle in it.
//!
//! `GET /healthz` on the HTTPS port, which asks nobody for anything.

mod dial;

use std::collections::BTreeSet;

use k8s_openapi::api::admissionregistration::v1::WebhookClientConfig;
use reqwest::{StatusCode, Url};

use super::finding::{Finding, Topic};
use snapwatcher_admission::HEALTH;
use snapwatcher_certificates::ConfigurationKind;

pub(super) use dial::dial;

/// Where a Service is called when its reference names no port, see
/// <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#service-reference>.
const DEFAULT_PORT: i32 = 443;

/// Whom a configuration calls, and by what it verifies them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    pub(super) url: Url,
    /// PEM.
    pub(super) bundle: Vec<u8>,
    /// Whether it is called as a Service, whose name is looked up in the cluster only.
    pub(super) is_service: bool,
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Dialled {
    Answered(StatusCode),
    /// The bundle holds no certificate that can be used.
    BadBundle(String),
    /// The server's certificate can't be verified by the bundle.
    Untrusted(String),
    NoSuchHost(String),
    Unreachable(String),
}

/// Each server that the webhooks call, once; those without a bundle are told by their configuration.
pub(super) fn targets(clients: &[WebhookClientConfig]) -> Vec<Target> {
    let targets: BTreeSet<Target> = clients.iter().filter_map(target).collect();
    targets.into_iter().collect()
}

fn target(client: &WebhookClientConfig) -> Option<Target> {
    let bundle = client.ca_bundle.as_ref().map(|bundle| bundle.0.clone()).filter(|bundle| !bundle.is_empty())?;
    let (address, is_service) = match (&client.service, &client.url) {
        (Some(service), _) => {
            let port = service.port.unwrap_or(DEFAULT_PORT);
            (format!("https://{}.{}.svc:{port}", service.name, service.namespace), true)
        }
        (None, Some(url)) => (url.clone(), false),
        (None, None) => return None,
    };
    let mut url: Url = address.parse().ok()?;
    url.set_path(HEALTH);
    url.set_query(None);
    url.set_fragment(None);
    Some(Target { url, bundle, is_service })
}

/// Judges a call. Outside a cluster the name of a Service means nothing.
pub(super) fn verdict(kind: ConfigurationKind, target: &Target, dialled: &Dialled, is_in_cluster: bool) -> Finding {
    let what = format!("webhook of the {} configuration at {}", kind.as_str(), target.url);
    let failed = |seen: &str, remedy: &str| Finding::failed(Topic::Webhook, &what, seen, remedy.to_owned());
    match dialled {
        Dialled::Answered(status) if status.is_success() => {
            Finding::ok(Topic::Webhook, what, "answers, and its certificate is verified by the caBundle")
        }
        Dialled::Answered(status) => failed(
            &format!("answers {status}, which SnapWatcher never does"),
            "see that the configuration calls SnapWatcher and nobody else",
        ),
        Dialled::BadBundle(words) => failed(
            &format!("the caBundle can't be used: {words}"),
            "take the caBundle out of the configuration: a running SnapWatcher puts its own there",
        ),
        Dialled::Untrusted(words) => failed(
            &format!("its certificate can't be verified by the caBundle: {words}"),
            "see that SnapWatcher runs with this configuration's name, its --service-name and --service-namespace; \
             whoever else writes the caBundle has to leave it alone. The check `trust` of /readyz?verbose says more",
        ),
        Dialled::NoSuchHost(words) if target.is_service && !is_in_cluster => {
            let remedy = "check in the cluster: kubectl exec -n snap deploy/snapwatcher -- /snapwatcher check";
            let seen = format!("the name of a Service means nothing outside the cluster ({words})");
            Finding::new(Topic::Webhook, what, super::State::Skipped, seen, Some(remedy.to_owned()))
        }
        Dialled::NoSuchHost(words) => failed(words, "see that this Service or host exists"),
        Dialled::Unreachable(words) => failed(
            words,
            "see that SnapWatcher runs and is ready, that the Service selects its pods and sends the port to 8443, and \
             that no NetworkPolicy is in the way",
        ),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use serde_json::json;

    use super::super::finding::State;
    use super::*;

    fn client(value: serde_json::Value) -> WebhookClientConfig {
        let mut client: WebhookClientConfig = serde_json::from_value(value).unwrap();
        client.ca_bundle = Some(ByteString(b"PEM".to_vec()));
        client
    }

    #[test]
    fn a_webhook_is_called_where_its_configuration_says() {
        for (value, url, is_service) in [
            (json!({"url": "https://127.0.0.1:8443/mutate"}), "https://127.0.0.1:8443/healthz", false),
            (json!({"url": "https://[::1]:8443/mutate?x=y#z"}), "https://[::1]:8443/healthz", false),
            (
                json!({"service": {"name": "web", "namespace": "snap", "path": "/mutate", "port": 8443}}),
                "https://web.snap.svc:8443/healthz",
                true,
            ),
            (json!({"service": {"name": "web", "namespace": "snap"}}), "https://web.snap.svc/healthz", true),
        ] {
            let [target] = targets(&[client(value)]).try_into().unwrap();
            assert_eq!((target.url.as_str(), target.is_service), (url, is_service));
        }
    }

    #[test]
    fn each_server_is_called_once_and_none_without_a_bundle() {
        let one = || client(json!({"url": "https://127.0.0.1:8443/mutate"}));
        let without = WebhookClientConfig { ca_bundle: None, ..one() };
        assert_eq!(targets(&[one(), client(json!({"url": "https://127.0.0.1:8443/other"})), without]).len(), 1);
        assert!(targets(&[client(json!({})), client(json!({"url": "nonsense"}))]).is_empty());
    }

    #[test]
    fn a_call_is_judged_by_what_came_of_it() {
        let words = || "words".to_owned();
        let service = client(json!({"service": {"name": "web", "namespace": "snap"}}));
        let host = client(json!({"url": "https://hook.example.org/mutate"}));
        for (case, client, dialled, is_in_cluster, state) in [
            ("all well", &service, Dialled::Answered(StatusCode::OK), true, State::Ok),
            ("somebody else", &service, Dialled::Answered(StatusCode::NOT_FOUND), true, State::Failed),
            ("no bundle", &service, Dialled::BadBundle(words()), true, State::Failed),
            ("foreign bundle", &service, Dialled::Untrusted(words()), true, State::Failed),
            ("nobody there", &service, Dialled::Unreachable(words()), true, State::Failed),
            ("no Service", &service, Dialled::NoSuchHost(words()), true, State::Failed),
            ("no cluster", &service, Dialled::NoSuchHost(words()), false, State::Skipped),
            ("no host", &host, Dialled::NoSuchHost(words()), false, State::Failed),
        ] {
            let [target] = targets(std::slice::from_ref(client)).try_into().unwrap();
            let finding = verdict(ConfigurationKind::Mutating, &target, &dialled, is_in_cluster);
            assert_eq!(finding.state, state, "{case}: {finding:?}");
            assert_eq!(finding.remedy.is_none(), state == State::Ok, "{case}");
        }
    }
}
