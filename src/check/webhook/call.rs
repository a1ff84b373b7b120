//! One `GET` over TLS, verified by the `caBundle` alone.

use std::error::Error;
use std::io;
use std::time::Duration;

use reqwest::Client;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::{CallResult, WebhookServer};
use snapwatcher_daemon::telemetry::error_chain;
use snapwatcher_kubernetes::tls::{certificate_error, trusting};

/// Shorter than the longest time limit of an API server for a webhook (30 s).
const TIMEOUT: Duration = Duration::from_secs(10);

/// Calls the server.
pub(in crate::check) async fn call(server: &WebhookServer) -> CallResult {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&server.ca_bundle).collect();
    let tls = match certificates.map(|certificates| (certificates.is_empty(), trusting(certificates))) {
        Ok((false, Ok(tls))) => tls,
        Ok((true, _)) => return CallResult::InvalidCaBundle("it contains no certificate in PEM format".to_owned()),
        Ok((false, Err(error))) => return CallResult::InvalidCaBundle(error_chain(&*error)),
        Err(error) => return CallResult::InvalidCaBundle(error_chain(&error)),
    };
    let builder = Client::builder()
        .user_agent(concat!("snapwatcher/", env!("CARGO_PKG_VERSION")))
        .http1_only()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(TIMEOUT)
        .tls_backend_preconfigured(tls);
    let client = match builder.build() {
        Ok(client) => client,
        Err(error) => return CallResult::InvalidCaBundle(error_chain(&error)),
    };
    match client.get(server.url.clone()).send().await {
        Ok(response) => CallResult::Responded(response.status()),
        Err(error) => failure(&error.without_url()),
    }
}

fn failure(error: &reqwest::Error) -> CallResult {
    let causes = causes(error);
    let untrusted = causes.iter().find_map(|cause| match cause.downcast_ref() {
        Some(rustls::Error::InvalidCertificate(why)) => Some(why),
        _ => None,
    });
    // reqwest's own message only says that sending failed.
    let message = causes.last().map_or_else(|| error.to_string(), ToString::to_string);
    match untrusted {
        Some(why) => match certificate_error::remedy(why) {
            Some(remedy) => CallResult::UnsupportedAlgorithm { cause: certificate_error::cause(why), remedy },
            None => CallResult::Untrusted(certificate_error::cause(why)),
        },
        None if error.is_timeout() => CallResult::Unreachable(format!("no response within {} s", TIMEOUT.as_secs())),
        None if error.is_dns() => CallResult::NoSuchHost(format!("no such host: {message}")),
        None => CallResult::Unreachable(format!("could not connect: {message}")),
    }
}

/// The causes of the error, the innermost last.
fn causes(error: &reqwest::Error) -> Vec<&(dyn Error + 'static)> {
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        causes.push(cause);
        next = inner(cause).or_else(|| cause.source());
    }
    causes
}

/// The error inside an I/O error, which its `source` skips.
fn inner<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> {
    error.downcast_ref::<io::Error>()?.get_ref().map(|inner| inner as _)
}
