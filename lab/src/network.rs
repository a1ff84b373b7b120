//! The addresses of one lab.
//!
//! Without a real node everything is on 127.0.0.1. A real node has a network namespace of its own, joined to this machine
//! by a pair of virtual links whose end here is called `swlabN`; the API server listens on that end, so that the node and
//! its pods reach it and nobody beyond this machine does. N tells labs apart that run side by side; all of it goes when
//! the namespace does.

use std::net::Ipv4Addr;

/// Labs with a real node that one machine can have at once.
pub(crate) const LABS: u8 = 64;

/// Which addresses a lab uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// No node that could want to call anybody.
    Loopback,
    /// The addresses of the lab of this number.
    Node(u8),
}

impl Network {
    /// Where the API server listens.
    pub(crate) fn host(self) -> Ipv4Addr {
        match self {
            Self::Loopback => Ipv4Addr::LOCALHOST,
            Self::Node(number) => Ipv4Addr::new(10, 87, number, 1),
        }
    }

    /// The node's InternalIP; nobody listens there where there is no node.
    pub(crate) fn node(self) -> Ipv4Addr {
        match self {
            Self::Loopback => Ipv4Addr::LOCALHOST,
            Self::Node(number) => Ipv4Addr::new(10, 87, number, 2),
        }
    }

    /// The name of the link's end on this machine.
    pub(crate) fn link(self) -> String {
        match self {
            Self::Loopback => "lo".to_owned(),
            Self::Node(number) => format!("swlab{number}"),
        }
    }

    /// The range of Services. Labs side by side have different ones, since this machine has a route to each.
    pub(crate) fn services(self) -> String {
        match self {
            Self::Loopback => "10.96.0.0/16".to_owned(),
            Self::Node(number) => format!("10.96.{number}.0/24"),
        }
    }

    /// The Service `kubernetes`: the first address of the range.
    pub(crate) fn api_service(self) -> Ipv4Addr {
        match self {
            Self::Loopback => Ipv4Addr::new(10, 96, 0, 1),
            Self::Node(number) => Ipv4Addr::new(10, 96, number, 1),
        }
    }

    /// The range of pods, and the bridge's address in it.
    pub(crate) fn pods(self) -> (String, Ipv4Addr) {
        let number = match self {
            Self::Loopback => 0,
            Self::Node(number) => number,
        };
        (format!("10.88.{number}.0/24"), Ipv4Addr::new(10, 88, number, 1))
    }

    /// The names and addresses by which the API server is called.
    pub(crate) fn api_server_names(self) -> Vec<String> {
        let names = ["", ".default", ".default.svc", ".default.svc.cluster.local"];
        let names = names.iter().map(|suffix| format!("kubernetes{suffix}")).chain(["localhost".to_owned()]);
        let addresses = [Ipv4Addr::LOCALHOST, self.host(), self.api_service()];
        let mut all: Vec<String> = names.chain(addresses.map(|address| address.to_string())).collect();
        all.dedup();
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labs_side_by_side_share_no_address() {
        let all = |number| {
            let network = Network::Node(number);
            [
                network.host().to_string(),
                network.node().to_string(),
                network.services(),
                network.pods().0,
                network.link(),
            ]
        };
        assert!(all(0).iter().zip(all(1)).all(|(one, other)| *one != other));
    }

    #[test]
    fn the_names_of_the_api_server_name_none_twice() {
        let names = Network::Loopback.api_server_names();
        assert_eq!(names.iter().filter(|name| *name == "127.0.0.1").count(), 1, "{names:?}");
        assert!(Network::Node(3).api_server_names().contains(&"10.96.3.1".to_owned()));
    }
}
