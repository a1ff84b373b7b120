//! Listening on a port.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use rustix::io::Errno;

/// Listens on this address. `[::]` is all addresses, those of IPv4 too, and the default; on a kernel without IPv6, where it
/// does not exist, that is `0.0.0.0`.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).or_else(|error| TcpListener::bind(instead(address, &error).ok_or(error)?))
}

/// What to listen on where that failed with this error.
fn instead(address: SocketAddr, error: &io::Error) -> Option<SocketAddr> {
    let is_all = address.ip() == IpAddr::from(Ipv6Addr::UNSPECIFIED);
    let has_no_ipv6 = Errno::from_io_error(error) == Some(Errno::AFNOSUPPORT);
    (is_all && has_no_ipv6).then(|| SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_addresses_are_those_of_ipv4_on_a_kernel_without_ipv6() {
        for (address, error, expected) in [
            ("[::]:8443", Errno::AFNOSUPPORT, Some("0.0.0.0:8443")),
            ("[::]:8443", Errno::ADDRINUSE, None),
            ("[::1]:8443", Errno::AFNOSUPPORT, None),
        ] {
            let found = instead(address.parse().unwrap(), &io::Error::from(error));
            assert_eq!(found, expected.map(|address| address.parse().unwrap()), "{address}, {error}");
        }
    }

    #[test]
    fn all_addresses_are_those_of_ipv4_too() {
        let listener = listen("[::]:0".parse().unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    }
}
