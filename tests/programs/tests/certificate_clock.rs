//! The clock of the machine is two hours off: certificates are made by the API server's clock, and the difference is logged.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::Secret;
use lab::proxy::Proxy;
use lab::{Namespace, SnapwatcherOptions, WebhookClient, in_namespace};
use snapwatcher_certificates::CaCertificate;
use snapwatcher_daemon::clock;

/// libfaketime needs the allocator of the system.
const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher-system-allocator");

/// The library that sets a process's clock; its folder is named after the machine's architecture.
fn libfaketime() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap().flatten();
    let found = folders.map(|folder| folder.path().join("faketime/libfaketime.so.1")).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("libfaketime is missing: `apt-get install libfaketime`"))
}

/// The options of a process whose clock is off.
fn with_a_clock_that_is_off(offset: &str, proxy: &Proxy, args: &[&str]) -> SnapwatcherOptions {
    let env = BTreeMap::from([
        ("LD_PRELOAD".to_owned(), libfaketime().display().to_string()),
        ("FAKETIME".to_owned(), offset.to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC".to_owned(), "1".to_owned()),
    ]);
    let args = args.iter().map(|argument| (*argument).to_owned()).collect();
    SnapwatcherOptions { binary: SNAPWATCHER.into(), kubeconfig: proxy.kubeconfig(), env, args }
}

/// The CA that signs.
async fn authority(ns: &Namespace) -> CaCertificate {
    let data = ns.api::<Secret>().get("snapwatcher-webhook-ca").await.unwrap().data.unwrap();
    CaCertificate::parse(std::str::from_utf8(&data["current.crt"].0).unwrap()).unwrap()
}

async fn served_with_a_clock_that_is_off(name: &str, offset: &str, reported: &str) {
    let (offset, reported) = (offset.to_owned(), reported.to_owned());
    in_namespace(name, |ns| async move {
        // Over plain HTTP: the certificate of an API server that was just started is younger than the clock is behind.
        let proxy = Proxy::start(ns.access()).await;
        let watcher = ns.start_snapwatcher_with(with_a_clock_that_is_off(&offset, &proxy, &[])).await;
        assert!(watcher.log().contains(&reported), "{}", watcher.log());
        let webhook_client = WebhookClient::of(&ns, &watcher).await.unwrap();
        webhook_client.slowest_review(1, ns.name(), &["/mutate"]).await.unwrap();

        let authority = authority(&ns).await;
        let age = clock::now().duration_since(authority.not_before()).as_secs();
        assert!((3500..3800).contains(&age), "valid from an hour before now, by a clock that is right: {age} s");
    })
    .await;
}

#[tokio::test]
async fn a_clock_two_hours_ahead_is_logged_and_does_no_harm() {
    served_with_a_clock_that_is_off("a_clock_two_hours_ahead", "+2h", "ahead of the API server's").await;
}

#[tokio::test]
async fn a_clock_two_hours_behind_is_logged_and_does_no_harm() {
    served_with_a_clock_that_is_off("a_clock_two_hours_behind", "-2h", "behind the API server's").await;
}

#[tokio::test]
async fn an_expired_ca_is_replaced_with_a_clock_two_hours_behind() {
    in_namespace("an_expired_ca_is_replaced", |ns| async move {
        let proxy = Proxy::start(ns.access()).await;
        let lives = ["--ca-life=12s", "--serving-certificate-life=4s", "--publish-wait=1s", "--level-check=1s"];
        let watcher = ns.start_snapwatcher_with(with_a_clock_that_is_off("-2h", &proxy, &lives)).await;
        watcher.kill().await.unwrap();
        let before = authority(&ns).await;
        lab::until("the CA has expired", async || before.has_expired(clock::now())).await;
        watcher.start_again().await.unwrap();
        ns.admission_works().await;
        assert!(authority(&ns).await.generation() > before.generation());
        assert!(watcher.log().contains("the CA had expired"), "{}", watcher.log());
    })
    .await;
}
