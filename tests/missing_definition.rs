//! A cluster without the Checkpoint resource: admission works, the log and the health check name the remedy, and
//! SnapWatcher continues once the resource is installed.

use std::path::Path;

use lab::objects::pod;
use lab::{Cluster, Options, crd, in_namespace_of};

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

/// The remedy.
const REMEDY: &str = "run `snapwatcher crd | kubectl apply --server-side -f -`";

#[tokio::test]
async fn a_pod_waits_for_the_definition_and_is_checkpointed_without_a_restart() {
    let cluster = Cluster::start(Options::from_environment().unwrap()).await.unwrap();
    in_namespace_of(cluster.access(), "a_pod_waits_for_the_definition", |ns| async move {
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        ns.create_object(&pod("early").labelled().build()).await;
        ns.pod_ready("early").await;
        ns.until("the health check shows the missing definition", async || {
            let shown = watcher.get("/readyz?verbose").await.unwrap().text().await.unwrap();
            let is_shown =
                shown.lines().any(|line| line.starts_with("[-]crd failed (informational)") && line.contains(REMEDY));
            if is_shown { Ok(()) } else { Err(shown) }
        })
        .await;
        assert!(watcher.log().contains(REMEDY));
        assert_eq!(watcher.get("/readyz").await.unwrap().status().as_u16(), 200);
        ns.admission_works().await;
        assert!(ns.snaphook().requests().is_empty(), "no request is sent without a Checkpoint");

        crd::install(ns.access(), Path::new(SNAPWATCHER)).await.unwrap();
        ns.until_requested("early", 1).await;
        ns.until("the health check shows the definition", async || {
            let shown = watcher.get("/readyz?verbose").await.unwrap().text().await.unwrap();
            if shown.contains("[+]crd ok (informational)\n") { Ok(()) } else { Err(shown) }
        })
        .await;
        ns.create_object(&pod("late").labelled().build()).await;
        ns.until_requested("late", 1).await;
        ns.until_requested("early", 1).await;
    })
    .await;
    cluster.stop().await.unwrap();
}
