//! Opens a listening socket.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use rustix::io::Errno;

/// Listens on this address. `[::]` means all addresses, including IPv4. A kernel without IPv6 has no `[::]`; there it means
/// `0.0.0.0`.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).or_else(|error| TcpListener::bind(fallback(address, &error).ok_or(error)?))
}

/// The address to listen on when `address` failed with this error.
fn fallback(address: SocketAddr, error: &io::Error) -> Option<SocketAddr> {
    let is_all = address.ip() == IpAddr::from(Ipv6Addr::UNSPECIFIED);
    let has_no_ipv6 = Errno::from_io_error(error) == Some(Errno::AFNOSUPPORT);
    (is_all && has_no_ipv6).then(|| SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_addresses_means_ipv4_on_a_kernel_without_ipv6() {
        for (address, error, expected) in [
            ("[::]:8443", Errno::AFNOSUPPORT, Some("0.0.0.0:8443")),
            ("[::]:8443", Errno::ADDRINUSE, None),
            ("[::1]:8443", Errno::AFNOSUPPORT, None),
        ] {
            let found = fallback(address.parse().unwrap(), &io::Error::from(error));
            assert_eq!(found, expected.map(|address| address.parse().unwrap()), "{address}, {error}");
        }
    }

    #[test]
    fn all_addresses_includes_ipv4() {
        let listener = listen("[::]:0".parse().unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    }
}
