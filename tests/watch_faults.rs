//! Watches that fail: silent, ended at once, with a resourceVersion that is too old, without events, or with an object
//! that cannot be decoded. Each recovers by itself, and no pod is missed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use kube::api::{Patch, PatchParams};
use lab::objects::pod;
use lab::proxy::{Fault, Proxy, Verb, When};
use lab::storm::Size;
use lab::terminal::print_result;
use lab::{Namespace, Snapwatcher, SnapwatcherOptions, in_namespace, try_until};
use serde_json::json;

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

/// Both watches on which a checkpoint depends.
const WATCHED: [&str; 2] = ["pods", "checkpoints"];

fn watching(resource: &str) -> When {
    When::call(Verb::Watch, resource)
}

/// Starts SnapWatcher behind a proxy and waits until both watches run.
async fn start(ns: &Namespace, args: &[&str]) -> (Proxy, Arc<Snapwatcher>) {
    let proxy = Proxy::start(ns.access()).await;
    let args = args.iter().map(|argument| (*argument).to_owned()).collect();
    let kubeconfig = proxy.kubeconfig();
    let options = SnapwatcherOptions { binary: SNAPWATCHER.into(), kubeconfig, args, ..Default::default() };
    let watcher = ns.start_snapwatcher_with(options).await;
    ns.later_pod_is_requested("early").await;
    ns.record_of("early", "Succeeded").await;
    (proxy, watcher)
}

/// Ends the current watch. Rules that exist already apply to the next one.
async fn end_watch(ns: &Namespace, proxy: &Proxy, resource: &str) {
    let before = proxy.count(&watching(resource));
    let reset = proxy.fail(watching(resource), Fault::Reset);
    ns.until("the watch is started again", async || proxy.count(&watching(resource)) > before).await;
    proxy.remove_rule(reset);
}

async fn shows(watcher: &Snapwatcher, line: &str) -> Result<(), String> {
    let shown = watcher.get("/readyz?verbose").await.unwrap().text().await.unwrap();
    if shown.contains(line) { Ok(()) } else { Err(shown) }
}

/// The counter and the health check are those of this watch.
async fn a_silent_watch_is_noticed_in_time(resource: &str, counter: &str, check: &str) {
    /// How long a connection may be silent after the end of its watch.
    const SILENCE: Duration = Duration::from_secs(5);
    /// The wait before the next watch, and the delay of a loaded machine.
    const BEGIN_AGAIN: Duration = Duration::from_secs(3);
    let timeout = Duration::from_secs(Size::chosen().of(5, 60));
    let flag = format!("--watch-timeout={}s", timeout.as_secs());
    in_namespace("a_silent_watch_is_noticed_in_time", |ns| async move {
        let (proxy, watcher) = start(&ns, &[&flag]).await;
        let times = async || watcher.metric(counter).await.unwrap();
        let times_before = times().await;
        let hole = proxy.fail(watching(resource), Fault::BlackHole);
        let (started, before) = (Instant::now(), proxy.count(&watching(resource)));
        ns.create_object(&pod("unseen").labelled().build()).await;
        let is_noticed = async || times().await > times_before;
        try_until("the silence is counted", timeout + SILENCE, is_noticed).await.unwrap();
        let took = started.elapsed();
        shows(&watcher, &format!("[-]{check} failed")).await.unwrap();
        let is_replaced = async || proxy.count(&watching(resource)) > before;
        try_until("another watch is started", BEGIN_AGAIN, is_replaced).await.unwrap();
        // The watch that was started meanwhile was silent, too.
        proxy.remove_rule(hole);
        let is_asked = async || ns.request_count("unseen") == 1;
        let limit = timeout + SILENCE + BEGIN_AGAIN;
        try_until("SnapHook has received a request for the pod created in the silence", limit, is_asked).await.unwrap();
        ns.record_of("unseen", "Succeeded").await;
        print_result(&format!("a silent watch of {resource} is noticed after {took:?}, its timeout is {timeout:?}"));
    })
    .await;
}

#[tokio::test]
async fn a_watch_of_pods_that_falls_silent_is_noticed_in_time() {
    a_silent_watch_is_noticed_in_time("pods", "snapwatcher_watch_interruptions_total", "watch").await;
}

#[tokio::test]
async fn a_watch_of_checkpoints_that_falls_silent_is_noticed_in_time() {
    let counter = "snapwatcher_checkpoint_watch_interruptions_total";
    a_silent_watch_is_noticed_in_time("checkpoints", counter, "crd").await;
}

#[tokio::test]
async fn the_check_passes_when_a_watch_is_established_again_without_events() {
    in_namespace("a_watch_is_established_again", |ns| async move {
        let (proxy, watcher) = start(&ns, &[]).await;
        for (resource, check) in [("pods", "watch"), ("checkpoints", "crd")] {
            let listings = proxy.count(&When::call(Verb::List, resource));
            let reset = proxy.fail(watching(resource), Fault::Reset);
            ns.until("the check fails", async || shows(&watcher, &format!("[-]{check} failed")).await).await;
            proxy.remove_rule(reset);
            ns.until("the check passes", async || shows(&watcher, &format!("[+]{check} ok")).await).await;
            assert_eq!(proxy.count(&When::call(Verb::List, resource)), listings, "it was resumed");
        }
    })
    .await;
}

