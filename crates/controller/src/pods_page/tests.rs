use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use snapwatcher_api::fixtures::{self, at};
use snapwatcher_api::pod::PodName;
use snapwatcher_daemon::admin::{self, AdminState, Health};
use snapwatcher_daemon::telemetry::metrics;

fn timeline() -> PodTimeline {
    PodTimeline {
        pod: PodName { namespace: "default".into(), name: "web".into() },
        uid: "u1".to_owned(),
        admission: None,
        seen: Some(at(1)),
        ready: None,
        waiting_for: Some("NotReady".to_owned()),
        containers: BTreeMap::new(),
    }
}

fn text(second: i64) -> String {
    format!("{:.3}", at(second))
}

fn json(timeline: PodTimeline) -> Value {
    let mut page = serde_json::to_value(PodsJson::new(false, None, &[timeline], None)).unwrap();
    page["pods"][0].take()
}

/// A page without pods.
fn page() -> PodsPage {
    PodsPage {
        timelines: PodTimelines::default(),
        leader: watch::Sender::new(Some("snapwatcher-0/b1".to_owned())).subscribe(),
        is_suspended: false,
    }
}

#[tokio::test]
async fn the_admin_port_shows_the_page_as_json() {
    let state = AdminState::new(Health::new(), metrics::registry()).exposing_detail(true);
    let router = admin::router(state, vec![page().page()]);
    let show = async |path: &str| {
        let request = Request::get(path).body(Body::empty()).unwrap();
        router.clone().oneshot(request).await.unwrap().into_parts()
    };
    let (parts, body) = show(PODS).await;
    assert_eq!(parts.status, StatusCode::OK);
    assert_eq!(parts.headers[header::CONTENT_TYPE], "application/json");
    let body: Value = serde_json::from_slice(&to_bytes(body, usize::MAX).await.unwrap()).unwrap();
    assert_eq!(body, json!({"leader": "snapwatcher-0/b1", "pods": []}));
    assert_eq!(show("/pods?limit=many").await.0.status, StatusCode::BAD_REQUEST);
}

/// All pages of that query, each with its length in bytes.
fn pages(page: &PodsPage, query: &str) -> Vec<(Value, usize)> {
    let (mut pages, mut query) = (Vec::new(), query.to_owned());
    loop {
        let json = page.json(&PodsQuery::parse(Some(&query)).unwrap()).unwrap();
        assert!(json.capacity() == json.len(), "nothing beside the text is held");
        let shown: Value = serde_json::from_slice(&json).unwrap();
        let next = shown["continue"].as_str().map(|next| format!("{query}&continue={next}"));
        pages.push((shown, json.len()));
        match next {
            Some(next) => query = next,
            None => return pages,
        }
    }
}

fn uids(pages: &[(Value, usize)]) -> Vec<&str> {
    let pods = pages.iter().flat_map(|(page, _)| page["pods"].as_array().unwrap());
    pods.map(|pod| pod["uid"].as_str().unwrap()).collect()
}

#[test]
fn each_pod_is_on_one_page_and_no_page_is_long() {
    let page = page();
    let pods = [("a", 700), ("b", 2)];
    for (namespace, number) in pods {
        for number in 0..number {
            let pod = PodName { namespace: namespace.into(), name: "web".into() };
            page.timelines.update_container(&pod, &format!("{namespace}/{number:03}&"), "app", |_| {});
        }
    }
    for (query, expected, sizes) in [
        ("", 702, &[500, 202][..]),
        ("limit=1000", 702, &[500, 202]),
        ("limit=699&namespace=a", 700, &[500, 200]),
        ("namespace=b&limit=1", 2, &[1, 1]),
        ("namespace=c", 0, &[0]),
    ] {
        let pages = pages(&page, query);
        let uids = uids(&pages);
        assert!(uids.len() == expected && uids.is_sorted() && uids.iter().all(|uid| uid.ends_with('&')), "{query}");
        let shown: Vec<_> = pages.iter().map(|(page, _)| page["pods"].as_array().unwrap().len()).collect();
        assert_eq!(shown, sizes, "{query}");
    }
}

