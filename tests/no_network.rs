//! Admission never waits for the network: it keeps its speed while the API server is stopped and SnapHook hangs.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use lab::objects::pod;
use lab::snaphook::Behaviour;
use lab::{Cluster, Namespace, Options, PodStatus, WebhookClient, crd, in_namespace_of};
use snapwatcher_admission::{MUTATE, VALIDATE};

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

const REVIEWS: usize = 1_000;

/// The API server waits three seconds.
const LONGEST: Duration = Duration::from_secs(1);

/// As many attempts as may be in flight at once, so that no other one can start.
const ATTEMPTS: usize = 8;

async fn ready_pods(ns: &Namespace) {
    let pods = ns.api::<Pod>();
    for index in 0..=ATTEMPTS {
        let stored = ns.create_object(&pod(&format!("web-{index}")).labelled().hold().build()).await;
        PodStatus::ready(&stored).write(&pods, &stored).await.unwrap();
    }
}

#[tokio::test]
async fn reviews_are_answered_while_the_api_server_is_gone_and_snaphook_hangs() {
    let mut cluster = Cluster::start(Options::from_environment().unwrap()).await.unwrap();
    crd::install(cluster.access(), Path::new(SNAPWATCHER)).await.unwrap();
    let access = cluster.access().clone();
    in_namespace_of(&access, "reviews_are_answered_without_a_network", |ns| async move {
        ns.snaphook().answer_with(Behaviour::Hang);
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        let webhook_client = WebhookClient::of(&ns, &watcher).await.unwrap();
        ready_pods(&ns).await;
        ns.until("all attempts that may be are in flight", async || ns.snaphook().requests().len() == ATTEMPTS).await;
        let in_flight = async || {
            let metrics = watcher.metrics().await.unwrap();
            metrics.contains(&format!("snapwatcher_checkpoint_in_flight {ATTEMPTS}\n"))
        };
        assert!(in_flight().await);

        cluster.stop_api_server().await.unwrap();
        // The process has noticed before the first review is sent.
        ns.until("the health check shows the broken watch", async || {
            let shown = watcher.get("/readyz?verbose").await.unwrap().text().await.unwrap();
            if shown.contains("[-]watch failed (informational)") { Ok(()) } else { Err(shown) }
        })
        .await;

        let slowest = webhook_client.slowest_review(REVIEWS, ns.name(), &[MUTATE, VALIDATE]).await.unwrap();
        assert!(slowest < LONGEST, "the slowest answer took {slowest:?}");

        assert_eq!(watcher.get("/readyz").await.unwrap().status().as_u16(), 200);
        assert!(in_flight().await, "SnapHook hung all the while");
        assert_eq!(ns.snaphook().requests().len(), ATTEMPTS, "and no request was sent without a written attempt");
    })
    .await;
}
