//! The proxy between this process and a server: the API server, or another one on the other side of the proxy.
//!
//! For the API server it is chosen as kubectl does: the proxy of the kubeconfig, else that of the environment unless the API server is this machine
//! or NO_PROXY names it. kube compares NO_PROXY with the address of the proxy instead, and reads no proxy in a pod. A proxy that
//! is not used may have any address.

use std::env;
use std::fmt;

use http::Uri;

use super::no_proxy::is_proxied;

/// A proxy that cannot be used. Its address is not shown: it may hold a password.
#[derive(Debug, thiserror::Error)]
#[error("{place} is not the address of a proxy: write http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT")]
pub struct ProxyError {
    place: &'static str,
}

/// What the environment says about proxies.
#[derive(Clone, Default)]
pub struct ProxyEnvironment {
    pub https_proxy: Option<String>,
    pub http_proxy: Option<String>,
    pub no_proxy: Option<String>,
}

impl ProxyEnvironment {
    /// Reads the variables. Of each, the upper-case form counts first.
    #[expect(clippy::disallowed_methods, reason = "these variables are settings of all programs, not of this one")]
    pub fn read() -> Self {
        let read = |upper: &str, lower: &str| {
            let variable = |name: &str| env::var(name).ok().filter(|value| !value.trim().is_empty());
            variable(upper).or_else(|| variable(lower))
        };
        Self {
            https_proxy: read("HTTPS_PROXY", "https_proxy"),
            http_proxy: read("HTTP_PROXY", "http_proxy"),
            no_proxy: read("NO_PROXY", "no_proxy"),
        }
    }

    /// The proxy for requests to a server.
    pub fn proxy_to(&self, server: &Uri) -> Result<Option<Uri>, ProxyError> {
        let (place, value) = match server.scheme_str() {
            Some("http") => ("HTTP_PROXY", &self.http_proxy),
            _ => ("HTTPS_PROXY", &self.https_proxy),
        };
        match value {
            Some(value) if is_proxied(server, self.no_proxy.as_deref().unwrap_or_default()) => {
                parsed(value, place).map(Some)
            }
            _ => Ok(None),
        }
    }
}

impl fmt::Debug for ProxyEnvironment {
    /// Without the addresses: they may hold passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyEnvironment").field("no_proxy", &self.no_proxy).finish_non_exhaustive()
    }
}

/// The proxy for requests to the API server at `server`.
pub(super) fn proxy(
    server: &Uri,
    of_kubeconfig: Option<&str>,
    environment: &ProxyEnvironment,
) -> Result<Option<Uri>, ProxyError> {
    match of_kubeconfig {
        Some(url) => parsed(url, "`proxy-url` in the kubeconfig").map(Some),
        None => environment.proxy_to(server),
    }
}

/// The address of a proxy without the user info, which can be a password.
pub(super) fn shown(url: &Uri) -> String {
    let port = url.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}", url.scheme_str().unwrap_or("http"), url.host().unwrap_or_default())
}

/// An address without a scheme is that of an HTTP proxy, as for curl and Go.
fn parsed(text: &str, place: &'static str) -> Result<Uri, ProxyError> {
    // All names are resolved by the SOCKS proxy, which is what `socks5h` means.
    let text = text.trim().replace("socks5h://", "socks5://");
    let url = if text.contains("://") { text } else { format!("http://{text}") };
    let url: Uri = url.parse().map_err(|_| ProxyError { place })?;
    let is_known = matches!(url.scheme_str(), Some("http" | "https" | "socks5"));
    if is_known && url.host().is_some_and(|host| !host.is_empty()) { Ok(url) } else { Err(ProxyError { place }) }
}

#[cfg(test)]
mod tests {
    use kube::client::ClientBuilder;
    use kube::{Client, Config};
    use tokio::io::{AsyncBufReadExt as _, BufReader};
    use tokio::net::TcpListener;

    use super::*;

