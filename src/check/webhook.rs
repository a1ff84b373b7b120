//! Tests the webhook as an API server calls it: at the address in the configuration, verified by the `caBundle`.
//!
//! The test is a `GET /healthz` on the HTTPS port, which has no effect.

mod call;

use std::collections::BTreeSet;

use k8s_openapi::api::admissionregistration::v1::WebhookClientConfig;
use reqwest::{StatusCode, Url};

use super::configuration::NamedConfiguration;
use super::finding::{Finding, Topic};
use snapwatcher_admission::HEALTH;

pub(super) use call::call;

/// The port of a Service whose reference names none, see
/// <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#service-reference>.
const DEFAULT_PORT: i32 = 443;

/// A server that a configuration calls.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WebhookServer {
    pub(super) url: Url,
    /// The `caBundle`, in PEM.
    pub(super) ca_bundle: Vec<u8>,
    /// Whether it is called as a Service, whose name can only be resolved in the cluster.
    pub(super) is_service: bool,
}

/// The result of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CallResult {
    Responded(StatusCode),
    /// The `caBundle` contains no certificate that can be used.
    InvalidCaBundle(String),
    /// The `caBundle` does not verify the server's certificate.
    Untrusted(String),
    /// The server's certificate can't be verified here, but perhaps by the API server.
    UnsupportedAlgorithm {
        cause: String,
        remedy: &'static str,
    },
    NoSuchHost(String),
    Unreachable(String),
}

/// Each server that the webhooks call, once. Those without a `caBundle` are left out: the finding of their configuration
/// reports them.
pub(super) fn servers(clients: &[WebhookClientConfig]) -> Vec<WebhookServer> {
    let servers: BTreeSet<WebhookServer> = clients.iter().filter_map(server).collect();
    servers.into_iter().collect()
}

fn server(client: &WebhookClientConfig) -> Option<WebhookServer> {
    let ca_bundle = client.ca_bundle.as_ref().map(|bundle| bundle.0.clone()).filter(|bundle| !bundle.is_empty())?;
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
    Some(WebhookServer { url, ca_bundle, is_service })
}

/// The finding if this process serves no webhook.
pub(super) fn not_served() -> Finding {
    let seen = "--webhook is false: SnapWatcher needs no certificate, no CA Secret and no webhook configuration";
    Finding::skipped(Topic::Webhook, "webhook", seen)
}

