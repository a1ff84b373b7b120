//! Which servers are reached without the proxy of the environment.
//!
//! kubectl and the other clients of Kubernetes are written in Go. So the rules are those of Go (`golang.org/x/net/http/httpproxy`):
//! this machine is never reached through a proxy, and an entry of NO_PROXY is `*`, an address, a range of addresses, or a
//! domain. A domain includes those below it, `.example.com` and `*.example.com` only those. An entry can have a port.

use std::net::IpAddr;

use http::Uri;

/// Whether requests to this server go through the proxy of the environment.
pub(super) fn is_proxied(server: &Uri, no_proxy: &str) -> bool {
    let Some(host) = server.host() else { return false };
    let host = without_brackets(host).to_ascii_lowercase();
    let address: Option<IpAddr> = host.parse().ok().map(|address: IpAddr| address.to_canonical());
    if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
        return false;
    }
    let default_port = if server.scheme_str() == Some("http") { 80 } else { 443 };
    let target = Target { host: &host, address, port: server.port_u16().unwrap_or(default_port).to_string() };
    !no_proxy.split(',').any(|entry| target.is_named_by(&entry.trim().to_ascii_lowercase()))
}

struct Target<'a> {
    host: &'a str,
    address: Option<IpAddr>,
    port: String,
}

impl Target<'_> {
    fn is_named_by(&self, entry: &str) -> bool {
        if entry == "*" {
            return true;
        }
        if let Some((network, length)) = range(entry) {
            return self.address.is_some_and(|address| contains(network, length, address));
        }
        let (name, port) = split_port(entry);
        if !port.is_empty() && port != self.port {
            return false;
        }
        if let Ok(address) = name.parse::<IpAddr>() {
            return self.address == Some(address.to_canonical());
        }
        match name.strip_prefix('*').unwrap_or(name) {
            "" => false,
            below if below.starts_with('.') => self.host.ends_with(below),
            domain => self.host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')),
        }
    }
}

fn without_brackets(name: &str) -> &str {
    name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name)
}

/// A name or an address, and its port; the port is empty if there is none.
fn split_port(entry: &str) -> (&str, &str) {
    match entry.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => (without_brackets(name), port),
        _ => (without_brackets(entry), ""),
    }
}

/// The first address of a range, and how many of its bits all addresses of the range have.
fn range(entry: &str) -> Option<(IpAddr, u32)> {
    let (network, length) = entry.split_once('/')?;
    let (network, length): (IpAddr, u32) = (network.parse().ok()?, length.parse().ok()?);
    let longest = if network.is_ipv4() { 32 } else { 128 };
    (length <= longest).then_some((network, length))
}

fn contains(network: IpAddr, length: u32, address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            (network.to_bits() ^ address.to_bits()).checked_shr(32 - length).unwrap_or(0) == 0
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            (network.to_bits() ^ address.to_bits()).checked_shr(128 - length).unwrap_or(0) == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_an_entry_names_what_go_takes_it_for() {
        for (server, no_proxy, expected) in [
            ("https://10.96.0.1:443", "", true),
            ("https://10.96.0.1:443", "127.0.0.1,localhost,.svc,10.0.0.0/8", false),
            ("https://10.96.0.1", "10.96.0.1", false),
            ("https://10.96.0.1", "10.96.0.1:443", false),
            ("https://10.96.0.1:6443", "10.96.0.1:443", true),
            ("https://10.96.0.1", "10.96.0.0/31", false),
            ("https://10.96.0.2", "10.96.0.0/31", true),
            ("https://10.96.0.2", "0.0.0.0/0", false),
            ("https://10.96.0.2", "::/0,10.0.0.0/33,nonsense/8", true),
            ("https://[fd00::1]:6443", "fd00::/8", false),
            ("https://[fd00::1]:6443", "fd00::1", false),
            ("https://[fd00::1]:6443", "[fd00::1]:6443", false),
            ("https://[fd00::1]:6443", "[fd00::1]:443", true),
            ("https://[fd00::1]:6443", "[fd00::1]", false),
            ("https://kubernetes.default.svc:443", "127.0.0.1,.svc", false),
            ("https://api.example.com", "example.com", false),
            ("https://example.com", "example.com", false),
            ("https://badexample.com", "example.com", true),
            ("https://api.example.com", ".example.com", false),
            ("https://example.com", ".example.com", true),
            ("https://api.example.com", "*.example.com", false),
            ("https://example.com", "*.example.com", true),
            ("https://api.example.com", "*.example.com:443", false),
            ("https://api.example.com:6443", "*.example.com:443", true),
            ("https://API.Example.com", " EXAMPLE.com , ", false),
            ("https://api.example.com", "other, *", false),
            ("https://api.example.com", "127.0.0.1,,:443", true),
            ("http://api.example.com", "example.com:80", false),
        ] {
            assert_eq!(is_proxied(&server.parse().unwrap(), no_proxy), expected, "{server} {no_proxy}");
        }
    }

    #[test]
    fn this_machine_is_never_reached_through_a_proxy() {
        for server in ["https://localhost:6443", "https://127.0.0.1:6443", "https://127.1.2.3", "https://[::1]:6443"] {
            assert!(!is_proxied(&server.parse().unwrap(), ""), "{server}");
        }
    }
}
