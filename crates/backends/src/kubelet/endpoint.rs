//! Where a node's kubelet listens, and whether it is to be asked now: read live from its Node object.

use std::fmt;
use std::net::Ipv6Addr;

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Api, Client};
use reqwest::Url;
use serde::{Deserialize, Serialize};

use crate::NotSent;
use snapwatcher_api::outcome::Reason;
use snapwatcher_daemon::telemetry::error_chain;
use snapwatcher_kubernetes::cluster::{CallError, call};

/// Types of addresses in the order in which they are taken: one that needs no look-up of a name comes first.
const ADDRESS_TYPES: [&str; 3] = ["InternalIP", "Hostname", "ExternalIP"];

/// Where kubelets listen that do not say where.
const DEFAULT_PORT: u16 = 10250;

/// Reads nodes.
pub(super) struct Nodes(Api<ReadNode>);

/// The kubelet of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    node: String,
    base: Url,
}

/// A Node as the API server has it, with just the fields that are read.
#[derive(Debug, Clone, Serialize, Deserialize, kube::Resource)]
#[resource(inherit = Node)]
pub(super) struct ReadNode {
    metadata: ObjectMeta,
    #[serde(default)]
    status: Status,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    conditions: Vec<Condition>,
    addresses: Vec<Address>,
    daemon_endpoints: DaemonEndpoints,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Condition {
    r#type: String,
    status: String,
    #[serde(default)]
    message: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Address {
    r#type: String,
    address: String,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DaemonEndpoints {
    kubelet_endpoint: Endpoint,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Endpoint {
    #[serde(rename = "Port")]
    port: i64,
}

impl Nodes {
    pub(super) fn new(client: Client) -> Self {
        Self(Api::all(client))
    }

    /// The kubelet of that node, if it is to be asked now.
    pub(super) async fn place(&self, name: &str) -> Result<Place, NotSent> {
        match call(format!("read node `{name}`"), self.0.get(name)).await {
            Ok(node) => place(name, &node),
            Err(error) => Err(unread(name, &error)),
        }
    }
}

impl Place {
    /// The kubelet in words.
    pub(super) fn whom(&self) -> String {
        format!("the kubelet of node `{}`", self.node)
    }

    /// Its address for people.
    pub(super) fn shown(&self) -> String {
        self.base.origin().ascii_serialization()
    }

    /// What is asked for a checkpoint of a container, given as namespace, pod and container.
    pub(super) fn url(&self, container: [&str; 3], timeout_seconds: u64) -> Url {
        let mut url = self.base.clone();
        // An https URL has segments.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.clear().push("checkpoint").extend(container);
        }
        url.query_pairs_mut().append_pair("timeout", &timeout_seconds.to_string());
        url
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.address.parse::<Ipv6Addr>().is_ok() {
            write!(f, "[{}]", self.address)
        } else {
            f.write_str(&self.address)
        }
    }
}

fn place(name: &str, node: &ReadNode) -> Result<Place, NotSent> {
    let Status { conditions, addresses, daemon_endpoints } = &node.status;
    let condition = |wanted: &str| conditions.iter().find(|condition| condition.r#type == wanted);
    let holds = |condition: Option<&Condition>| condition.is_some_and(|condition| condition.status == "True");
    let unreachable = |why: String| Err(NotSent(Reason::Unreachable, why));
    let ready = condition("Ready");
    if !holds(ready) {
        let message = ready.map(|ready| ready.message.as_str()).unwrap_or_default();
        return unreachable(format!("node `{name}` is not Ready{}", after_colon(message)));
    }
    let pressure = condition("DiskPressure");
    if holds(pressure) {
        let message = pressure.map(|pressure| pressure.message.as_str()).unwrap_or_default();
        let words = "has DiskPressure, so no checkpoint is put on its disk until that is over";
        return Err(NotSent(Reason::DiskPressure, format!("node `{name}` {words}{}", after_colon(message))));
    }
    let address = ADDRESS_TYPES
        .iter()
        .find_map(|wanted| addresses.iter().find(|address| address.r#type == *wanted && !address.address.is_empty()));
    let Some(address) = address else {
        return unreachable(format!("node `{name}` has no address of type {}", ADDRESS_TYPES.join(", ")));
    };
    let port = daemon_endpoints.kubelet_endpoint.port;
    let port = u16::try_from(port).ok().filter(|port| *port != 0).unwrap_or(DEFAULT_PORT);
    match format!("https://{address}:{port}").parse() {
        Ok(base) => Ok(Place { node: name.to_owned(), base }),
        Err(error) => unreachable(format!("node `{name}` has an address that can't be used, `{address}`: {error}")),
    }
}

fn unread(name: &str, error: &CallError) -> NotSent {
    if error.is_not_found() {
        return NotSent(Reason::Unreachable, format!("there is no node `{name}` any more"));
    }
    match error.status().map(|status| status.code) {
        Some(401 | 403) => NotSent(
            Reason::Unauthorized,
            format!("{}; SnapWatcher needs the right `get` on `nodes`", error_chain(error)),
        ),
        _ => NotSent(Reason::Unreachable, error_chain(error)),
    }
}

fn after_colon(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(change: &Value) -> ReadNode {
        let mut node = json!({
            "metadata": {"name": "n1"},
            "status": {
                "conditions": [{"type": "Ready", "status": "True"}, {"type": "DiskPressure", "status": "False"}],
                "addresses": [
                    {"type": "ExternalIP", "address": "203.0.113.7"},
                    {"type": "Hostname", "address": "n1.example"},
                    {"type": "InternalIP", "address": "10.0.0.7"},
                    {"type": "InternalIP", "address": "fd00::7"},
                ],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": 10350}},
            },
        });
        for (key, value) in change.as_object().unwrap() {
            node["status"][key] = value.clone();
        }
        serde_json::from_value(node).unwrap()
    }

    fn refused(change: &Value) -> (Reason, String) {
        let NotSent(reason, message) = place("n1", &node(change)).unwrap_err();
        (reason, message)
    }

    #[test]
    fn addresses_are_taken_by_type_and_ports_as_told() {
        let addresses = |pairs: &[(&str, &str)]| json!({"addresses": pairs.iter().map(|(kind, address)| json!({"type": kind, "address": address})).collect::<Vec<_>>()});
        for (change, expected) in [
            (json!({}), "https://10.0.0.7:10350"),
            (addresses(&[("ExternalIP", "203.0.113.7"), ("Hostname", "n1.example")]), "https://n1.example:10350"),
            (addresses(&[("ExternalDNS", "n1.test"), ("ExternalIP", "203.0.113.7")]), "https://203.0.113.7:10350"),
            (addresses(&[("InternalIP", "fd00::7")]), "https://[fd00::7]:10350"),
            (addresses(&[("InternalIP", ""), ("Hostname", "n1")]), "https://n1:10350"),
            (json!({"daemonEndpoints": {}}), "https://10.0.0.7:10250"),
            (json!({"daemonEndpoints": {"kubeletEndpoint": {"Port": 0}}}), "https://10.0.0.7:10250"),
            (json!({"daemonEndpoints": {"kubeletEndpoint": {"Port": 443}}}), "https://10.0.0.7"),
        ] {
            assert_eq!(place("n1", &node(&change)).unwrap().shown(), expected, "{change}");
        }
    }

    #[test]
    fn a_node_that_is_not_to_be_asked_says_why() {
        let conditions = |kind: &str, status: &str| {
            let ready = if kind == "Ready" { status } else { "True" };
            json!({"conditions": [
                {"type": "Ready", "status": ready, "message": "the words of Ready"},
                {"type": "DiskPressure", "status": if kind == "Ready" { "False" } else { status }, "message": "disk"},
            ]})
        };
        for status in ["False", "Unknown"] {
            let (reason, message) = refused(&conditions("Ready", status));
            assert_eq!(reason, Reason::Unreachable);
            assert_eq!(message, "node `n1` is not Ready: the words of Ready");
        }
        assert_eq!(refused(&json!({"conditions": []})).1, "node `n1` is not Ready");
        let (reason, message) = refused(&conditions("DiskPressure", "True"));
        assert_eq!(reason, Reason::DiskPressure);
        assert!(message.ends_with("until that is over: disk"), "{message}");
        let (reason, message) = refused(&json!({"addresses": []}));
        assert_eq!((reason, message.contains("InternalIP, Hostname, ExternalIP")), (Reason::Unreachable, true));
        let (reason, message) = refused(&json!({"addresses": [{"type": "Hostname", "address": "no host"}]}));
        assert_eq!((reason, message.contains("`no host`")), (Reason::Unreachable, true), "{message}");
    }

    #[test]
    fn a_container_is_named_in_the_path_whatever_its_name() {
        let place = place("n1", &node(&json!({}))).unwrap();
        let url = place.url(["shop", "web-0", "app"], 120);
        assert_eq!(url.as_str(), "https://10.0.0.7:10350/checkpoint/shop/web-0/app?timeout=120");
        let url = place.url(["shop", "a/../b", "c?d"], 1);
        assert_eq!(url.as_str(), "https://10.0.0.7:10350/checkpoint/shop/a%2F..%2Fb/c%3Fd?timeout=1");
    }

    #[test]
    fn a_node_that_cannot_be_read_is_told_by_its_cause() {
        let failed = |code: u16| {
            let status = kube::core::Status::failure("words", "Reason").with_code(code).boxed();
            CallError::Failed { what: "read node `n1`".into(), source: Box::new(kube::Error::Api(status)) }
        };
        let told = |error: &CallError| {
            let NotSent(reason, message) = unread("n1", error);
            (reason, message)
        };
        assert_eq!(told(&failed(404)), (Reason::Unreachable, "there is no node `n1` any more".to_owned()));
        let (reason, message) = told(&failed(403));
        assert_eq!(reason, Reason::Unauthorized);
        assert!(message.contains("words") && message.ends_with("the right `get` on `nodes`"), "{message}");
        assert_eq!(told(&failed(500)).0, Reason::Unreachable);
    }
}
