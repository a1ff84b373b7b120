//! A TLS handshake with the own port, as the API server would make it: what readiness rests on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::bundle_status::ConfigurationTrust;
use super::server_clock::ServerClock;

/// Longer than a handshake of this machine with itself takes under load, shorter than anybody waits for readiness.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Why the API server would not come through.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeCheckError {
    #[error("the bundle holds no certificate that can be used")]
    CaBundle,
    #[error("the configuration calls `{0}`, which is no name of a server")]
    Name(String),
    #[error("could not set up TLS")]
    Tls { source: rustls::Error },
    #[error("the own port at {address} does not answer within {} s", TIMEOUT.as_secs())]
    Silent { address: SocketAddr },
    #[error("the own port at {address} can't be verified as `{name}` against the bundle")]
    Refused { address: SocketAddr, name: String, source: std::io::Error },
}

/// Dials the port and verifies it as what the configuration calls, against the bundle that stands in it.
pub(super) async fn dial(
    listening: SocketAddr,
    trust: &ConfigurationTrust,
    clock: &ServerClock,
) -> Result<(), HandshakeCheckError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(trust.bundle.as_bytes()).flatten() {
        roots.add(certificate).map_err(|_| HandshakeCheckError::CaBundle)?;
    }
    let config = ClientConfig::builder_with_details(Arc::new(ring::default_provider()), Arc::new(clock.clone()))
        .with_safe_default_protocol_versions()
        .map_err(|source| HandshakeCheckError::Tls { source })?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    for host in &trust.hosts {
        let name = ServerName::try_from(host.clone()).map_err(|_| HandshakeCheckError::Name(host.clone()))?;
        let refused = |source| HandshakeCheckError::Refused { address: listening, name: host.clone(), source };
        let handshake = async {
            let addresses: Vec<_> = reachable(listening.ip()).map(|ip| SocketAddr::new(ip, listening.port())).collect();
            connector.connect(name, TcpStream::connect(&addresses[..]).await?).await
        };
        let shaken =
            timeout(TIMEOUT, handshake).await.map_err(|_| HandshakeCheckError::Silent { address: listening })?;
        drop(shaken.map_err(refused)?);
    }
    Ok(())
}

/// Where a listener on all addresses is found from here.
fn reachable(listening: IpAddr) -> impl Iterator<Item = IpAddr> {
    let (v4, v6) = (IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST));
    let addresses = match listening {
        IpAddr::V4(address) if address.is_unspecified() => [Some(v4), None],
        // A pod may have a socket for both families and an address of one.
        IpAddr::V6(address) if address.is_unspecified() => [Some(v6), Some(v4)],
        address => [Some(address), None],
    };
    addresses.into_iter().flatten()
}
