//! Where the kubelet of a node listens, and whether it may receive a request now: read live from the Node.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Api, Client};
use reqwest::Url;
use serde::{Deserialize, Serialize};

use snapwatcher_api::outcome::Reason;
use snapwatcher_api::quantity;
use snapwatcher_daemon::telemetry::error_chain;
use snapwatcher_kubernetes::cluster::{CallError, call};

use crate::failure::NotSent;

use super::settings::AddressType;

/// The port of a kubelet whose Node names none.
const DEFAULT_PORT: u16 = 10250;

/// Reads Nodes.
pub(super) struct Nodes {
    api: Api<ReadNode>,
    /// The types of addresses, the preferred one first.
    types: Vec<AddressType>,
}

/// The endpoint of one node's kubelet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KubeletEndpoint {
    node: String,
    base: Url,
    /// The memory of the node that pods can have, in bytes.
    memory: u64,
}

/// A Node object with just the fields that are read.
#[derive(Debug, Clone, Serialize, Deserialize, kube::Resource)]
#[resource(inherit = Node)]
pub(super) struct ReadNode {
    metadata: ObjectMeta,
    #[serde(default)]
    status: ReadNodeStatus,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ReadNodeStatus {
    conditions: Vec<ReadNodeCondition>,
    addresses: Vec<NodeAddress>,
    daemon_endpoints: DaemonEndpoints,
    allocatable: Allocatable,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Allocatable {
    memory: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct ReadNodeCondition {
    r#type: String,
    status: String,
    #[serde(default)]
    message: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct NodeAddress {
    r#type: String,
    address: String,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DaemonEndpoints {
    kubelet_endpoint: EndpointPort,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct EndpointPort {
    #[serde(rename = "Port")]
    port: i64,
}

impl Nodes {
    pub(super) fn new(client: Client, types: Vec<AddressType>) -> Self {
        Self { api: Api::all(client), types }
    }

    /// The kubelet of that node, if it may receive a request now.
    pub(super) async fn endpoint(&self, name: &str) -> Result<KubeletEndpoint, NotSent> {
        match call(format!("read node `{name}`"), self.api.get(name)).await {
            Ok(node) => endpoint(name, &node, &self.types),
            Err(error) => Err(node_not_read(name, &error)),
        }
    }
}

impl KubeletEndpoint {
    /// The kubelet, in messages.
    pub(super) fn label(&self) -> String {
        format!("the kubelet of node `{}`", self.node)
    }

    /// The memory of its node that pods can have, in bytes.
    pub(super) fn memory(&self) -> u64 {
        self.memory
    }

    /// Its host name or IP address, in messages.
    pub(super) fn host(&self) -> &str {
        self.base.host_str().unwrap_or_default()
    }

    /// Its address, in messages.
    pub(super) fn url(&self) -> String {
        self.base.origin().ascii_serialization()
    }

    /// The URL that takes a checkpoint of a container, given as namespace, pod and container.
    pub(super) fn checkpoint_url(&self, container: [&str; 3], timeout_seconds: u64) -> Url {
        let mut url = self.base.clone();
        // Never an error: an https URL has segments.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.clear().push("checkpoint").extend(container);
        }
        url.query_pairs_mut().append_pair("timeout", &timeout_seconds.to_string());
        url
    }
}

fn endpoint(name: &str, node: &ReadNode, types: &[AddressType]) -> Result<KubeletEndpoint, NotSent> {
    let ReadNodeStatus { conditions, addresses, daemon_endpoints, allocatable } = &node.status;
    let condition = |wanted: &str| conditions.iter().find(|condition| condition.r#type == wanted);
    let is_true = |condition: Option<&ReadNodeCondition>| condition.is_some_and(|condition| condition.status == "True");
    let unreachable = |message: String| Err(NotSent::new(Reason::Unreachable, message));
    let ready = condition("Ready");
    if !is_true(ready) {
        let message = ready.map(|ready| ready.message.as_str()).unwrap_or_default();
        return unreachable(format!("node `{name}` is not Ready{}", after_colon(message)));
    }
    let pressure = condition("DiskPressure");
    if is_true(pressure) {
        let message = pressure.map(|pressure| pressure.message.as_str()).unwrap_or_default();
        let message = format!(
            "node `{name}` has DiskPressure: no checkpoint is taken on it until its disk has space again{}",
            after_colon(message)
        );
        return Err(NotSent::new(Reason::DiskPressure, message));
    }
    let of_type = |wanted: &AddressType| {
        addresses.iter().find(|address| address.r#type == wanted.as_str() && !address.address.is_empty())
    };
    let Some(NodeAddress { address, .. }) = types.iter().find_map(of_type) else {
        let types: Vec<_> = types.iter().map(|wanted| wanted.as_str()).collect();
        return unreachable(format!("node `{name}` has no address of type {}", types.join(", ")));
    };
    let port = daemon_endpoints.kubelet_endpoint.port;
    let port = u16::try_from(port).ok().filter(|port| *port != 0).unwrap_or(DEFAULT_PORT);
    match base_url(address, port) {
        Some(base) => {
            // An unknown amount counts as more than any budget.
            let memory = quantity::bytes(&allocatable.memory).unwrap_or(u64::MAX);
            Ok(KubeletEndpoint { node: name.to_owned(), base, memory })
        }
        None => unreachable(format!(
            "node `{name}` has the invalid address `{address}`: it is no IP address and no host name"
        )),
    }
}

/// The URL of a kubelet. The address is set as a host and must stay as it is, so that no part of it is read as a user, a port
/// or a path.
fn base_url(address: &str, port: u16) -> Option<Url> {
    let mut url = Url::parse("https://node/").ok()?;
    if let Ok(ip) = address.parse::<IpAddr>() {
        url.set_ip_host(ip).ok()?;
    } else {
        url.set_host(Some(address)).ok()?;
        let stays = url.host_str().is_some_and(|host| host.eq_ignore_ascii_case(address));
        stays.then_some(())?;
    }
    url.set_port(Some(port)).ok()?;
    Some(url)
}

fn node_not_read(name: &str, error: &CallError) -> NotSent {
    if error.is_not_found() {
        return NotSent::new(Reason::Unreachable, format!("node `{name}` does not exist any more"));
    }
    match error.status().map(|status| status.code) {
        Some(401 | 403) => NotSent::new(
            Reason::Unauthorized,
            format!("{}; SnapWatcher needs the right `get` on `nodes`", error_chain(error)),
        ),
        _ => NotSent::new(Reason::Unreachable, error_chain(error)),
    }
}

fn after_colon(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const TYPES: [AddressType; 3] = [AddressType::InternalIP, AddressType::Hostname, AddressType::ExternalIP];

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

    fn not_sent(change: &Value) -> (Reason, String) {
        let NotSent { reason, message } = endpoint("n1", &node(change), &TYPES).unwrap_err();
        (reason, message)
    }

    #[test]
    fn an_address_is_chosen_by_type_and_a_port_as_the_node_names_it() {
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
            assert_eq!(endpoint("n1", &node(&change), &TYPES).unwrap().url(), expected, "{change}");
        }
    }

    #[test]
    fn the_first_type_that_is_preferred_and_exists_is_used() {
        use AddressType::{ExternalDNS, Hostname, InternalDNS, InternalIP};
        for (types, expected) in [
            (&[Hostname, InternalIP][..], "https://n1.example:10350"),
            (&[InternalDNS, ExternalDNS, InternalIP], "https://10.0.0.7:10350"),
        ] {
            assert_eq!(endpoint("n1", &node(&json!({})), types).unwrap().url(), expected);
        }
        let none = endpoint("n1", &node(&json!({})), &[InternalDNS, ExternalDNS]).unwrap_err();
        assert_eq!(none.message, "node `n1` has no address of type InternalDNS, ExternalDNS");
    }

    #[test]
    fn an_address_that_is_no_host_leads_nowhere_else() {
        for address in [
            "a@b",
            "b/x?",
            "b#",
            "b:80",
            "b\\x",
            "a%2eb",
            "fe80::1%eth0",
            "127.1",
            "0x7f.1",
            " b",
            "b c",
            "@",
            ":",
            "\u{2024}b",
        ] {
            let (reason, message) = not_sent(&json!({"addresses": [{"type": "Hostname", "address": address}]}));
            assert_eq!(reason, Reason::Unreachable);
            assert!(message.starts_with(&format!("node `n1` has the invalid address `{address}`: ")), "{message}");
        }
        let capitals = json!({"addresses": [{"type": "Hostname", "address": "N1.Example"}]});
        assert_eq!(endpoint("n1", &node(&capitals), &TYPES).unwrap().url(), "https://n1.example:10350");
    }

    #[test]
    fn a_node_that_receives_no_request_is_explained() {
        let conditions = |kind: &str, status: &str| {
            let ready = if kind == "Ready" { status } else { "True" };
            json!({"conditions": [
                {"type": "Ready", "status": ready, "message": "the message of Ready"},
                {"type": "DiskPressure", "status": if kind == "Ready" { "False" } else { status }, "message": "disk"},
            ]})
        };
        for status in ["False", "Unknown"] {
            let (reason, message) = not_sent(&conditions("Ready", status));
            assert_eq!(reason, Reason::Unreachable);
            assert_eq!(message, "node `n1` is not Ready: the message of Ready");
        }
        assert_eq!(not_sent(&json!({"conditions": []})).1, "node `n1` is not Ready");
        let (reason, message) = not_sent(&conditions("DiskPressure", "True"));
        assert_eq!(reason, Reason::DiskPressure);
        assert!(message.ends_with("until its disk has space again: disk"), "{message}");
        let (reason, message) = not_sent(&json!({"addresses": []}));
        assert_eq!((reason, message.contains("InternalIP, Hostname, ExternalIP")), (Reason::Unreachable, true));
        let (reason, message) = not_sent(&json!({"addresses": [{"type": "Hostname", "address": "no host"}]}));
        assert_eq!((reason, message.contains("`no host`")), (Reason::Unreachable, true), "{message}");
    }

    #[test]
    fn the_names_in_the_path_are_escaped() {
        let endpoint = endpoint("n1", &node(&json!({})), &TYPES).unwrap();
        let url = endpoint.checkpoint_url(["shop", "web-0", "app"], 120);
        assert_eq!(url.as_str(), "https://10.0.0.7:10350/checkpoint/shop/web-0/app?timeout=120");
        let url = endpoint.checkpoint_url(["shop", "a/../b", "c?d"], 1);
        assert_eq!(url.as_str(), "https://10.0.0.7:10350/checkpoint/shop/a%2F..%2Fb/c%3Fd?timeout=1");
    }

    #[test]
    fn a_node_that_cannot_be_read_is_explained_by_its_cause() {
        let failed = |code: u16| {
            let status = kube::core::Status::failure("words", "Reason").with_code(code).boxed();
            CallError::Failed { what: "read node `n1`".into(), source: Box::new(kube::Error::Api(status)) }
        };
        let explained = |error: &CallError| {
            let NotSent { reason, message } = node_not_read("n1", error);
            (reason, message)
        };
        assert_eq!(explained(&failed(404)), (Reason::Unreachable, "node `n1` does not exist any more".to_owned()));
        let (reason, message) = explained(&failed(403));
        assert_eq!(reason, Reason::Unauthorized);
        assert!(message.contains("words") && message.ends_with("the right `get` on `nodes`"), "{message}");
        assert_eq!(explained(&failed(500)).0, Reason::Unreachable);
    }
}
