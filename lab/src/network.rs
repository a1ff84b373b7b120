//! The addresses of one lab.
//!
//! Without a real node everything listens on 127.0.0.1. A real node has its own network namespace. A pair of virtual
//! links connects the namespace to this machine; the end on this machine is called `swlabN`. The API server listens on
//! the address of that end, so that the node and its pods reach it. Other machines have no route to the address. A
//! neighbor that adds such a route reaches the API server, which requires credentials. N is the number of the lab. The
//! lab chooses a number whose address ranges are not routed on this machine yet. All links and routes end with the
//! namespace.

use std::net::Ipv4Addr;

/// Limit of labs with a real node on one machine.
pub(crate) const LABS: u8 = 64;

/// The addresses of a lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// Loopback only, for fake nodes.
    Loopback,
    /// The addresses of the lab with this number.
    Node(u8),
}

impl Network {
    /// The address on which the API server listens.
    pub(crate) fn host(self) -> Ipv4Addr {
        match self {
            Self::Loopback => Ipv4Addr::LOCALHOST,
            Self::Node(number) => Ipv4Addr::new(10, 87, number, 1),
        }
    }

    /// The node's InternalIP. Without a real node nothing listens there.
    pub(crate) fn node(self) -> Ipv4Addr {
        match self {
            Self::Loopback => Ipv4Addr::LOCALHOST,
            Self::Node(number) => Ipv4Addr::new(10, 87, number, 2),
        }
    }

    /// Whether one of these routes overlaps an address range of this lab.
    pub(crate) fn is_routed(self, routes: &[Range]) -> bool {
        let number = match self {
            Self::Loopback => return false,
            Self::Node(number) => number,
        };
        let ours = [(87, 30), (88, 24), (96, 24)].map(|(net, length)| Range::of([10, net, number, 0], length));
        ours.iter().any(|one| routes.iter().any(|route| one.overlaps(*route)))
    }

    /// The name of the link's end on this machine.
    pub(crate) fn link(self) -> String {
        match self {
            Self::Loopback => "lo".to_owned(),
            Self::Node(number) => format!("swlab{number}"),
        }
    }

    /// The range of Services. This machine has a route to it, so each lab has another one.
    pub(crate) fn services(self) -> String {
        match self {
            Self::Loopback => "10.96.0.0/16".to_owned(),
            Self::Node(number) => format!("10.96.{number}.0/24"),
        }
    }

    /// The address of the Service `kubernetes`, the first of the range.
    pub(crate) fn api_service(self) -> Ipv4Addr {
        match self {
            Self::Loopback => Ipv4Addr::new(10, 96, 0, 1),
            Self::Node(number) => Ipv4Addr::new(10, 96, number, 1),
        }
    }

    /// The range of pods and the bridge's address in it.
    pub(crate) fn pods(self) -> (String, Ipv4Addr) {
        let number = match self {
            Self::Loopback => 0,
            Self::Node(number) => number,
        };
        (format!("10.88.{number}.0/24"), Ipv4Addr::new(10, 88, number, 1))
    }

    /// The names and addresses in the API server's certificate.
    pub(crate) fn api_server_names(self) -> Vec<String> {
        let names = ["", ".default", ".default.svc", ".default.svc.cluster.local"];
        let names = names.iter().map(|suffix| format!("kubernetes{suffix}")).chain(["localhost".to_owned()]);
        let addresses = [Ipv4Addr::LOCALHOST, self.host(), self.api_service()];
        let mut all: Vec<String> = names.chain(addresses.map(|address| address.to_string())).collect();
        all.dedup();
        all
    }
}

/// The addresses of one route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    first: u32,
    mask: u32,
}

impl Range {
    fn of(first: [u8; 4], length: u32) -> Self {
        Self { first: u32::from_be_bytes(first), mask: u32::MAX.checked_shl(32 - length).unwrap_or(0) }
    }

    fn overlaps(self, other: Self) -> bool {
        (self.first ^ other.first) & self.mask & other.mask == 0
    }
}

/// This machine's routes, from the text of `/proc/net/route`. Leaves out prefixes shorter than 8 bits, because some
/// machines have two halves of the address space as their default routes.
pub(crate) fn routes(text: &str) -> Vec<Range> {
    let lines = text.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let number = |field: Option<&&str>| u32::from_str_radix(field?, 16).ok().map(u32::from_be);
    let ranges = lines.filter_map(|fields| Some(Range { first: number(fields.get(1))?, mask: number(fields.get(7))? }));
    ranges.filter(|range| range.mask.count_ones() >= 8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parallel_labs_share_no_address() {
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
    fn the_names_of_the_api_server_are_unique() {
        let names = Network::Loopback.api_server_names();
        assert_eq!(names.iter().filter(|name| *name == "127.0.0.1").count(), 1, "{names:?}");
        assert!(Network::Node(3).api_server_names().contains(&"10.96.3.1".to_owned()));
    }

    /// The routes of a machine with podman (10.88.0.0/16) and another lab.
    #[cfg(target_endian = "little")]
    const ROUTES: &str = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
                          eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                          tun0\t00000000\t010200C0\t0003\t0\t0\t0\t00000080\t0\t0\t0\n\
                          podman0\t0000580A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n\
                          swlab3\t0003600A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";

    #[test]
    #[cfg(target_endian = "little")]
    fn a_number_with_routed_addresses_is_skipped() {
        let found = routes(ROUTES);
        assert_eq!(found, [Range::of([10, 88, 0, 0], 16), Range::of([10, 96, 3, 0], 24)]);
        let is_routed = |routes: &[Range]| (0..LABS).filter(|number| Network::Node(*number).is_routed(routes)).count();
        assert_eq!(is_routed(&found), usize::from(LABS), "podman has all of 10.88");
        assert_eq!(is_routed(&found[1..]), 1);
        assert!(Network::Node(3).is_routed(&found[1..]));
        assert_eq!(is_routed(&[Range::of([10, 87, 5, 2], 32), Range::of([10, 244, 0, 0], 16)]), 1);
        assert_eq!(is_routed(&[Range::of([10, 0, 0, 0], 8)]), usize::from(LABS));
    }
}
