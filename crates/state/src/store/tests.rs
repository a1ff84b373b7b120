use super::*;
use crate::words::LONGEST_TEXT;

const NOW: Duration = Duration::from_secs(100);

fn pod_of(namespace: &str) -> PodName {
    PodName { namespace: namespace.into(), name: "web".into() }
}

fn pod() -> PodName {
    pod_of("default")
}

fn is_kept(store: &Store, namespace: &str, uid: usize) -> bool {
    store.get(namespace, &uid.to_string()).is_some()
}

/// How many timelines there are then.
fn number(store: &mut Store, now: Duration) -> usize {
    store.page(None, None, usize::MAX, now).0.len()
}

/// The size, counted again.
fn counted(store: &Store) -> Size {
    let sizes = store.namespaces.values().map(NamespaceTimelines::size);
    sizes.fold(Size::default(), |total, size| total.with(Size::default(), size))
}

#[test]
fn timelines_are_bounded_in_number() {
    let mut store = Store::default();
    for number in 0..MAX_TIMELINES + 500 {
        store.update(&pod(), &number.to_string(), NOW, |_, _| {});
        store.update(&pod(), "0", NOW, |_, _| {});
    }
    assert!((MAX_TIMELINES * 9 / 10..=MAX_TIMELINES).contains(&store.total.timelines));
    assert_eq!(store.total, counted(&store));
    let dropped = MAX_TIMELINES + 500 - store.total.timelines;
    assert_eq!(store.evictions.get(), dropped as u64);
    let is_kept = |uid| is_kept(&store, "default", uid);
    assert!(is_kept(MAX_TIMELINES + 499) && is_kept(0), "the newest, and one that was changed later");
    assert!(!is_kept(1) && !is_kept(500), "the oldest");
}

#[test]
fn many_pods_of_one_namespace_evict_no_timeline_of_another() {
    let mut store = Store::default();
    for number in 0..100 {
        store.update(&pod_of("quiet"), &number.to_string(), NOW, |_, _| {});
    }
    for number in 0..2 * MAX_TIMELINES {
        store.update(&pod_of("loud"), &number.to_string(), NOW, |_, _| {});
    }
    assert!((0..100).all(|uid| is_kept(&store, "quiet", uid)));
    store.update(&pod_of("new"), "0", NOW, |_, _| {});
    assert!(is_kept(&store, "new", 0) && store.total.timelines <= MAX_TIMELINES);
    assert_eq!(store.total, counted(&store));
}

#[test]
fn large_timelines_of_one_namespace_evict_no_timeline_of_another() {
    let mut store = Store::default();
    store.update(&pod_of("quiet"), "0", NOW, |_, _| {});
    for number in 0..300 {
        store.update(&pod_of("loud"), &number.to_string(), NOW, |stored, words| {
            for container in 0..80 {
                let text = || Some(format!("{container:0>300}"));
                stored.update_container(&format!("{container:x<300}"), words, |timeline| {
                    (timeline.checkpoint, timeline.outcome) = (text(), text());
                });
            }
        });
        assert!(store.total.bytes <= MAX_BYTES);
    }
    assert!(is_kept(&store, "quiet", 0) && is_kept(&store, "loud", 299) && !is_kept(&store, "loud", 0));
}

#[test]
fn as_many_namespaces_as_timelines_are_bounded_too() {
    let mut store = Store::default();
    for number in 0..MAX_TIMELINES + 50 {
        store.update(&pod_of(&number.to_string()), "0", NOW, |_, _| {});
    }
    assert_eq!((store.total.timelines, store.namespaces.len()), (MAX_TIMELINES, MAX_TIMELINES));
    assert!(store.total.bytes <= MAX_BYTES && store.total == counted(&store));
}

