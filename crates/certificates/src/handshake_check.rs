//! A TLS handshake with the own port, verified as the API server verifies it. Readiness depends on it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::bundle_status::ConfigurationTrust;
use snapwatcher_kubernetes::server_clock::ServerClock;

/// Longer than a handshake within this machine takes under load, and shorter than a readiness probe waits.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Why the API server would not accept the own port.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeCheckError {
    #[error("the caBundle contains no usable certificate")]
    CaBundle,
    #[error("the configuration calls `{0}`, which is not a valid server name")]
    ServerName(String),
    #[error("could not set up TLS")]
    Tls { source: rustls::Error },
    #[error("own port {address} did not respond within {} s", TIMEOUT.as_secs())]
    NoResponse { address: SocketAddr },
    #[error("TLS handshake with own port {address} as `{name}`, verified by the caBundle, failed")]
    Failed { address: SocketAddr, name: String, source: std::io::Error },
}

/// The API server's clock, by which it verifies certificates.
#[derive(Debug)]
struct VerificationTime(ServerClock);

impl TimeProvider for VerificationTime {
    fn current_time(&self) -> Option<UnixTime> {
        let second = u64::try_from(self.0.now().as_second()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(second)))
    }
}

/// Connects to the own port once for each server name of a configuration, and verifies it by the `caBundle`.
pub(super) async fn check_handshake(
    listening: SocketAddr,
    trust: &ConfigurationTrust,
    clock: &ServerClock,
) -> Result<(), HandshakeCheckError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(trust.ca_bundle.as_bytes()).flatten() {
        roots.add(certificate).map_err(|_| HandshakeCheckError::CaBundle)?;
    }
    let time = Arc::new(VerificationTime(clock.clone()));
    let config = ClientConfig::builder_with_details(Arc::new(ring::default_provider()), time)
        .with_safe_default_protocol_versions()
        .map_err(|source| HandshakeCheckError::Tls { source })?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    for host in &trust.server_names {
        let name = ServerName::try_from(host.clone()).map_err(|_| HandshakeCheckError::ServerName(host.clone()))?;
        let failed = |source| HandshakeCheckError::Failed { address: listening, name: host.clone(), source };
        let handshake = async {
            let addresses: Vec<_> =
                local_addresses(listening.ip()).map(|address| SocketAddr::new(address, listening.port())).collect();
            connector.connect(name, TcpStream::connect(&addresses[..]).await?).await
        };
        let connected = timeout(TIMEOUT, handshake).await;
        drop(connected.map_err(|_| HandshakeCheckError::NoResponse { address: listening })?.map_err(failed)?);
    }
    Ok(())
}

/// The addresses at which this process reaches its own listener.
fn local_addresses(listening: IpAddr) -> impl Iterator<Item = IpAddr> {
    let (v4, v6) = (IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST));
    let addresses = match listening {
        IpAddr::V4(address) if address.is_unspecified() => [Some(v4), None],
        // A pod may have a socket for both families, but an address of only one.
        IpAddr::V6(address) if address.is_unspecified() => [Some(v6), Some(v4)],
        address => [Some(address), None],
    };
    addresses.into_iter().flatten()
}
