//! Pods whose image, revision or controller changes while their UID stays the same.

use super::*;

/// The images of the containers to claim.
fn images(actions: &[PodAction]) -> Vec<String> {
    let claim =
        |action: &PodAction| if let PodAction::Claim(key) = action { Some(key.image.to_string()) } else { None };
    actions.iter().filter_map(claim).collect()
}

#[test]
fn a_container_with_a_new_image_is_claimed_again() {
    let mut table = PodTable::default();
    let of = |image: &str, restarts| Event::Apply(pod("a", true).image(image).restarts("app", restarts).watched());
    table.apply(0, of(fixtures::IMAGE, 0), now(1));
    table.claim_done(&app("a"), now(1));
    let actions = table.apply(0, of("busybox:2", 1), now(2));
    assert!(is_changed(&actions), "a Checkpoint of the old image may wait for it");
    assert_eq!(images(&actions), ["busybox:2"]);
    assert!(!table.is_claimable(&app("a"), now(2)), "the old image");
    let new = ContainerKey { image: "busybox:2".into(), ..app("a") };
    assert!(table.is_claimable(&new, now(2)));
    table.claim_done(&new, now(2));
    assert!(table.apply(0, of("busybox:2", 1), now(3)).is_empty());
}

#[test]
fn a_container_is_claimed_with_its_new_image_only_after_its_restart() {
    let of = |image: &str, restarts| {
        let (image, is_ready) = if image == "not Ready" { ("busybox:2", false) } else { (image, true) };
        Event::Apply(pod("a", is_ready).image(image).restarts("app", restarts).watched())
    };
    let new = ContainerKey { image: "busybox:2".into(), ..app("a") };
    for (case, events, expected) in [
        ("its status is still that of the old one", vec![("busybox:2", 0), ("busybox:2", 0)], ""),
        ("restarted", vec![("busybox:2", 0), ("busybox:2", 1)], "busybox:2"),
        ("changed twice, then restarted", vec![("busybox:2", 0), ("busybox:3", 0), ("busybox:3", 1)], "busybox:3"),
        ("Ready again with the old one", vec![("busybox:2", 0), ("not Ready", 0), ("busybox:2", 0)], ""),
        ("changed and changed back", vec![("busybox:2", 0), (fixtures::IMAGE, 0)], fixtures::IMAGE),
    ] {
        let mut table = PodTable::default();
        table.apply(0, of(fixtures::IMAGE, 0), now(1));
        table.claim_done(&app("a"), now(1));
        let mut actions = Vec::new();
        for (image, restarts) in events {
            actions.extend(table.apply(0, of(image, restarts), now(2)));
        }
        assert_eq!(images(&actions).concat(), expected, "{case}");
        assert_eq!(table.is_claimable(&new, now(2)), expected == "busybox:2", "{case}");
    }
}

#[test]
fn a_container_that_is_not_restarted_is_claimed_after_a_while() {
    let of = |image: &str| Event::Apply(pod("a", true).image(image).watched());
    let mut table = PodTable::default();
    table.apply(0, of("busybox:2"), now(1));
    table.claim_done(&ContainerKey { image: "busybox:2".into(), ..app("a") }, now(1));
    let actions = table.apply(0, of(fixtures::IMAGE), now(2));
    let recheck = PodAction::Recheck { pod: name("a"), at: boot(602) };
    assert!(actions.contains(&recheck) && claims(&actions).is_empty(), "{actions:?}");
    assert!(claims(&table.recheck(&name("a"), now(601))).is_empty());
    assert_eq!(images(&table.recheck(&name("a"), now(602))), [fixtures::IMAGE]);
}

#[test]
fn a_runtime_that_names_no_containers_delays_no_claim() {
    let of = |image: &str| {
        let mut pod = pod("a", true).image(image).watched();
        pod.status.container_statuses[0].container_id = None;
        Event::Apply(pod)
    };
    let mut table = PodTable::default();
    table.apply(0, of(fixtures::IMAGE), now(1));
    table.claim_done(&app("a"), now(1));
    assert_eq!(images(&table.apply(0, of("busybox:2"), now(2))), ["busybox:2"]);
}