#[test]
fn as_many_readers_as_there_are_connections_hold_less_than_32_mib() {
    let page = page();
    for number in 0..200 {
        let pod = PodName { namespace: "default".into(), name: format!("{number:0>253}").into() };
        page.timelines.waiting_for(&fixtures::pod(&pod.name).uid(&format!("{number:03}")).facts(), &"x".repeat(256));
        for container in 0..64 {
            page.timelines.update_container(&pod, &format!("{number:03}"), &format!("{container:0>256}"), |timeline| {
                let (text, time) = (Some("x".repeat(256)), Some(at(1)));
                (timeline.checkpoint, timeline.outcome) = (text.clone(), text);
                (timeline.claimed, timeline.requested, timeline.finished) = (time, time, time);
            });
        }
    }
    let pages = pages(&page, "");
    assert!(uids(&pages).is_sorted() && uids(&pages).len() > 100);
    for (shown, length) in &pages {
        let is_alone = shown["pods"].as_array().unwrap().len() == 1;
        assert!(*length < LONGEST_RESPONSE + 2048 || is_alone && 64 * length < 32 << 20, "{length}");
    }
}

#[test]
fn the_leader_is_named_if_there_is_one() {
    let page = |leader| serde_json::to_value(PodsJson::new(false, leader, &[], None)).unwrap();
    assert_eq!(page(Some("snapwatcher-0/b1")), json!({"leader": "snapwatcher-0/b1", "pods": []}));
    assert_eq!(page(None), json!({"pods": []}));
}

#[test]
fn times_have_three_digits_of_milliseconds() {
    for (nanosecond, expected) in [(0, "00.000Z"), (120_000_000, "00.120Z"), (123_456_789, "00.123Z")] {
        let time = Timestamp::new(1_700_000_040, nanosecond).unwrap();
        let text = serde_json::to_value(Milliseconds(time)).unwrap();
        assert!(text.as_str().unwrap().ends_with(expected), "{text}");
    }
}

#[test]
fn a_stage_that_was_not_reached_is_left_out() {
    let expected = json!({
        "pod": {"namespace": "default", "name": "web"}, "uid": "u1",
        "stages": {"seen": text(1)}, "waiting_for": "NotReady", "containers": {},
    });
    assert_eq!(json(timeline()), expected);
}

#[test]
fn the_first_container_reaches_a_stage_and_the_last_one_finishes() {
    let mut timeline = timeline();
    timeline.admission = Some(AdmissionTime { at: at(0), by_other_replica: false });
    timeline.ready = Some(at(2));
    timeline.waiting_for = None;
    let container = |claimed, requested, finished: Option<i64>| ContainerTimeline {
        checkpoint: Some("web-app-0123456789".to_owned()),
        claimed: Some(at(claimed)),
        requested: Some(at(requested)),
        finished: finished.map(at),
        outcome: finished.map(|_| "Succeeded".to_owned()),
    };
    timeline.containers.insert("app".to_owned(), container(4, 5, Some(8)));
    timeline.containers.insert("side".to_owned(), container(3, 6, None));
    let before = json(timeline.clone());
    let mut stages = json!({
        "admitted": text(0), "seen": text(1), "ready": text(2), "claimed": text(3), "requested": text(5),
    });
    assert_eq!(before["stages"], stages);
    let app = json!({
        "checkpoint": "web-app-0123456789", "claimed": text(4), "requested": text(5), "finished": text(8), "outcome": "Succeeded",
    });
    assert_eq!(before["containers"]["app"], app);

    timeline.containers.insert("side".to_owned(), container(3, 6, Some(7)));
    stages["finished"] = json!(text(8));
    assert_eq!(json(timeline)["stages"], stages);
}

#[test]
fn a_pod_claimed_before_this_process_saw_it_has_no_time_of_becoming_ready() {
    let mut timeline = timeline();
    timeline.ready = Some(at(5));
    let container = ContainerTimeline { claimed: Some(at(3)), ..Default::default() };
    timeline.containers.insert("app".to_owned(), container);
    assert_eq!(json(timeline)["stages"], json!({"seen": text(1), "claimed": text(3)}));
}

#[test]
fn a_claimed_pod_waits_while_suspended() {
    let mut timeline = timeline();
    timeline.waiting_for = None;
    let waiting_for = |timeline: &PodTimeline| PodJson::new(true, timeline).waiting_for.map(str::to_owned);
    assert_eq!(waiting_for(&timeline), None, "nothing was claimed");
    let container = ContainerTimeline { claimed: Some(at(3)), ..Default::default() };
    timeline.containers.insert("app".to_owned(), container.clone());
    assert_eq!(waiting_for(&timeline).as_deref(), Some("Suspended"));
    timeline.containers.insert("app".to_owned(), ContainerTimeline { finished: Some(at(4)), ..container });
    assert_eq!(waiting_for(&timeline), None, "finished before");
}
