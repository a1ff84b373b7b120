//! The client for the API server.
//!
//! It is the one of kube, but for the certificate of the API server, which is verified as kubectl does: kube's client trusts no
//! server whose certificate is its own CA. Through a proxy, the client is kube's.

use std::error::Error;
use std::sync::Arc;

use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ClientBuilder, ConfigExt as _, RustlsTlsError};
use kube::{Client, Config};
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use tower::{BoxError, ServiceBuilder};

use crate::tls::{GivenCertificates, ReloadedCertificates};

/// A client with the settings of `config`.
pub(super) fn client(config: &Config) -> kube::Result<Client> {
    let verifier = verifier(config).map_err(|error| tls_error(RustlsTlsError::AddRootCertificate(error)))?;
    match verifier.filter(|_| config.proxy_url.is_none()) {
        Some(verifier) => direct(config, verifier),
        None => Ok(ClientBuilder::try_from(config.clone())?.build()),
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

/// The layers of kube that change a request or a response, so without its tracing.
fn direct(config: &Config, verifier: Arc<dyn ServerCertVerifier>) -> kube::Result<Client> {
    let mut tls = config.rustls_client_config()?;
    tls.dangerous().set_certificate_verifier(verifier);
    let mut builder = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
    if let Some(name) = &config.tls_server_name {
        let name = name.clone().try_into().map_err(|error| tls_error(RustlsTlsError::InvalidServerName(error)))?;
        builder = builder.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    let mut connector = TimeoutConnector::new(builder.enable_http1().wrap_connector(tcp));
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