#[test]
fn a_pod_with_another_controller_is_claimed_again() {
    let mut table = PodTable::default();
    let of = |owner: &str| Event::Apply(pod("a", true).controlled_by("apps/v1", "StatefulSet", owner).watched());
    table.apply(0, of("db"), now(1));
    table.set_workload(&name("a"), "a", "workload");
    table.claim_done(&app("a"), now(1));
    assert_eq!(claims(&table.apply(0, of("db-again"), now(2))), ["a"]);
    assert_eq!(table.get(&name("a")).unwrap().workload_uid, None);
}

#[test]
fn a_pod_with_a_new_revision_is_claimed_again() {
    let mut table = PodTable::default();
    let of = |revision: &str| Event::Apply(pod("a", true).label("pod-template-hash", revision).watched());
    table.apply(0, of("1"), now(1));
    table.claim_done(&app("a"), now(1));
    let actions = table.apply(0, of("2"), now(2));
    assert!(is_changed(&actions) && claims(&actions) == ["a"], "{actions:?}");
}

#[test]
fn an_update_in_place_of_one_container_leaves_the_other_alone() {
    let mut table = PodTable::default();
    let two = |image: &str| {
        let mut two = pod("a", true).containers(["app", "side"]).annotation(CONTAINERS, "*").ready(0).watched();
        two.spec.containers[1].image = Some(image.to_owned());
        two.status.container_statuses[1].container_id = Some(format!("containerd://{image}"));
        Event::Apply(two)
    };
    table.apply(0, two("side:1"), now(1));
    table.claim_done(&app("a"), now(1));
    table.claim_done(&ContainerKey { container: "side".into(), image: "side:1".into(), ..app("a") }, now(1));
    assert_eq!(images(&table.apply(0, two("side:2"), now(2))), ["side:2"]);
}

#[test]
fn a_claim_during_which_the_pod_is_updated_in_place_is_repeated() {
    let updated = || Event::Apply(pod("a", true).image("busybox:2").restarts("app", 1).watched());
    let mut table = PodTable::default();
    apply(&mut table, "a", true);
    assert!(claims(&table.apply(0, updated(), now(1))).is_empty(), "the claim is under way");
    assert_eq!(table.claim_done(&app("a"), now(1)), Some(PodAction::Recheck { pod: name("a"), at: boot(3) }));
    assert_eq!(images(&table.recheck(&name("a"), now(3))), ["busybox:2"]);

    let mut table = PodTable::default();
    apply(&mut table, "a", true);
    table.apply(0, updated(), now(1));
    assert_eq!(table.claim_ineligible(&app("a"), now(1)), Some(PodAction::Recheck { pod: name("a"), at: boot(1) }));
    assert_eq!(images(&table.recheck(&name("a"), now(1))), ["busybox:2"]);
}

#[test]
fn a_claim_of_an_earlier_image_that_ends_late_does_not_count_for_the_image_of_now() {
    let updated = |restarts| Event::Apply(pod("a", true).image("busybox:2").restarts("app", restarts).watched());
    let mut table = PodTable::default();
    apply(&mut table, "a", true);
    table.apply(0, updated(0), now(1));
    // Another claim of the same container, from before the pod lost its label and got it again, ends first.
    table.claim_ineligible(&app("a"), now(1));
    assert_eq!(table.claim_done(&app("a"), now(1)), None);
    assert_eq!(images(&table.apply(0, updated(1), now(2))), ["busybox:2"]);
    assert_eq!(table.claim_done(&app("a"), now(2)), None);
    let claim = table.get(&name("a")).unwrap().claim("app");
    assert!(matches!(claim, Some(ClaimState::UnderWay { .. })), "{claim:?}");
}
