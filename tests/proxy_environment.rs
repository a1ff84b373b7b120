//! The program reaches the API server through the proxy of the environment, and without it where NO_PROXY says so.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use lab::in_namespace;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::time::timeout;

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

/// No host has this name, so without a proxy the program ends soon.
const API_SERVER: &str = "api.snapwatcher.invalid:6443";

/// Runs `snapwatcher check` with this kubeconfig and nothing else in the environment but these variables.
async fn check(kubeconfig: &Path, arguments: &[String], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(SNAPWATCHER);
    command.arg("check").args(arguments).env_clear().env("KUBECONFIG", kubeconfig).stdin(Stdio::null());
    command.envs(variables.iter().copied());
    tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap()
}

fn kubeconfig() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: x\ncontexts: [{{name: x, context: {{cluster: x}}}}]\n\
         clusters: [{{name: x, cluster: {{server: 'https://{API_SERVER}'}}}}]\n"
    );
    std::fs::write(file.path(), text).unwrap();
    file
}

/// The first line that a proxy receives from `snapwatcher check` with these variables; `None` if the program ends without a
/// connection to it. `PROXY` in a value is the address of the proxy.
async fn first_line(variables: &[(&str, &str)]) -> Option<String> {
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = proxy.local_addr().unwrap().to_string();
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.replace("PROXY", &address))).collect();
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let received = async {
        let (connection, _) = proxy.accept().await.unwrap();
        let mut line = String::new();
        BufReader::new(connection).read_line(&mut line).await.unwrap();
        line
    };
    let kubeconfig = kubeconfig();
    let run = async {
        tokio::select! {
            line = received => Some(line),
            _ = check(kubeconfig.path(), &[], &variables) => None,
        }
    };
    timeout(Duration::from_secs(60), run).await.unwrap()
}

#[tokio::test]
async fn the_proxy_of_the_environment_receives_a_connect() {
    let expected = format!("CONNECT {API_SERVER} HTTP/1.1\r\n");
    for variables in [
        &[("HTTPS_PROXY", "http://PROXY")][..],
        &[("https_proxy", "PROXY")],
        &[("HTTPS_PROXY", "http://PROXY"), ("NO_PROXY", "localhost,10.0.0.0/8,api.snapwatcher.invalid:443")],
        &[("HTTPS_PROXY", "http://PROXY"), ("HTTP_PROXY", "nonsense://")],
    ] {
        assert_eq!(first_line(variables).await.as_deref(), Some(expected.as_str()), "{variables:?}");
    }
}

#[tokio::test]
async fn a_server_that_no_proxy_names_is_not_reached_through_the_proxy() {
    for no_proxy in
        ["*", "*.snapwatcher.invalid", ".snapwatcher.invalid", "snapwatcher.invalid", API_SERVER, "a,,.invalid"]
    {
        let variables = [("HTTPS_PROXY", "http://PROXY"), ("NO_PROXY", no_proxy)];
        assert_eq!(first_line(&variables).await, None, "{no_proxy}");
    }
}

#[tokio::test]
async fn a_dead_or_invalid_proxy_that_is_not_used_is_no_error() {
    in_namespace("a_dead_proxy_that_is_not_used", |ns| async move {
        let (arguments, kubeconfig) = (ns.check_arguments(&[]), ns.access().kubeconfig());
        for variables in [
            // This machine is never reached through a proxy.
            &[("HTTPS_PROXY", "http://127.0.0.1:9")][..],
            &[("HTTPS_PROXY", "http://127.0.0.1:9"), ("NO_PROXY", "127.0.0.1,localhost,.svc,10.0.0.0/8")],
            &[("HTTPS_PROXY", "http://127.0.0.1:9"), ("no_proxy", "*")],
            &[
                ("HTTPS_PROXY", "socks4://p:1080"),
                ("HTTP_PROXY", "http://"),
                ("NO_PROXY", "*.example.com,10.96.0.1:443,"),
            ],
        ] {
            let output = check(&kubeconfig, &arguments, variables).await;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(text.starts_with("ok       API server: v1."), "{variables:?}: {text}");
        }
    })
    .await;
}
