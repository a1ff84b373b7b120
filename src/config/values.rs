//! Parsers for values of flags. Each error says what is allowed.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use reqwest::Url;
use rustls::pki_types::ServerName;

use snapwatcher_api::duration;
use snapwatcher_api::pod::{is_label_key, is_object_name};
use snapwatcher_api::quantity;

/// The longest value of a flag that limits a time, longer than any checkpoint takes.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(3600);

/// An HTTP or HTTPS URL, or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendUrl(pub Option<Url>);

/// The value is not the URL of a back-end. The error does not contain it, because it may contain a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackendUrlError {
    #[error("not a URL such as `http://snap-back-api:80` ({0})")]
    NotAUrl(String),
    #[error("the scheme is `{0}`; allowed are `http` and `https` URLs such as `http://snap-back-api:80`")]
    Scheme(String),
}

impl FromStr for BackendUrl {
    type Err = BackendUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim().is_empty() {
            return Ok(Self(None));
        }
        let url: Url = text.trim().parse().map_err(|error| BackendUrlError::NotAUrl(format!("{error}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(BackendUrlError::Scheme(url.scheme().to_owned()));
        }
        Ok(Self(Some(url)))
    }
}

impl fmt::Display for BackendUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |url| write!(f, "{url}"))
    }
}

/// An IP address and a port.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let allowed = "allowed are an IP address and a port, such as `127.0.0.1:8443`, or `[::]:8443` for all addresses";
    text.trim().parse().map_err(|_| allowed.to_owned())
}

/// An HTTP or HTTPS URL.
pub(super) fn web_url(text: &str) -> Result<Url, String> {
    let allowed = "allowed are `http` and `https` URLs such as `https://kubernetes.default.svc`";
    let url: Url = text.trim().parse().map_err(|error| format!("{error}; {allowed}"))?;
    if matches!(url.scheme(), "http" | "https") { Ok(url) } else { Err(allowed.to_owned()) }
}

pub(super) fn timeout(text: &str) -> Result<Duration, String> {
    let allowed = "allowed is more than 0s and at most 1h";
    let timeout = duration::parse(text).map_err(|error| format!("{error}; {allowed}"))?;
    if timeout.is_zero() || timeout > LONGEST_TIMEOUT { Err(allowed.to_owned()) } else { Ok(timeout) }
}

pub(super) fn life(text: &str) -> Result<Duration, String> {
    let life = duration::parse(text).map_err(|error| error.to_string())?;
    if life < Duration::from_secs(1) { Err("allowed is 1s and more".to_owned()) } else { Ok(life) }
}

pub(super) fn delay(text: &str) -> Result<Duration, String> {
    let allowed = "allowed is at most 1h";
    let delay = duration::parse(text).map_err(|error| format!("{error}; {allowed}"))?;
    if delay > LONGEST_TIMEOUT { Err(allowed.to_owned()) } else { Ok(delay) }
}

/// The name of a Kubernetes object: a label or subdomain of RFC 1123.
pub(crate) fn object_name(text: &str) -> Result<String, String> {
    if is_object_name(text) {
        Ok(text.to_owned())
    } else {
        Err("allowed are names of Kubernetes objects: lower-case letters, digits, `-` and `.`".to_owned())
    }
}

/// An amount of bytes as a Kubernetes quantity.
pub(crate) fn byte_quantity(text: &str) -> Result<u64, String> {
    quantity::bytes(text).ok_or_else(|| "allowed are quantities of Kubernetes, for example `20Gi` or `500M`".to_owned())
}

/// A DNS name, an IP address, or a wildcard name, as in a certificate.
pub(crate) fn certificate_name(text: &str) -> Result<String, String> {
    let text = text.trim();
    let name = text.strip_prefix("*.").unwrap_or(text);
    match ServerName::try_from(name) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => {
            Err("allowed are DNS names and IP addresses, such as `snapwatcher.snap.svc` and `127.0.0.1`".to_owned())
        }
    }
}

/// A namespace, or nothing: a template may leave empty entries in a list, which are removed later.
pub(super) fn namespace(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() { Ok(String::new()) } else { object_name(text) }
}

/// The key of a label, or nothing, as for namespaces.
pub(super) fn label_key(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || is_label_key(text) {
        Ok(text.to_owned())
    } else {
        Err("allowed are keys of labels, such as `strimzi.io/revision`".to_owned())
    }
}
