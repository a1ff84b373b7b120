//! Services and DNS names on the node: kube-proxy and CoreDNS. Pods reach each other as in any cluster, and the API
//! server reaches a webhook by its Service.
//!
//! This machine has a route to the range of Services. The route goes to the node, whose kube-proxy rules forward to a
//! pod. All rules belong to the node's network namespace and end with it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use k8s_openapi::api::core::v1::{Namespace, Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use kube::Client;
use kube::api::{Api, ObjectMeta};
use serde_json::{Value, json};

use crate::create::create_if_missing;
use crate::network::Network;

/// The DNS server of pods. CoreDNS listens on the address of their bridge.
pub(super) fn name_server(network: Network) -> Ipv4Addr {
    network.pods().1
}

/// kube-proxy's configuration.
pub(super) fn kube_proxy(network: Network, node: &str) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "hostnameOverride": node,
        "clientConnection": {"kubeconfig": "/etc/kubernetes/kube-proxy.kubeconfig"},
        "clusterCIDR": network.pods().0,
        // Pods share a bridge. Without masquerading, a pod would answer directly and the client would not know its
        // address.
        "nftables": {"masqueradeAll": true},
        // These settings belong to the whole machine and cannot be set in a network namespace.
        "conntrack": {
            "maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s",
            "udpTimeout": "0s", "udpStreamTimeout": "0s",
        },
    })
}

/// CoreDNS's configuration: only the names of the cluster.
pub(super) fn core_dns(network: Network) -> String {
    format!(
        "cluster.local in-addr.arpa {{\n    bind {}\n    errors\n    ready {}\n    \
         kubernetes cluster.local in-addr.arpa {{\n        kubeconfig /etc/kubernetes/coredns.kubeconfig\n        \
         pods insecure\n    }}\n    cache 2\n}}\n",
        name_server(network),
        core_dns_ready(network),
    )
}

/// The address of CoreDNS's readiness check.
pub(super) fn core_dns_ready(network: Network) -> SocketAddr {
    (name_server(network), 8181).into()
}

/// Creates a Service whose endpoint is a port of this machine, and its namespace if it is missing.
///
/// `to` must be this machine's address as the node sees it (`RealNode::host_address`).
pub async fn route_service_to_host(
    client: &Client,
    namespace: &str,
    name: &str,
    port: u16,
    to: SocketAddr,
) -> kube::Result<()> {
    let metadata = ObjectMeta { name: Some(namespace.to_owned()), ..ObjectMeta::default() };
    create_if_missing(&Api::all(client.clone()), &Namespace { metadata, ..Namespace::default() }).await?;
    create_if_missing(&Api::namespaced(client.clone(), namespace), &service(name, port, to.port())).await?;
    create_if_missing(&Api::namespaced(client.clone(), namespace), &endpoints(name, to)).await
}

fn service(name: &str, port: u16, target: u16) -> Service {
    // A Service without a selector keeps the endpoints that the lab creates.
    let port = ServicePort {
        port: i32::from(port),
        target_port: Some(k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::Int(i32::from(target))),
        ..ServicePort::default()
    };
    Service {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        spec: Some(ServiceSpec { ports: Some(vec![port]), ..ServiceSpec::default() }),
        ..Service::default()
    }
}

fn endpoints(service: &str, to: SocketAddr) -> EndpointSlice {
    let kind = match to.ip() {
        IpAddr::V4(_) => "IPv4",
        IpAddr::V6(_) => "IPv6",
    };
    EndpointSlice {
        metadata: ObjectMeta {
            name: Some(format!("{service}-lab")),
            labels: Some([("kubernetes.io/service-name".to_owned(), service.to_owned())].into()),
            ..ObjectMeta::default()
        },
        address_type: kind.to_owned(),
        endpoints: vec![Endpoint { addresses: vec![to.ip().to_string()], ..Endpoint::default() }],
        ports: Some(vec![EndpointPort { port: Some(i32::from(to.port())), ..EndpointPort::default() }]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_to_this_machine_selects_no_pods() {
        let to: SocketAddr = "10.87.0.1:8090".parse().unwrap();
        let spec = service("snap-back-api", 80, to.port()).spec.unwrap();
        assert_eq!((spec.selector, spec.ports.unwrap()[0].port), (None, 80));
        let slice = endpoints("snap-back-api", to);
        assert_eq!(slice.metadata.labels.unwrap()["kubernetes.io/service-name"], "snap-back-api");
        assert_eq!(
            (slice.endpoints[0].addresses.as_slice(), slice.ports.unwrap()[0].port),
            (["10.87.0.1".to_owned()].as_slice(), Some(8090))
        );
    }

    #[test]
    fn pods_resolve_names_on_their_own_bridge() {
        assert!(core_dns(Network::Node(3)).contains("bind 10.88.3.1"));
    }
}
