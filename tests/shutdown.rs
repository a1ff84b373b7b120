//! How the process ends when it is asked to: with exit code 0, its work written, its log complete.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use kube::api::ListParams;
use lab::objects::pod;
use lab::snaphook::Behaviour;
use lab::{Namespace, Snapwatcher, SnapwatcherOptions, in_namespace};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

/// Ended by itself with 0, and said so in its last line.
fn assert_ended_well(watcher: &Snapwatcher, status: ExitStatus, signal: &str) {
    assert_eq!((status.code(), status.signal()), (Some(0), None), "{}", watcher.log());
    let log = watcher.log();
    assert!(log.contains(&format!("{signal}: stopping")), "{log}");
    assert!(log.lines().last().unwrap().contains("Stopped"), "{log}");
    assert!(!log.contains("ERROR") && !log.contains("panicked"), "{log}");
}

async fn with_a_finished_pod(ns: &Namespace) -> Arc<Snapwatcher> {
    let watcher = ns.start_snapwatcher(SNAPWATCHER, &[]).await;
    ns.create_object(&pod("web").labelled().build()).await;
    ns.asked("web", 1).await;
    watcher
}

#[tokio::test]
async fn sigterm_ends_the_process_with_0() {
    in_namespace("sigterm_ends_the_process_with_0", |ns| async move {
        let watcher = with_a_finished_pod(&ns).await;
        let status = watcher.stop().await.unwrap();
        assert_ended_well(&watcher, status, "SIGTERM");
    })
    .await;
}

#[tokio::test]
async fn sigint_ends_the_process_with_0() {
    in_namespace("sigint_ends_the_process_with_0", |ns| async move {
        let watcher = with_a_finished_pod(&ns).await;
        let status = watcher.interrupt().await.unwrap();
        assert_ended_well(&watcher, status, "SIGINT");
    })
    .await;
}

#[tokio::test]
async fn a_process_that_never_became_ready_ends_as_well() {
    in_namespace("a_process_that_never_became_ready_ends_as_well", |ns| async move {
        let options = SnapwatcherOptions { binary: SNAPWATCHER.into(), ..SnapwatcherOptions::default() };
        let watcher = ns.launch_snapwatcher(options).await;
        let status = watcher.stop().await.unwrap();
        assert_ended_well(&watcher, status, "SIGTERM");
    })
    .await;
}

#[tokio::test]
async fn connections_that_stay_open_do_not_hold_the_end_up() {
    in_namespace("connections_that_stay_open_do_not_hold_the_end_up", |ns| async move {
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        let mut webhook = TcpStream::connect(watcher.webhook_addr()).await.unwrap();
        let mut admin = TcpStream::connect(watcher.admin_url().trim_start_matches("http://")).await.unwrap();
        let status = watcher.stop().await.unwrap();
        assert_ended_well(&watcher, status, "SIGTERM");
        for open in [&mut webhook, &mut admin] {
            // Closed or reset, but not left hanging.
            drop(open.read_to_end(&mut Vec::new()).await);
        }
    })
    .await;
}

#[tokio::test]
async fn an_attempt_under_way_is_finished_and_written_before_the_end() {
    in_namespace("an_attempt_under_way_is_finished_before_the_end", |ns| async move {
        ns.snaphook().answer_with(Behaviour::Delay(Duration::from_secs(2)));
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        ns.create_object(&pod("web").labelled().build()).await;
        ns.asked("web", 1).await;
        let status = watcher.stop().await.unwrap();
        assert_ended_well(&watcher, status, "SIGTERM");
        let records = ns.checkpoints().list(&ListParams::default()).await.unwrap();
        let phases: Vec<_> = records.iter().map(|record| record.data["status"]["phase"].clone()).collect();
        assert_eq!(phases, ["Succeeded"]);
    })
    .await;
}
