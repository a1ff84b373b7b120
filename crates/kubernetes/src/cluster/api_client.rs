//! The client for the API server.
//!
//! It is the one of kube, but for the certificate of the API server, which is verified as kubectl does: kube's client trusts no
//! server whose certificate is its own CA.

use std::error::Error;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Uri};
use hyper::rt::{Read, Write};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::client::legacy::connect::{Connection, HttpConnector};
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ClientBuilder, ConfigExt as _, RustlsTlsError};
use kube::{Client, Config};
use percent_encoding::percent_decode_str;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use tower::{BoxError, Service, ServiceBuilder};

use crate::tls::{GivenCertificates, ReloadedCertificates};

/// A client with the settings of `config`.
pub(super) fn client(config: &Config) -> kube::Result<Client> {
    let verifier = verifier(config).map_err(|error| tls_error(RustlsTlsError::AddRootCertificate(error)))?;
    let Some(verifier) = verifier else {
        return Ok(ClientBuilder::try_from(config.clone())?.build());
    };
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    let Some(proxy) = config.proxy_url.clone() else {
        return connected_by(tcp, config, verifier);
    };
    match proxy.scheme_str() {
        Some("socks5") => connected_by(SocksV5::new(proxy, tcp), config, verifier),
        Some("http") => connected_by(tunnel(proxy, tcp), config, verifier),
        // The CA of the API server is also that of the proxy, as for kubectl.
        Some("https") => connected_by(tunnel(proxy, with_tls(tcp, config, Arc::clone(&verifier))?), config, verifier),
        _ => Err(kube::Error::ProxyProtocolUnsupported { proxy_url: Box::new(proxy) }),
    }
}

/// `None` without a CA of its own, and if no certificate is verified at all.
fn verifier(config: &Config) -> Result<Option<Arc<dyn ServerCertVerifier>>, Box<dyn Error + Send + Sync>> {
    let provider = Arc::new(ring::default_provider());
    match (&config.root_cert_file, &config.root_cert) {
        _ if config.accept_invalid_certs => Ok(None),
        (Some(file), _) => Ok(Some(Arc::new(ReloadedCertificates::read(file.clone(), provider)?))),
        (None, Some(certificates)) => {
            let certificates = certificates.iter().map(|der| CertificateDer::from(der.clone())).collect();
            Ok(Some(Arc::new(GivenCertificates::new(certificates, provider)?)))
        }
        (None, None) => Ok(None),
    }
}

/// Connects through the HTTP proxy, with the user name and the password in its URL.
fn tunnel<C>(proxy: Uri, connector: C) -> Tunnel<C> {
    let header = proxy.authority().and_then(|authority| authority.as_str().rsplit_once('@')).and_then(|(user, _)| {
        let user: Vec<u8> = percent_decode_str(user).collect();
        HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(user))).ok()
    });
    let tunnel = Tunnel::new(proxy, connector);
    match header {
        Some(header) => tunnel.with_auth(header),
        None => tunnel,
    }
}

fn with_tls<C>(
    connector: C,
    config: &Config,
    verifier: Arc<dyn ServerCertVerifier>,
) -> kube::Result<HttpsConnector<C>> {
    let mut tls = config.rustls_client_config()?;
    tls.dangerous().set_certificate_verifier(verifier);
    let mut builder = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
    if let Some(name) = &config.tls_server_name {
        let name = name.clone().try_into().map_err(|error| tls_error(RustlsTlsError::InvalidServerName(error)))?;
        builder = builder.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    Ok(builder.enable_http1().wrap_connector(connector))
}

/// The layers of kube that change a request or a response, so without its tracing.
fn connected_by<C>(connector: C, config: &Config, verifier: Arc<dyn ServerCertVerifier>) -> kube::Result<Client>
where
    C: Service<Uri, Error: Error + Send + Sync, Future: Send> + Clone + Send + Sync + 'static,
    C::Response: Connection + Read + Write + Send + Unpin + 'static,
{
    let mut connector = TimeoutConnector::new(with_tls(connector, config, verifier)?);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    connector.set_reset_reader_on_write(config.reset_reader_on_write);
    let client: legacy::Client<_, Body> = legacy::Client::builder(TokioExecutor::new()).build(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(client);
    Ok(ClientBuilder::new(service, config.default_namespace.clone()).build())
}

fn tls_error(error: RustlsTlsError) -> kube::Error {
    kube::Error::RustlsTls(error)
}

#[cfg(test)]
mod tests;