#[tokio::test]
async fn watches_that_end_at_once_are_restarted_at_a_bounded_rate() {
    // All watches together may send ten requests per second.
    let (requests, least) = Size::chosen().of((30, 2), (300, 25));
    in_namespace("watches_that_end_at_once", |ns| async move {
        let (proxy, _watcher) = start(&ns, &[]).await;
        for resource in WATCHED {
            proxy.fail(watching(resource), Fault::EndAtOnce);
        }
        for resource in WATCHED {
            proxy.fail(watching(resource), Fault::Reset);
        }
        let times = || {
            let calls = proxy.calls().into_iter();
            calls.filter(|call| watching("pods").matches(call)).map(|call| call.at).collect::<Vec<_>>()
        };
        let before = times().len();
        let many = async || times().len() >= before + requests;
        try_until("many watches have ended at once", Duration::from_secs(120), many).await.unwrap();
        let took = times()[before + requests - 1].duration_since(times()[before]);
        assert!(took > SignedDuration::from_secs(least), "{requests} requests in {took}");
        ns.create_object(&pod("meanwhile").labelled().build()).await;
        proxy.remove_all_rules();
        ns.until_requested("meanwhile", 1).await;
        ns.record_of("meanwhile", "Succeeded").await;
        print_result(&format!("{requests} watches of pods that ended at once took {took:#}"));
    })
    .await;
}

async fn an_expired_version_leads_to_a_relist(resource: &str, fault: Fault) {
    in_namespace("an_expired_version_leads_to_a_relist", |ns| async move {
        let (proxy, _watcher) = start(&ns, &[]).await;
        let listings = || proxy.count(&When::call(Verb::List, resource));
        let before = listings();
        proxy.fail_times(1, watching(resource), fault);
        end_watch(&ns, &proxy, resource).await;
        ns.create_object(&pod("meanwhile").labelled().build()).await;
        ns.until_requested("meanwhile", 1).await;
        ns.record_of("meanwhile", "Succeeded").await;
        // A claim does not wait for the watch of Checkpoints, so it can be done before.
        ns.until(&format!("{resource} are listed again"), async || listings() > before).await;
        assert_eq!(ns.request_count("early"), 1, "and no request is repeated");
    })
    .await;
}

#[tokio::test]
async fn an_expired_version_in_a_status_leads_to_a_relist() {
    for resource in WATCHED {
        an_expired_version_leads_to_a_relist(resource, Fault::Answer(410)).await;
    }
}

#[tokio::test]
async fn an_expired_version_in_an_event_leads_to_a_relist() {
    for resource in WATCHED {
        an_expired_version_leads_to_a_relist(resource, Fault::ErrorEvent(410)).await;
    }
}

#[tokio::test]
async fn a_watch_with_bookmarks_alone_is_resumed_without_a_listing() {
    in_namespace("a_watch_with_bookmarks_alone", |ns| async move {
        let (proxy, _watcher) = start(&ns, &["--watch-timeout", "3s"]).await;
        let count = |verb| proxy.count(&When::call(verb, "pods"));
        let (watches, listings) = (count(Verb::Watch), count(Verb::List));
        let rule = proxy.fail(watching("pods"), Fault::OnlyBookmarks);
        ns.until("three watches have ended", async || count(Verb::Watch) >= watches + 3).await;
        proxy.remove_rule(rule);
        ns.create_object(&pod("afterwards").labelled().build()).await;
        ns.until_requested("afterwards", 1).await;
        assert_eq!(count(Verb::List), listings, "resumed from the last bookmark");
        assert_eq!(ns.request_count("early"), 1);
    })
    .await;
}

#[tokio::test]
async fn a_pod_that_cannot_be_decoded_delays_no_other() {
    in_namespace("a_pod_that_cannot_be_decoded", |ns| async move {
        let (proxy, watcher) = start(&ns, &[]).await;
        let garbled = proxy.fail(When::about("pods"), Fault::Corrupt("odd".to_owned()));
        ns.create_object(&pod("odd").labelled().build()).await;
        ns.later_pod_is_requested("later-watched").await;
        let skipped = async || watcher.metric("snapwatcher_watch_undecodable_total").await.unwrap();
        assert!(skipped().await > Some(0.0), "read from the watch");
        watcher.restart().await.unwrap();
        ns.later_pod_is_requested("later-listed").await;
        assert!(skipped().await > Some(0.0), "read from the list");
        assert_eq!(ns.request_count("odd"), 0);

        proxy.remove_rule(garbled);
        ns.label_pod("odd", "mended", Some("true")).await;
        ns.until_requested("odd", 1).await;
        assert_eq!(ns.request_count("early"), 1);
    })
    .await;
}

#[tokio::test]
async fn a_checkpoint_that_cannot_be_decoded_delays_no_other() {
    in_namespace("a_checkpoint_that_cannot_be_decoded", |ns| async move {
        let (proxy, watcher) = start(&ns, &[]).await;
        let garbled = proxy.fail(When::about("checkpoints"), Fault::Corrupt("odd".to_owned()));
        ns.apply_checkpoint("odd", &json!({"pod": {"name": "early"}})).await.unwrap();
        ns.later_pod_is_requested("later-watched").await;
        let skipped = async || watcher.metric("snapwatcher_checkpoint_undecodable_total").await.unwrap();
        assert!(skipped().await > Some(0.0), "read from the watch");
        watcher.restart().await.unwrap();
        ns.later_pod_is_requested("later-listed").await;
        assert!(skipped().await > Some(0.0), "read from the list");
        assert_eq!(ns.request_count("early"), 1);

        proxy.remove_rule(garbled);
        let touch = Patch::Merge(json!({"metadata": {"annotations": {"mended": "true"}}}));
        ns.checkpoints().patch("odd", &PatchParams::default(), &touch).await.unwrap();
        ns.record_named("odd", "Succeeded").await;
        assert_eq!(ns.request_count("early"), 2, "the manual Checkpoint is requested");
    })
    .await;
}