#[test]
fn a_pod_of_another_namespace_with_the_same_uid_has_a_timeline_of_its_own() {
    let mut store = Store::default();
    for (namespace, cause) in [("b", "NotReady"), ("a", "made up")] {
        store.update(&pod_of(namespace), "u", NOW, |stored, words| stored.set_waiting_for(Some(cause), words));
    }
    assert_eq!(store.get("b", "u").unwrap().waiting_for.as_deref(), Some("NotReady"));
    assert_eq!(store.get("a", "u").unwrap().waiting_for.as_deref(), Some("made up"));
}

#[test]
fn timelines_are_bounded_in_bytes() {
    let mut store = Store::default();
    for number in 0..MAX_TIMELINES {
        store.update(&pod(), &number.to_string(), NOW, |stored, words| {
            for container in 0..10 {
                stored.update_container(&format!("{container}"), words, |timeline| {
                    timeline.checkpoint = Some("x".repeat(1000));
                });
            }
        });
        assert!(store.total.bytes <= MAX_BYTES);
    }
    assert_eq!(store.total, counted(&store));
    assert!((2000..5000).contains(&store.total.timelines), "{}", store.total.timelines);
    let checkpoint = store.get("default", "9999").unwrap().containers["0"].checkpoint.clone();
    assert_eq!(checkpoint, Some("x".repeat(LONGEST_TEXT)));
}

#[test]
fn a_timeline_is_dropped_a_day_after_its_last_change() {
    let mut store = Store::default();
    store.update(&pod(), "old", NOW, |_, _| {});
    store.update(&pod(), "young", NOW * 2, |_, _| {});
    assert_eq!(number(&mut store, NOW + MAX_AGE.saturating_sub(Duration::from_secs(1))), 2);
    store.update(&pod(), "new", NOW + MAX_AGE, |_, _| {});
    assert!(store.get("default", "old").is_none() && store.get("default", "young").is_some());
    assert_eq!(number(&mut store, NOW * 2 + MAX_AGE), 1);
    assert_eq!(number(&mut store, NOW + MAX_AGE * 2), 0);
    assert_eq!(store.total, Size::default());
}

#[test]
fn pages_have_each_timeline_once_in_order() {
    let mut store = Store::default();
    let mut expected = Vec::new();
    for namespace in ["b", "a"] {
        for name in ["web", "db"] {
            for number in [2, 1] {
                let uid = format!("{name}-{number}");
                let pod = PodName { namespace: namespace.into(), name: name.into() };
                store.update(&pod, &uid, NOW, |_, _| {});
                expected.push((pod, uid));
            }
        }
    }
    expected.sort();
    for limit in [1, 3, 8, 9] {
        let (mut rows, mut after) = (Vec::new(), None);
        loop {
            let (page, has_more) = store.page(None, after.as_ref(), limit, NOW);
            assert!(page.len() == limit || !has_more, "{limit}");
            after = page.last().map(PageStart::from);
            rows.extend(page.into_iter().map(|timeline| (timeline.pod, timeline.uid)));
            if !has_more {
                break;
            }
        }
        assert_eq!(rows, expected, "{limit}");
    }
    let (of_one, has_more) = store.page(Some("a"), None, 4, NOW);
    assert!(of_one.iter().all(|timeline| &*timeline.pod.namespace == "a") && of_one.len() == 4 && !has_more);
}

#[test]
fn a_usual_timeline_takes_less_than_600_bytes() {
    let mut store = Store::default();
    let pod = PodName { namespace: "production".into(), name: "checkout-7d5d69f7c4-x2x9z".into() };
    let mut add = |uid: &str| {
        store.update(&pod, uid, NOW, |stored, words| {
            stored.set_waiting_for(Some("NotReady"), words);
            stored.update_container("app", words, |container| {
                container.checkpoint = Some("checkout-7d5d69f7c4-x2x9z-app-0123456789".to_owned());
                container.outcome = Some("Succeeded".to_owned());
            });
        });
        store.total.bytes
    };
    let first = add("0b5c9d7e-1111-2222-3333-444455556666");
    let bytes = add("0b5c9d7e-1111-2222-3333-444455556667") - first;
    assert!(bytes < 600, "{bytes}");
}
