//! A machine whose clock is two hours off: certificates are made by the API server's clock, and the difference is told.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use lab::proxy::Proxy;
use lab::{Caller, SnapwatcherOptions, in_namespace};
use snapwatcher::certificates::CaCertificate;
use snapwatcher::clock;

/// A library that is preloaded works with the system's allocator alone.
const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher-system-allocator");

/// The library that sets a process's clock; its folder is named after the machine's architecture.
fn libfaketime() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap().flatten();
    let found = folders.map(|folder| folder.path().join("faketime/libfaketime.so.1")).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("libfaketime is missing: `apt-get install libfaketime`"))
}

async fn served_with_a_clock_that_is_off(name: &str, offset: &str, told: &str) {
    let (offset, told) = (offset.to_owned(), told.to_owned());
    in_namespace(name, |ns| async move {
        // Over plain HTTP: the certificate of an API server that was just started is younger than the clock is behind.
        let proxy = Proxy::start(ns.access()).await;
        let env = BTreeMap::from([
            ("LD_PRELOAD".to_owned(), libfaketime().display().to_string()),
            ("FAKETIME".to_owned(), offset),
            ("FAKETIME_DONT_FAKE_MONOTONIC".to_owned(), "1".to_owned()),
        ]);
        let (binary, kubeconfig) = (SNAPWATCHER.into(), proxy.kubeconfig());
        let watcher = ns.start_snapwatcher_with(SnapwatcherOptions { binary, kubeconfig, env, args: Vec::new() }).await;
        assert!(watcher.log().contains(&told), "{}", watcher.log());
        let caller = Caller::of(&ns, &watcher).await.unwrap();
        caller.slowest_of(1, ns.name(), &["/mutate"]).await.unwrap();

        let secrets: Api<Secret> = ns.api();
        let data = secrets.get("snapwatcher-webhook-ca").await.unwrap().data.unwrap();
        let authority = CaCertificate::parse(std::str::from_utf8(&data["current.crt"].0).unwrap()).unwrap();
        let age = clock::now().duration_since(authority.not_before()).as_secs();
        assert!((3500..3800).contains(&age), "valid from an hour before now, by a clock that is right: {age} s");
    })
    .await;
}

#[tokio::test]
async fn a_clock_two_hours_ahead_is_told_and_does_no_harm() {
    served_with_a_clock_that_is_off("a_clock_two_hours_ahead", "+2h", "ahead of the API server's").await;
}

#[tokio::test]
async fn a_clock_two_hours_behind_is_told_and_does_no_harm() {
    served_with_a_clock_that_is_off("a_clock_two_hours_behind", "-2h", "behind the API server's").await;
}