    fn environment(https_proxy: &str, no_proxy: &str) -> ProxyEnvironment {
        let set = |value: &str| Some(value.to_owned()).filter(|value| !value.is_empty());
        ProxyEnvironment { https_proxy: set(https_proxy), http_proxy: None, no_proxy: set(no_proxy) }
    }

    fn chosen(server: &str, of_kubeconfig: Option<&str>, environment: &ProxyEnvironment) -> Option<String> {
        proxy(&server.parse().unwrap(), of_kubeconfig, environment).unwrap().map(|url| url.to_string())
    }

    #[test]
    fn the_proxy_of_the_environment_is_used_unless_no_proxy_names_the_api_server() {
        let environment = |no_proxy| environment("http://proxy:3128/", no_proxy);
        assert_eq!(chosen("https://10.96.0.1", None, &environment("127.0.0.1")).as_deref(), Some("http://proxy:3128/"));
        assert_eq!(chosen("https://10.96.0.1", None, &environment("10.0.0.0/8")), None);
        assert_eq!(chosen("https://127.0.0.1:6443", None, &environment("")), None);
        assert_eq!(chosen("http://10.96.0.1", None, &environment("")), None, "HTTPS_PROXY is not for http");
    }

    #[test]
    fn a_proxy_that_is_not_used_may_have_any_address() {
        for value in ["ftp://proxy", "http://", "socks4://proxy:1080"] {
            assert_eq!(chosen("https://10.96.0.1", None, &environment(value, "*")), None);
            assert_eq!(
                chosen("https://10.96.0.1", Some("http://proxy"), &environment(value, "")).as_deref(),
                Some("http://proxy/")
            );
        }
    }

    #[test]
    fn a_socks_proxy_resolves_names_by_either_name_of_it() {
        let environment = environment("socks5h://proxy:1080", "");
        assert_eq!(chosen("https://api", None, &environment).as_deref(), Some("socks5://proxy:1080/"));
    }

    #[test]
    fn the_proxy_of_the_kubeconfig_goes_before_the_environment() {
        let environment = environment("http://other:1", "*");
        let chosen = chosen("https://10.96.0.1", Some("socks5://proxy:1080"), &environment);
        assert_eq!(chosen.as_deref(), Some("socks5://proxy:1080/"));
    }

    #[test]
    fn an_address_without_scheme_is_an_http_proxy() {
        assert_eq!(chosen("https://api", None, &environment("proxy:3128", "")).as_deref(), Some("http://proxy:3128/"));
    }

    #[test]
    fn an_invalid_proxy_is_named_by_its_variable_and_without_its_password() {
        for value in ["http://", "ftp://user:secret@proxy", "http://user:secret@ proxy"] {
            let error = proxy(&"https://api".parse().unwrap(), None, &environment(value, "")).unwrap_err().to_string();
            assert!(error.starts_with("HTTPS_PROXY is not") && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn the_address_that_is_shown_has_no_user_info() {
        for (url, expected) in [
            ("http://user:secret@proxy:3128/secret?secret", "http://proxy:3128"),
            ("https://secret@proxy.example.org", "https://proxy.example.org"),
            ("user:secret@[fd00::1]:3128", "http://[fd00::1]:3128"),
            ("socks5://10.0.0.1:1080", "socks5://10.0.0.1:1080"),
        ] {
            assert_eq!(shown(&parsed(url, "").unwrap()), expected);
        }
    }

    #[tokio::test]
    async fn a_request_goes_through_the_proxy() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut config = Config::new("https://10.255.255.1".parse().unwrap());
        config.proxy_url = Some(format!("http://{}", listener.local_addr().unwrap()).parse().unwrap());
        let client: Client = ClientBuilder::try_from(config).unwrap().build();
        let first_line = async {
            let (connection, _) = listener.accept().await.unwrap();
            let mut line = String::new();
            BufReader::new(connection).read_line(&mut line).await.unwrap();
            line
        };
        let (version, line) = tokio::join!(client.apiserver_version(), first_line);
        assert_eq!(line, "CONNECT 10.255.255.1:443 HTTP/1.1\r\n");
        assert!(version.is_err(), "the proxy closed the connection");
    }
}
