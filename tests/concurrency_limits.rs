//! How many checkpoints run at once, as SnapHook sees them, the order of the namespaces, and `--suspend`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use lab::objects::pod;
use lab::snaphook::{Behaviour, RecordedRequest};
use lab::storm::Size;
use lab::terminal::print_result;
use lab::{CheckpointCounts, Namespace, SnapwatcherOptions, in_namespace};

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

const NODES: usize = 5;

/// Both limits matter: the limits of five nodes add up to more than the limit in all.
const AT_ONCE: usize = 6;
const AT_ONCE_PER_NODE: usize = 2;

/// How long a checkpoint takes in SnapHook.
const TAKES: Duration = Duration::from_millis(300);

const TIMEOUT: Duration = Duration::from_secs(120);

/// The largest number of requests that were certainly under way at once: each takes at least [`TAKES`].
fn most_at_once<'a>(requests: impl IntoIterator<Item = &'a RecordedRequest>) -> usize {
    let takes = SignedDuration::try_from(TAKES).unwrap();
    let times: Vec<_> = requests.into_iter().map(|request| request.at).collect();
    let under_way = |now| times.iter().filter(|at| **at <= now && now.duration_since(**at) < takes).count();
    times.iter().map(|now| under_way(*now)).max().unwrap_or_default()
}

/// Creates Ready pods, spread over the nodes, and returns their names.
async fn pods_on(ns: &Namespace, nodes: &[String], count: usize) -> Vec<String> {
    let pods = ns.api::<Pod>();
    let create = PostParams::default();
    let names: Vec<String> = (0..count).map(|number| format!("web-{number:03}")).collect();
    let wanted = names
        .iter()
        .zip(nodes.iter().cycle())
        .map(|(name, node)| pod(name).labelled().spec(|spec| spec.node_name = Some(node.clone())).build());
    let (pods, create) = (&pods, &create);
    let created = stream::iter(wanted).map(|pod| async move { pods.create(create, &pod).await });
    created.buffer_unordered(8).try_for_each(|_| async { Ok(()) }).await.unwrap();
    for name in &names {
        ns.pod_ready(name).await;
    }
    names
}

#[tokio::test]
async fn the_limits_hold_on_each_node_and_in_all_and_small_namespaces_are_served_first() {
    let (large, small) = Size::chosen().of((54, 3), (180, 10));
    let pods = large + 2 * small;
    in_namespace("limits-large", |a| async move {
        in_namespace("limits-small", |b| async move {
            in_namespace("limits-tiny", |c| async move {
                let nodes = a.dedicated_nodes(NODES).await;
                let mut names = Vec::new();
                for (ns, count) in [(&a, large), (&b, small), (&c, small)] {
                    names.push(pods_on(ns, &nodes, count).await);
                }
                let namespaces = [a.name(), b.name(), c.name()].join(",");
                let (at_once, per_node) = (AT_ONCE.to_string(), AT_ONCE_PER_NODE.to_string());
                let limits = ["--max-concurrent", &at_once, "--max-concurrent-per-node", &per_node];
                let args = [&["--namespaces", &namespaces], &limits[..]].concat();
                let suspended = launch(&a, &[&args[..], &["--suspend"]].concat()).await;
                for (ns, count) in [(&a, large), (&b, small), (&c, small)] {
                    ns.all_records(count, "Pending", TIMEOUT).await;
                }
                suspended.stop().await.unwrap();
                assert_eq!(a.snaphook().requests().len(), 0, "suspended");

                a.snaphook().answer_with(Behaviour::Delay(TAKES));
                launch(&a, &args).await;
                for (ns, count) in [(&a, large), (&b, small), (&c, small)] {
                    ns.all_records(count, "Succeeded", TIMEOUT).await;
                }
                let requests = a.snaphook().requests();
                assert_eq!(requests.len(), pods, "each once");
                let most = most_at_once(&requests);
                // Each namespace leaves some slots to the others.
                assert!((AT_ONCE - 1..=AT_ONCE).contains(&most), "the limit in all is used and kept: {most}");
                let mut by_node: BTreeMap<&str, Vec<&RecordedRequest>> = BTreeMap::new();
                for request in &requests {
                    by_node.entry(request.body["node_name"].as_str().unwrap()).or_default().push(request);
                }
                assert_eq!(by_node.len(), NODES);
                for (node, requests) in by_node {
                    let most = most_at_once(requests);
                    assert!(most <= AT_ONCE_PER_NODE, "{most} at once on {node}");
                }
                let first = &requests[..pods * 3 / 10];
                let of_small = first.iter().filter(|request| request.subject.namespace != a.name()).count();
                assert_eq!(of_small, 2 * small, "all pods of the small namespaces are among the first");
                let counts = CheckpointCounts::count(names[0].iter(), &a.records().await, &requests);
                assert_eq!((counts.lost.len(), counts.doubled.len()), (0, 0), "{counts:?}");
                print_result(&format!("{pods} pods: at most {most} at once, {of_small} of small namespaces first"));
            })
            .await;
        })
        .await;
    })
    .await;
}

/// Starts the process and waits until it is ready.
async fn launch(ns: &Namespace, args: &[&str]) -> std::sync::Arc<lab::Snapwatcher> {
    let args = args.iter().map(|argument| (*argument).to_owned()).collect();
    let options = SnapwatcherOptions { binary: SNAPWATCHER.into(), args, ..SnapwatcherOptions::default() };
    let watcher = ns.launch_snapwatcher(options).await;
    watcher.ready().await.unwrap();
    watcher
}

#[tokio::test]
async fn while_suspended_pods_are_claimed_and_no_request_is_sent() {
    in_namespace("while_suspended_pods_are_claimed", |ns| async move {
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &["--suspend"]).await;
        for name in ["web-1", "web-2"] {
            ns.create_object(&pod(name).labelled().build()).await;
            ns.record_of(name, "Pending").await;
        }
        ns.apply_checkpoint("manual", &serde_json::json!({"pod": {"name": "web-1"}})).await.unwrap();
        ns.until("all three are queued", async || {
            watcher.metric("snapwatcher_checkpoint_queued").await.unwrap() == Some(3.0)
        })
        .await;
        assert!(watcher.log().contains(
            "Health check `backend` fails: suspended by --suspend: Checkpoints are created but not executed"
        ));
        assert_eq!(watcher.metric("snapwatcher_checkpoint_suspended").await.unwrap(), Some(1.0));
        watcher.restart().await.unwrap();
        ns.until("all three are queued again", async || {
            watcher.metric("snapwatcher_checkpoint_queued").await.unwrap() == Some(3.0)
        })
        .await;
        ns.until("each timeline shows what its pod waits for", async || {
            let shown = watcher.pod_timelines().await.unwrap();
            let mut ours = shown["pods"].as_array().unwrap().iter().filter(|one| one["pod"]["namespace"] == ns.name());
            if ours.clone().count() == 2 && ours.all(|one| one["waiting_for"] == "Suspended") {
                Ok(())
            } else {
                Err(shown.to_string())
            }
        })
        .await;
        let health = watcher.get("/readyz?verbose").await.unwrap().text().await.unwrap();
        assert!(health.contains("[-]backend failed (informational): suspended by --suspend: "), "{health}");
        watcher.stop().await.unwrap();
        assert_eq!(ns.snaphook().requests().len(), 0);

        launch(&ns, &[]).await;
        ns.all_records(3, "Succeeded", TIMEOUT).await;
        assert_eq!(
            (ns.request_count("web-1"), ns.request_count("web-2")),
            (2, 1),
            "a manual Checkpoint does not replace another one"
        );
    })
    .await;
}
