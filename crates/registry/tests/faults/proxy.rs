//! The proxy of the environment.

use lab::registry::FakeRegistry;
use snapwatcher_api::outcome::Redacted;
use snapwatcher_kubernetes::cluster::ProxyEnvironment;
use snapwatcher_registry::{RegistrySettings, RegistryTimes};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;

use super::{content, failure, repository_of, settings, times, upload};

/// A proxy for all URLs at this address.
fn proxies(address: &str) -> ProxyEnvironment {
    let proxy = || Some(format!("http://bob:a-secret-password@{address}"));
    ProxyEnvironment { https_proxy: proxy(), http_proxy: proxy(), no_proxy: None }
}

#[tokio::test]
async fn a_registry_on_another_machine_is_reached_through_the_proxy() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = RegistrySettings {
        proxies: proxies(&listener.local_addr().unwrap().to_string()),
        times: RegistryTimes { failures: 1, ..times() },
        ..RegistrySettings::new("registry.example.com/x".parse().unwrap(), Redacted::own)
    };
    let first_line = async {
        let (connection, _) = listener.accept().await.unwrap();
        let mut line = String::new();
        BufReader::new(connection).read_line(&mut line).await.unwrap();
        line
    };
    let repository = repository_of(&settings);
    let (result, line) = tokio::join!(repository.check_writable(), first_line);
    assert_eq!(line, "CONNECT registry.example.com:443 HTTP/1.1\r\n");
    let (_, text) = failure(result);
    assert!(!text.contains("a-secret-password"), "{text}");
    assert!(!format!("{settings:?}").contains("a-secret-password"));
}

#[tokio::test]
async fn a_registry_on_this_machine_is_reached_without_a_proxy() {
    let registry = FakeRegistry::start().await.unwrap();
    // Nothing listens on this port.
    let settings = RegistrySettings { proxies: proxies("127.0.0.1:9"), ..settings(&registry) };
    upload(&repository_of(&settings), &content(10)).await.unwrap();
}
