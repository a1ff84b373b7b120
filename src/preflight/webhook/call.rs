//! One `GET` over TLS, with the bundle as the only trust.

use std::error::Error;
use std::io;
use std::time::Duration;

use reqwest::{Certificate, Client};

use super::{Dialled, Target};
use snapwatcher_daemon::telemetry::error_chain;

/// As long as the API server would never wait.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Calls the target.
pub(in crate::preflight) async fn dial(target: &Target) -> Dialled {
    let certificates = match Certificate::from_pem_bundle(&target.bundle) {
        Ok(certificates) if !certificates.is_empty() => certificates,
        Ok(_) => return Dialled::BadBundle("it holds no certificate in PEM form".to_owned()),
        Err(error) => return Dialled::BadBundle(error_chain(&error)),
    };
    let builder = Client::builder()
        .user_agent(concat!("snapwatcher/", env!("CARGO_PKG_VERSION")))
        .http1_only()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(TIMEOUT)
        .tls_certs_only(certificates);
    let client = match builder.build() {
        Ok(client) => client,
        Err(error) => return Dialled::BadBundle(error_chain(&error)),
    };
    match client.get(target.url.clone()).send().await {
        Ok(answer) => Dialled::Answered(answer.status()),
        Err(error) => failure(&error.without_url()),
    }
}

fn failure(error: &reqwest::Error) -> Dialled {
    let causes = causes(error);
    let untrusted = causes.iter().find_map(|cause| match cause.downcast_ref() {
        Some(rustls::Error::InvalidCertificate(why)) => Some(why.to_string()),
        _ => None,
    });
    // reqwest's own words only say that sending failed.
    let words = causes.last().map_or_else(|| error.to_string(), ToString::to_string);
    match untrusted {
        Some(why) => Dialled::Untrusted(why),
        None if error.is_timeout() => Dialled::Unreachable(format!("no answer within {} s", TIMEOUT.as_secs())),
        None if error.is_dns() => Dialled::NoSuchHost(format!("no such host: {words}")),
        None => Dialled::Unreachable(format!("could not connect: {words}")),
    }
}

/// What lies under the error, the innermost last.
fn causes(error: &reqwest::Error) -> Vec<&(dyn Error + 'static)> {
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        causes.push(cause);
        next = inner(cause).or_else(|| cause.source());
    }
    causes
}

/// What an I/O error was made of; its `source` leaves that out.
fn inner<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> {
    error.downcast_ref::<io::Error>()?.get_ref().map(|inner| inner as _)
}
