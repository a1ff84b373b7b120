use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use kube::client::Body;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use snapwatcher_api::fixtures::{checkpoint, pod};
use snapwatcher_api::outcome::{Location, Redacted};

use super::*;

/// Both ends, without a client behind them.
fn queue(length: usize) -> (Events, mpsc::Receiver<QueuedEvent>) {
    let (queue, queued) = mpsc::channel(length);
    let lost = LostEvents::new(EventMetrics::register(&mut Registry::default()));
    (Events { queue, shares: Shares::of_queue(18), lost }, queued)
}

/// Requests that an API server got.
#[derive(Clone, Default)]
struct Requests {
    bodies: Arc<std::sync::Mutex<Vec<(http::Method, Value)>>>,
    open: Arc<AtomicUsize>,
    most_open: Arc<AtomicUsize>,
}

/// A client of an API server that responds after 100 ms, with the status that `status` chooses by the method.
fn api_server(status: impl Fn(&http::Method) -> StatusCode + Clone + Send + 'static) -> (Client, Requests) {
    let requests = Requests::default();
    let seen = requests.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (seen, status) = (seen.clone(), status.clone());
        async move {
            let open = seen.open.fetch_add(1, Ordering::SeqCst) + 1;
            seen.most_open.fetch_max(open, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(100)).await;
            seen.open.fetch_sub(1, Ordering::SeqCst);
            let (head, body) = request.into_parts();
            let status = status(&head.method);
            let body: Value = serde_json::from_slice(&body.collect_bytes().await?).unwrap();
            seen.bodies.lock().unwrap().push((head.method, body));
            let answer = if status.is_success() {
                json!({"metadata": {"name": "e"}})
            } else {
                json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status.as_u16(), "message": "no", "reason": "no"})
            };
            let answer = Response::builder().status(status).body(Body::from(answer.to_string().into_bytes()));
            Ok::<_, kube::Error>(answer.unwrap())
        }
    });
    (Client::new(service, "default"), requests)
}

/// Publishes what `put` puts, and returns when the queue is empty.
async fn published(client: Client, put: impl FnOnce(&Events)) -> Events {
    let (events, publisher) = events(client, "snapwatcher-0", EventMetrics::register(&mut Registry::default()));
    put(&events);
    let stop = CancellationToken::new();
    stop.cancel();
    publisher.run(stop.clone(), stop).await.unwrap();
    events
}

#[test]
fn a_note_says_what_became_of_which_checkpoint_and_why() {
    let failed = |reason| Outcome::Failed { reason, message: Redacted::own("no space"), retry_after: None };
    let (events, mut queue) = queue(9);
    for (outcome, after, expected) in [
        (Outcome::Succeeded(Location::default()), Phase::Succeeded, "Checkpoint `web-app` succeeded"),
        (failed(Reason::Busy), Phase::Pending, "Checkpoint `web-app` failed and will be retried: no space"),
        (failed(Reason::NoResponse), Phase::Unknown, "Result of Checkpoint `web-app` is unknown: no space"),
        (failed(Reason::Rejected), Phase::Failed, "Checkpoint `web-app` failed: no space"),
    ] {
        events.outcome(&checkpoint("web").build(), &pod("web").facts(), &outcome, after);
        let event = queue.try_recv().unwrap();
        assert_eq!(event.note, expected);
        assert_eq!(event.action == FAIL, matches!(after, Phase::Failed | Phase::Unknown), "{after:?}");
        assert_eq!(&*event.object.name, "web");
    }
}

#[test]
fn a_note_is_one_line_of_visible_characters_whatever_text_people_choose() {
    let hidden = "\u{200b}".repeat(1000);
    let (events, mut queue) = queue(9);
    for (note, expected) in [
        ("a\nb\u{1b}[31mred\u{202e}".to_owned(), "a bred".to_owned()),
        (format!("{hidden}why"), "why".to_owned()),
        (format!("\u{1b}[2J{}", "x".repeat(2000)), "x".repeat(1024)),
    ] {
        events.warn(&pod("web").facts(), INVALID_ANNOTATION, note);
        assert_eq!(queue.try_recv().unwrap().note, expected);
    }
}

