use super::*;

fn key(namespace: &str, name: &str) -> Key {
    Key { kind: Kind::Checkpoint, namespace: namespace.to_owned(), name: name.to_owned() }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn queue(keys: &[(&str, &str)]) -> WorkQueue {
    let mut queue = WorkQueue::default();
    for (namespace, name) in keys {
        queue.add(key(namespace, name), seconds(0));
    }
    queue
}

fn started(queue: &mut WorkQueue, now: u64) -> Vec<String> {
    std::iter::from_fn(|| queue.start(seconds(now))).map(|key| format!("{}/{}", key.namespace, key.name)).collect()
}

const REJECTED: End = End::Failed { is_rejected: true, least: None };
const FAILED: End = End::Failed { is_rejected: false, least: None };

#[test]
fn a_namespace_has_two_places_of_eight_and_waits_behind_the_others() {
    let mut queue = queue(&[("a", "1"), ("a", "2"), ("a", "3"), ("b", "1"), ("c", "1")]);
    assert_eq!(started(&mut queue, 0), ["a/1", "b/1", "c/1", "a/2"]);
    queue.add(key("d", "1"), seconds(0));
    assert!(!queue.finish(&key("a", "1"), End::Done, seconds(0)));
    assert_eq!(started(&mut queue, 0), ["d/1", "a/3"]);
    for number in 0..20 {
        queue.add(key(&format!("n{number}"), "1"), seconds(0));
    }
    assert_eq!(started(&mut queue, 0).len(), AT_ONCE - 5);
    assert_eq!(queue.next_due(), None);
}

#[test]
fn an_object_that_fails_waits_ever_longer_and_delays_no_other() {
    let mut queue = queue(&[("a", "1"), ("a", "2")]);
    assert_eq!(started(&mut queue, 0), ["a/1", "a/2"]);
    queue.finish(&key("a", "2"), End::Done, seconds(0));
    let mut last = Duration::ZERO;
    for failures in 1..=12 {
        queue.finish(&key("a", "1"), FAILED, seconds(0));
        let due = queue.next_due().unwrap();
        assert!(failures > 8 || due > last, "{failures}: {due:?} after {last:?}");
        assert!(due <= seconds(375), "{due:?}");
        last = due;
        queue.add(key("a", "1"), seconds(0));
        assert_eq!(queue.next_due(), Some(due), "a change does not shorten the wait");
        assert!(queue.start(due).is_some());
    }
    queue.add(key("a", "3"), seconds(0));
    assert_eq!(started(&mut queue, 0), ["a/3"]);
}

#[test]
fn the_wait_that_a_server_requests_is_kept() {
    let mut queue = queue(&[("a", "1")]);
    assert!(queue.start(seconds(0)).is_some());
    queue.finish(&key("a", "1"), End::Failed { is_rejected: false, least: Some(seconds(1000)) }, seconds(5));
    assert_eq!(queue.next_due(), Some(seconds(1005)));
}

#[test]
fn an_object_that_is_always_rejected_is_left_until_it_changes() {
    let mut queue = queue(&[("a", "1")]);
    let mut now = seconds(0);
    for rejections in 1..=MOST_REJECTIONS {
        now = now.max(queue.next_due().unwrap());
        assert!(queue.start(now).is_some(), "{rejections}");
        assert_eq!(queue.finish(&key("a", "1"), REJECTED, now), rejections == MOST_REJECTIONS);
    }
    assert!(now < seconds(2 * 3600), "{now:?}");
    assert_eq!(queue.next_due(), None);
    queue.add(key("a", "1"), now);
    assert_eq!(queue.next_due(), Some(now));
}

#[test]
fn an_outage_ends_no_work() {
    let mut queue = queue(&[("a", "1")]);
    for _ in 0..1000 {
        let due = queue.next_due().unwrap();
        assert!(queue.start(due).is_some());
        assert!(!queue.finish(&key("a", "1"), FAILED, due));
    }
}

#[test]
fn a_change_during_the_work_leads_to_another_look() {
    let mut queue = queue(&[("a", "1")]);
    for (end, now) in [(End::Done, 0), (End::Later(seconds(60)), 1)] {
        assert_eq!(started(&mut queue, now), ["a/1"]);
        queue.add(key("a", "1"), seconds(now));
        queue.finish(&key("a", "1"), end, seconds(now));
        assert_eq!(queue.next_due(), Some(seconds(now)), "{end:?}");
    }
    assert_eq!(started(&mut queue, 1), ["a/1"]);
    queue.finish(&key("a", "1"), End::Overtaken, seconds(1));
    assert_eq!(queue.next_due(), Some(seconds(1) + OVERTAKEN_WAIT));
}

#[test]
fn what_waits_of_a_namespace_is_bounded_and_found_by_a_later_listing() {
    let mut queue = WorkQueue::default();
    for number in 0..=MOST_OF_NAMESPACE {
        queue.add(key("a", &number.to_string()), seconds(0));
    }
    assert_eq!(queue.namespaces["a"].entries.len(), MOST_OF_NAMESPACE);
    assert!(!queue.take_left_out(), "there is no room yet");
    while let Some(key) = queue.start(seconds(0)) {
        queue.finish(&key, End::Done, seconds(0));
    }
    assert!(queue.take_left_out() && !queue.take_left_out());
    assert!(queue.namespaces.is_empty());
}
