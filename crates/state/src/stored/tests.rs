use snapwatcher_api::fixtures::at;

use super::*;
use crate::words::LONGEST_TEXT;

#[test]
fn a_uid_is_stored_as_it_was() {
    let uuid = "0b5c9d7e-1111-2222-3333-444455556666";
    assert!(matches!(Uid::from(uuid), Uid::Uuid(_)));
    for uid in
        [uuid, "u", "", "0B5C9D7E-1111-2222-3333-444455556666", "0b5c9d7e111122223333444455556666", &format!("{uuid}7")]
    {
        assert_eq!(Uid::from(uid).text(), uid);
    }
}

#[test]
fn a_stored_timeline_shows_what_was_put_in() {
    let (mut words, mut stored) = (Words::default(), Stored::new(&"web".into()));
    stored.set_seen(at(2), Some(AdmissionTime { at: at(1), by_other_replica: true }));
    stored.set_ready(at(3));
    stored.set_waiting_for(Some(&"x".repeat(1000)), &mut words);
    let side = ContainerTimeline { claimed: Some(at(4)), outcome: Some("Busy".into()), ..Default::default() };
    stored.update_container("side", &mut words, |container| *container = side.clone());
    stored.update_container("app", &mut words, |container| container.checkpoint = Some("web-app".into()));
    stored.update_container("app", &mut words, |container| container.finished = Some(at(5)));
    let app =
        ContainerTimeline { checkpoint: Some("web-app".into()), finished: Some(at(5)), ..ContainerTimeline::default() };
    let expected = PodTimeline {
        pod: PodName { namespace: "default".into(), name: "web".into() },
        uid: "u".into(),
        admission: Some(AdmissionTime { at: at(1), by_other_replica: true }),
        seen: Some(at(2)),
        ready: Some(at(3)),
        waiting_for: Some("x".repeat(LONGEST_TEXT)),
        containers: [("app".to_owned(), app), ("side".to_owned(), side)].into(),
    };
    assert_eq!(stored.timeline("default", &"u".into()), expected);
}

#[test]
fn the_containers_of_a_timeline_are_bounded_and_known_ones_still_change() {
    let (mut words, mut stored) = (Words::default(), Stored::new(&"web".into()));
    for number in 0..10_000 {
        stored.update_container(&format!("{number:05}"), &mut words, |_| {});
    }
    stored.update_container("00000", &mut words, |container| container.finished = Some(at(5)));
    let containers = stored.timeline("default", &"u".into()).containers;
    assert_eq!(containers.len(), MAX_CONTAINERS);
    assert_eq!(containers["00000"].finished, Some(at(5)));
}

#[test]
fn the_estimate_of_the_memory_follows_each_change() {
    let (mut words, mut stored) = (Words::default(), Stored::new(&"web".into()));
    stored.update_container("app", &mut words, |_| {});
    let before = stored.bytes();
    for checkpoint in ["web-app", "a-longer-name", "web"] {
        stored.update_container("app", &mut words, |container| container.checkpoint = Some(checkpoint.to_owned()));
        stored.set_waiting_for(Some("NotReady"), &mut words);
        assert_eq!(stored.bytes(), before + string_bytes(checkpoint) + string_bytes("NotReady"));
    }
    stored.set_waiting_for(None, &mut words);
    stored.update_container("app", &mut words, |container| container.checkpoint = None);
    assert_eq!(stored.bytes(), before);
}
