//! Where a registry may send this client: by a redirect (RFC 9110, 15.4), by the `Location` of an upload, or as the realm of its
//! token service.
//!
//! Blobs are often in another server's storage, so other hosts are accepted. Credentials go to the registry alone: the caller
//! compares origins. A hostile registry could name servers that it can't reach itself, so TLS is never dropped, and a
//! registry on another machine can't name addresses of this one.

use reqwest::Url;

use crate::repository_name::{address, is_loopback};
use crate::settings::PlainHttp;

/// The longest URL that is followed, in bytes. Signed URLs of object stores have about 2,000.
const LONGEST: usize = 16 * 1024;

/// Why a URL is not used, as the end of a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HopError {
    #[error("it is malformed or too long")]
    Malformed,
    #[error("it is neither http nor https")]
    Scheme,
    #[error("it has a user and a password")]
    UserInfo,
    #[error(
        "it has no TLS; behind a proxy, the registry needs `X-Forwarded-Proto`, or `relativeurls` in its configuration"
    )]
    Downgrade,
    #[error("it is an address of this machine or of its link")]
    Local,
}

/// The rule for one registry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HopRule {
    pub(crate) plain_http: PlainHttp,
}

impl HopRule {
    /// The URL that `location` is, seen from the URL of the request.
    pub(crate) fn resolve(self, from: &Url, location: &str) -> Result<Url, HopError> {
        if location.is_empty() || location.len() > LONGEST || !location.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(HopError::Malformed);
        }
        let mut to = from.join(location).map_err(|_| HopError::Malformed)?;
        to.set_fragment(None);
        self.check(from, &to)?;
        Ok(to)
    }

    /// Whether a registry at `from` may name `to`.
    pub(crate) fn check(self, from: &Url, to: &Url) -> Result<(), HopError> {
        let (Some(from_host), Some(to_host)) = (from.host_str(), to.host_str()) else {
            return Err(HopError::Malformed);
        };
        if !to.username().is_empty() || to.password().is_some() {
            return Err(HopError::UserInfo);
        }
        match to.scheme() {
            "https" => {}
            "http" if from.scheme() == "http" && self.permits_plain(to_host) => {}
            "http" => return Err(HopError::Downgrade),
            _ => return Err(HopError::Scheme),
        }
        if from_host != to_host && !is_loopback(from_host) && is_local(to_host) {
            return Err(HopError::Local);
        }
        Ok(())
    }

    fn permits_plain(self, host: &str) -> bool {
        match self.plain_http {
            PlainHttp::Nowhere => false,
            PlainHttp::Loopback => is_loopback(host),
            PlainHttp::Anywhere => true,
        }
    }
}

/// Whether two URLs have the same scheme, host and port.
pub(crate) fn is_same_origin(one: &Url, other: &Url) -> bool {
    one.origin() == other.origin()
}

/// Host and port of a URL, for messages.
pub(crate) fn shown_host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Loopback, unspecified and link-local addresses. Clouds serve the credentials of machines on a link-local address.
fn is_local(host: &str) -> bool {
    use std::net::IpAddr;
    is_loopback(host)
        || address(host).is_some_and(|address| match address {
            IpAddr::V4(address) => address.is_link_local() || address.is_unspecified(),
            IpAddr::V6(address) => {
                let mapped = address.to_ipv4_mapped();
                address.is_unicast_link_local()
                    || address.is_unspecified()
                    || mapped
                        .is_some_and(|mapped| mapped.is_link_local() || mapped.is_loopback() || mapped.is_unspecified())
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(plain_http: PlainHttp, from: &str, location: &str) -> Result<String, HopError> {
        HopRule { plain_http }.resolve(&from.parse().unwrap(), location).map(|url| url.to_string())
    }

    #[test]
    fn a_location_is_a_path_or_a_url() {
        let from = "https://a.example.com/v2/x/blobs/uploads/";
        for (location, expected) in [
            ("/v2/x/blobs/uploads/1?_state=a%2Fb", "https://a.example.com/v2/x/blobs/uploads/1?_state=a%2Fb"),
            ("1?a=b", "https://a.example.com/v2/x/blobs/uploads/1?a=b"),
            ("https://a.example.com/u/1#x", "https://a.example.com/u/1"),
            ("https://storage.example.net/bucket?sig=x", "https://storage.example.net/bucket?sig=x"),
            ("//storage.example.net/1", "https://storage.example.net/1"),
        ] {
            assert_eq!(resolve(PlainHttp::Nowhere, from, location).as_deref(), Ok(expected), "{location}");
        }
    }

    #[test]
    fn tls_is_never_dropped() {
        use PlainHttp::{Anywhere, Loopback, Nowhere};
        for (plain, from, to, expected) in [
            (Nowhere, "https://a.example.com/", "http://a.example.com/", Err(HopError::Downgrade)),
            (Anywhere, "https://a.example.com/", "http://a.example.com/", Err(HopError::Downgrade)),
            (Anywhere, "http://a.example.com/", "http://b.example.com/", Ok(())),
            (Anywhere, "http://a.example.com/", "https://b.example.com/", Ok(())),
            (Loopback, "http://127.0.0.1:5000/", "http://127.0.0.1:6000/", Ok(())),
            (Loopback, "http://127.0.0.1:5000/", "http://b.example.com/", Err(HopError::Downgrade)),
            (Loopback, "http://127.0.0.1:5000/", "https://b.example.com/", Ok(())),
        ] {
            assert_eq!(resolve(plain, from, to).map(drop), expected, "{from} {to}");
        }
    }

    #[test]
    fn what_a_hostile_registry_could_misuse_is_refused() {
        let from = "https://a.example.com/";
        let long = format!("/{}", "x".repeat(LONGEST));
        for (location, why) in [
            ("", HopError::Malformed),
            ("/a b", HopError::Malformed),
            ("/a\nb", HopError::Malformed),
            (long.as_str(), HopError::Malformed),
            ("https://", HopError::Malformed),
            ("file:///etc/passwd", HopError::Malformed),
            ("ftp://b.example.com/", HopError::Scheme),
            ("https://bob@b.example.com/", HopError::UserInfo),
            ("https://127.0.0.1/", HopError::Local),
            ("https://localhost/", HopError::Local),
            ("https://0.0.0.0/", HopError::Local),
            ("https://169.254.169.254/latest/meta-data", HopError::Local),
            ("https://2852039166/", HopError::Local),
            ("https://[::1]/", HopError::Local),
            ("https://[fe80::1]/", HopError::Local),
            ("https://[::ffff:127.0.0.1]/", HopError::Local),
        ] {
            assert_eq!(resolve(PlainHttp::Nowhere, from, location), Err(why), "{location}");
        }
    }

    #[test]
    fn the_same_origin_has_scheme_host_and_port() {
        let origin: Url = "https://a.example.com/x".parse().unwrap();
        for (url, expected) in [
            ("https://a.example.com:443/y", true),
            ("https://a.example.com:444/x", false),
            ("http://a.example.com/x", false),
            ("https://b.example.com/x", false),
            ("https://a.example.com.b.example.com/x", false),
        ] {
            assert_eq!(is_same_origin(&origin, &url.parse().unwrap()), expected, "{url}");
        }
    }
}