/// Evaluates the result of a call. Outside the cluster, the name of a Service cannot be resolved.
pub(super) fn evaluate(
    named: &NamedConfiguration,
    server: &WebhookServer,
    result: &CallResult,
    is_in_cluster: bool,
) -> Finding {
    let what = format!("webhook of the {} configuration at {}", named.kind.as_str(), server.url);
    let failed = |seen: &str, remedy: &str| Finding::failed(Topic::Webhook, &what, seen, remedy.to_owned());
    match result {
        CallResult::Responded(status) if status.is_success() => {
            Finding::ok(Topic::Webhook, what, "responds, and the caBundle verifies its certificate")
        }
        CallResult::Responded(status) => failed(
            &format!("responds {status}, which SnapWatcher never does"),
            "see that the configuration calls SnapWatcher and no other server",
        ),
        CallResult::InvalidCaBundle(message) => failed(
            &format!("the caBundle can't be used: {message}"),
            if named.updates_ca_bundle {
                "remove the caBundle from the configuration: a running SnapWatcher writes its own"
            } else {
                "write the CA of --tls-cert into the caBundle, in PEM (chart: tls.caBundle)"
            },
        ),
        CallResult::Untrusted(message) => failed(
            &format!("the caBundle can't verify its certificate: {message}"),
            if named.updates_ca_bundle {
                "see that SnapWatcher runs with this configuration's name, --service-name and --service-namespace, and that no \
                 other program writes the caBundle. See also the check `ca-trust` of /readyz?verbose"
            } else {
                "see that the caBundle (chart: tls.caBundle) has the CA of the certificate that --tls-cert names, and that this \
                 certificate has the name that the API server calls"
            },
        ),
        CallResult::UnsupportedAlgorithm { cause, remedy } => {
            let seen = format!("its certificate can't be verified here: {cause}. The API server may support it");
            let remedy = format!("see that new labeled pods get the label `mutated`; if they do not, {remedy}");
            Finding::warning(Topic::Webhook, what, seen, remedy)
        }
        CallResult::NoSuchHost(message) if server.is_service && !is_in_cluster => {
            let remedy = "run the check in the cluster: kubectl exec -n snap deploy/snapwatcher -- /snapwatcher check";
            let seen = format!("the name of a Service can only be resolved in the cluster ({message})");
            Finding::new(Topic::Webhook, what, super::State::Skipped, seen, Some(remedy.to_owned()))
        }
        CallResult::NoSuchHost(message) => failed(message, "see that this Service or host exists"),
        CallResult::Unreachable(message) => failed(
            message,
            "see that SnapWatcher runs and is Ready, that the Service selects its pods and has target port 8443, and that \
             no NetworkPolicy blocks the call",
        ),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use serde_json::json;

    use super::super::finding::State;
    use super::*;
    use snapwatcher_certificates::ConfigurationKind;

    fn client(value: serde_json::Value) -> WebhookClientConfig {
        let mut client: WebhookClientConfig = serde_json::from_value(value).unwrap();
        client.ca_bundle = Some(ByteString(b"PEM".to_vec()));
        client
    }

    fn named(updates_ca_bundle: bool) -> NamedConfiguration {
        NamedConfiguration { kind: ConfigurationKind::Mutating, name: "snapwatcher".to_owned(), updates_ca_bundle }
    }

    #[test]
    fn a_webhook_is_called_at_the_address_in_its_configuration() {
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
            let [server] = servers(&[client(value)]).try_into().unwrap();
            assert_eq!((server.url.as_str(), server.is_service), (url, is_service));
        }
    }

    #[test]
    fn each_server_is_called_once_and_none_without_a_ca_bundle() {
        let one = || client(json!({"url": "https://127.0.0.1:8443/mutate"}));
        let without = WebhookClientConfig { ca_bundle: None, ..one() };
        assert_eq!(servers(&[one(), client(json!({"url": "https://127.0.0.1:8443/other"})), without]).len(), 1);
        assert!(servers(&[client(json!({})), client(json!({"url": "nonsense"}))]).is_empty());
    }

    #[test]
    fn a_call_is_evaluated_by_its_result() {
        let message = || "message".to_owned();
        let service = client(json!({"service": {"name": "web", "namespace": "snap"}}));
        let host = client(json!({"url": "https://hook.example.org/mutate"}));
        for (case, client, result, is_in_cluster, state) in [
            ("verified", &service, CallResult::Responded(StatusCode::OK), true, State::Ok),
            ("another server", &service, CallResult::Responded(StatusCode::NOT_FOUND), true, State::Failed),
            ("no bundle", &service, CallResult::InvalidCaBundle(message()), true, State::Failed),
            ("foreign bundle", &service, CallResult::Untrusted(message()), true, State::Failed),
            (
                "only the API server can verify it",
                &service,
                CallResult::UnsupportedAlgorithm { cause: message(), remedy: "remedy" },
                true,
                State::Warning,
            ),
            ("unreachable", &service, CallResult::Unreachable(message()), true, State::Failed),
            ("no Service", &service, CallResult::NoSuchHost(message()), true, State::Failed),
            ("no cluster", &service, CallResult::NoSuchHost(message()), false, State::Skipped),
            ("no host", &host, CallResult::NoSuchHost(message()), false, State::Failed),
        ] {
            let [server] = servers(std::slice::from_ref(client)).try_into().unwrap();
            let finding = evaluate(&named(true), &server, &result, is_in_cluster);
            assert_eq!(finding.state, state, "{case}: {finding:?}");
            assert_eq!(finding.remedy.is_none(), state == State::Ok, "{case}");
        }
    }

    #[test]
    fn who_writes_the_ca_bundle_is_advised_to_correct_it() {
        let [server] = servers(&[client(json!({"url": "https://127.0.0.1:8443/mutate"}))]).try_into().unwrap();
        for result in [CallResult::InvalidCaBundle("message".to_owned()), CallResult::Untrusted("message".to_owned())] {
            let remedy = |updates| evaluate(&named(updates), &server, &result, true).remedy.unwrap();
            assert!(
                remedy(false).contains("--tls-cert") && remedy(false).contains("tls.caBundle"),
                "{}",
                remedy(false)
            );
            assert!(!remedy(true).contains("--tls-cert"), "{}", remedy(true));
        }
    }
}
