//! The proxy between this process and the API server.
//!
//! It is chosen as kubectl does: the proxy of the kubeconfig, else that of the environment unless NO_PROXY names the API server.
//! kube compares NO_PROXY with the address of the proxy instead, and reads no proxy in a pod.

use std::env;

use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use kube::config::Kubeconfig;

/// A proxy that cannot be used. Its address is not shown: it may hold a password.
#[derive(Debug, thiserror::Error)]
#[error("{place} is not the address of a proxy: write http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT")]
pub struct ProxyError {
    place: &'static str,
}

/// What the environment says about proxies. Of each variable, the upper-case form counts first.
#[derive(Debug, Default)]
#[expect(clippy::struct_field_names, reason = "the fields have the names of the variables")]
pub(super) struct ProxyEnvironment {
    https_proxy: Option<String>,
    http_proxy: Option<String>,
    no_proxy: Option<String>,
}

impl ProxyEnvironment {
    #[expect(clippy::disallowed_methods, reason = "these variables are settings of all programs, not of this one")]
    pub(super) fn read() -> Self {
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

    /// Checks the variables. kube would take an invalid one for a missing kubeconfig.
    pub(super) fn check(&self) -> Result<(), ProxyError> {
        for (place, value) in [("HTTPS_PROXY", &self.https_proxy), ("HTTP_PROXY", &self.http_proxy)] {
            value.as_deref().map(|value| parsed(value, place)).transpose()?;
        }
        Ok(())
    }
}

/// The `proxy-url` of the current context, if there is a kubeconfig.
pub(super) fn of_kubeconfig() -> Option<String> {
    let kubeconfig = Kubeconfig::read().ok()?;
    let current = kubeconfig.current_context?;
    let context = kubeconfig.contexts.into_iter().find(|context| context.name == current)?.context?;
    let cluster = kubeconfig.clusters.into_iter().find(|cluster| cluster.name == context.cluster)?.cluster?;
    cluster.proxy_url.filter(|url| !url.is_empty())
}

/// The proxy for requests to the API server at `server`.
pub(super) fn proxy(
    server: &Uri,
    of_kubeconfig: Option<&str>,
    environment: &ProxyEnvironment,
) -> Result<Option<Uri>, ProxyError> {
    if let Some(url) = of_kubeconfig {
        return parsed(url, "`proxy-url` in the kubeconfig").map(Some);
    }
    let (place, value) = match server.scheme_str() {
        Some("http") => ("HTTP_PROXY", &environment.http_proxy),
        _ => ("HTTPS_PROXY", &environment.https_proxy),
    };
    let Some(value) = value else { return Ok(None) };
    let url = parsed(value, place)?;
    let no_proxy = environment.no_proxy.clone().unwrap_or_default();
    let is_used = Matcher::builder().all("http://proxy").no(no_proxy).build().intercept(server).is_some();
    Ok(is_used.then_some(url))
}

/// The address of a proxy without the user info, which can be a password.
pub(super) fn shown(url: &Uri) -> String {
    let port = url.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}", url.scheme_str().unwrap_or("http"), url.host().unwrap_or_default())
}

/// An address without a scheme is that of an HTTP proxy, as for curl and Go.
fn parsed(text: &str, place: &'static str) -> Result<Uri, ProxyError> {
    let text = text.trim();
    let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
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
    fn no_proxy_names_the_api_server_and_not_the_proxy() {
        let dead = "http://127.0.0.1:9/";
        for (server, no_proxy, is_used) in [
            ("https://127.0.0.1:6443", "", true),
            ("https://127.0.0.1:6443", "127.0.0.1,localhost,.svc,10.0.0.0/8", false),
            ("https://10.96.0.1:443", "127.0.0.1,localhost,.svc,10.0.0.0/8", false),
            ("https://kubernetes.default.svc:443", "127.0.0.1,.svc", false),
            ("https://api.example.org", "127.0.0.1", true),
            ("https://api.example.org", "example.org", false),
            ("https://api.example.org", "*", false),
        ] {
            let expected = is_used.then(|| dead.to_owned());
            assert_eq!(chosen(server, None, &environment(dead, no_proxy)), expected, "{server} {no_proxy}");
        }
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
            let error = environment(value, "").check().unwrap_err().to_string();
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