#[test]
fn an_event_that_finds_the_queue_full_or_closed_is_counted() {
    let (events, queue) = queue(1);
    let warn = || events.warn(&pod("web").facts(), INVALID_ANNOTATION, "soon".to_owned());
    warn();
    warn();
    assert_eq!(events.lost.counted(LossCause::QueueFull), 1);
    drop(queue);
    warn();
    assert_eq!((events.lost.counted(LossCause::QueueFull), events.lost.counted(LossCause::Stopped)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn events_are_published_some_at_a_time() {
    let (client, requests) = api_server(|_| StatusCode::CREATED);
    let start = tokio::time::Instant::now();
    let events = published(client, |events| {
        for number in 0..90 {
            let pod = pod(&format!("web-{number}")).namespace(["a", "b", "c"][number % 3]);
            events.warn(&pod.facts(), NOT_MUTATED, "missed".to_owned());
        }
    })
    .await;
    assert_eq!(requests.bodies.lock().unwrap().len(), 90);
    assert_eq!(requests.most_open.load(Ordering::SeqCst), 2);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(events.lost.counted(LossCause::Forbidden), 0);
}

#[tokio::test(start_paused = true)]
async fn a_repeat_raises_the_count_of_the_event_or_creates_it_again() {
    for (status, methods) in
        [(StatusCode::OK, ["POST", "PATCH"].as_slice()), (StatusCode::NOT_FOUND, &["POST", "PATCH", "POST"])]
    {
        let (client, requests) =
            api_server(move |method| if *method == http::Method::PATCH { status } else { StatusCode::CREATED });
        let (events, publisher) = events(client, "snapwatcher-0", EventMetrics::register(&mut Registry::default()));
        let stop = CancellationToken::new();
        let warn_twice = async {
            for _ in 0..2 {
                events.warn(&pod("web").facts(), NOT_MUTATED, "missed".to_owned());
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            stop.cancel();
        };
        let (ended, ()) = tokio::join!(publisher.run(stop.clone(), stop.clone()), warn_twice);
        ended.unwrap();
        let bodies = requests.bodies.lock().unwrap();
        assert_eq!(bodies.iter().map(|(method, _)| method.as_str()).collect::<Vec<_>>(), methods);
        let created = &bodies[0].1;
        assert_eq!((&created["type"], &created["regarding"]["uid"]), (&json!("Warning"), &json!("u")));
        assert_eq!((&created["reason"], &created["reportingInstance"]), (&json!(NOT_MUTATED), &json!("snapwatcher-0")));
        assert_eq!(bodies[1].1["series"]["count"], 2);
        if let Some((_, again)) = bodies.get(2) {
            assert_eq!(again["metadata"]["name"], created["metadata"]["name"]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_the_api_server_rejects_is_counted() {
    let (client, _) = api_server(|_| StatusCode::FORBIDDEN);
    let events = published(client, |events| {
        for name in ["web", "db"] {
            events.warn(&pod(name).facts(), NOT_MUTATED, "missed".to_owned());
        }
    })
    .await;
    assert_eq!(events.lost.counted(LossCause::Forbidden), 2);
}

#[test]
fn the_events_of_one_namespace_do_not_fill_the_queue() {
    let (queue, mut queued) = mpsc::channel(4);
    let lost = LostEvents::new(EventMetrics::register(&mut Registry::default()));
    let events = Events { queue, shares: Shares::of_queue(8), lost };
    let pods = [pod("a1"), pod("a2"), pod("a3"), pod("b1").namespace("other")];
    for pod in pods {
        events.warn(&pod.facts(), INVALID_ANNOTATION, "soon".to_owned());
    }
    let names: Vec<String> =
        std::iter::from_fn(|| queued.try_recv().ok()).map(|event| event.object.name.to_string()).collect();
    assert_eq!(names, ["a1", "a2", "b1"]);
    assert_eq!(events.lost.counted(LossCause::QueueFull), 1);
}

#[tokio::test(start_paused = true)]
async fn a_long_name_of_the_instance_loses_no_event() {
    let (client, requests) = api_server(|_| StatusCode::CREATED);
    let (events, publisher) = events(client, &"i".repeat(200), EventMetrics::register(&mut Registry::default()));
    events.warn(&pod("web").facts(), NOT_MUTATED, "missed".to_owned());
    let stop = CancellationToken::new();
    stop.cancel();
    publisher.run(stop.clone(), stop).await.unwrap();
    assert_eq!(requests.bodies.lock().unwrap()[0].1["reportingInstance"].as_str().unwrap().len(), 128);
}

/// A client of an API server that responds at once, but never to a request about namespace `silent`.
fn silent_for_one_namespace() -> Client {
    let service = tower::service_fn(|request: Request<Body>| async move {
        if request.uri().path().contains("/namespaces/silent/") {
            std::future::pending::<()>().await;
        }
        let body = Body::from(json!({"metadata": {"name": "e"}}).to_string().into_bytes());
        Ok::<_, kube::Error>(Response::builder().status(StatusCode::CREATED).body(body).unwrap())
    });
    Client::new(service, "default")
}

#[tokio::test(start_paused = true)]
async fn a_namespace_whose_events_are_not_answered_delays_no_other_and_loses_them_once() {
    let metrics = EventMetrics::register(&mut Registry::default());
    let (events, publisher) = events(silent_for_one_namespace(), "snapwatcher-0", metrics);
    let is_queued = |namespace: &str| events.shares.queued_of(namespace) > 0;
    for number in 0..100 {
        events.warn(&pod(&format!("a{number}")).namespace("silent").facts(), NOT_MUTATED, "missed".to_owned());
    }
    events.warn(&pod("b").namespace("other").facts(), NOT_MUTATED, "missed".to_owned());
    let (stop, ending) = (CancellationToken::new(), CancellationToken::new());
    let steps = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(is_queued("silent") && !is_queued("other"));
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(events.lost.counted(LossCause::TimedOut), 100);
        events.warn(&pod("later").namespace("silent").facts(), NOT_MUTATED, "missed".to_owned());
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(events.lost.counted(LossCause::TimedOut), 101);
        stop.cancel();
        ending.cancel();
    };
    let (ended, ()) = tokio::join!(publisher.run(stop.clone(), ending.clone()), steps);
    ended.unwrap();
    assert_eq!(events.lost.counted(LossCause::Stopped), 0);
}

#[tokio::test(start_paused = true)]
async fn events_that_are_not_answered_hold_up_the_stop_for_seconds_only() {
    let start = tokio::time::Instant::now();
    let events = published(silent_for_one_namespace(), |events| {
        for number in 0..100 {
            events.warn(&pod(&format!("a{number}")).namespace("silent").facts(), NOT_MUTATED, "missed".to_owned());
        }
    })
    .await;
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
    assert_eq!(events.lost.counted(LossCause::Stopped), 100);
}
