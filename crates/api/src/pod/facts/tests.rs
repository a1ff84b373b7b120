use serde_json::{Value, json};

use super::*;
use crate::eligibility::{Choice, Ineligible, check};
use crate::keys::{CONTAINERS, DEFAULT_CONTAINER, DELAY, MESH_PROXIES, ONCE_PER, REVISION_LABEL};
use crate::pod::MOST_CONTAINERS;

fn facts(pod: Value) -> PodFacts {
    serde_json::from_value::<WatchedPod>(pod).unwrap().into()
}

/// A pod as the API server sends it. It is written out, so that a wrong field name in `WatchedPod` fails a test.
fn ready_pod() -> Value {
    json!({
        "metadata": {
            "namespace": "default", "name": "web-1", "uid": "u1", "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"snap.weaversoft.io/snap": "true", "pod-template-hash": "abc"},
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "Other", "name": "o", "uid": "x"},
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "r1", "controller": true},
            ],
        },
        "spec": {"nodeName": "n1", "containers": [{"name": "app", "image": "busybox"}], "unknown": {"a": 1}},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:09Z"}],
            "containerStatuses": [{"name": "app", "started": true, "state": {"running": {}}, "image": "docker.io/library/busybox:latest", "imageID": "sha256:1"}],
        },
    })
}

#[test]
fn the_facts_of_a_ready_pod_are_read() {
    let pod = facts(ready_pod());
    assert_eq!(pod.name.to_string(), "default/web-1");
    assert!(pod.labelled && pod.running && !pod.terminating && !pod.mirror && !pod.restored());
    assert_eq!(pod.ready_since, Some("2026-01-01T00:00:09Z".parse().unwrap()));
    assert_eq!(pod.controller.as_ref().map(|owner| owner.kind.as_str()), Some("ReplicaSet"));
    assert_eq!(pod.revision(), "abc");
    assert!(pod.container("app").unwrap().started);
    let app = pod.container("app").unwrap();
    assert_eq!((&*app.image, app.image_id.as_deref()), ("busybox", Some("sha256:1")));
}

#[test]
fn what_is_kept_of_a_pod_is_small() {
    let long = "x".repeat(1 << 20);
    let pod = facts(json!({
        "metadata": {
            "namespace": &long, "name": &long, "uid": &long,
            "labels": {MUTATED: &long, "pod-template-hash": &long},
            "annotations": {ADMISSION: &long, ONCE_PER: &long, DELAY: &long, CONTAINERS: &long},
            "ownerReferences": [{"apiVersion": &long, "kind": &long, "name": &long, "uid": &long, "controller": true}],
        },
        "spec": {"nodeName": &long, "containers": [{"name": &long, "image": &long}]},
        "status": {"phase": &long, "containerStatuses": [{"name": &long, "image": &long, "imageID": &long}]},
    }));
    let size = format!("{pod:?}").len();
    assert!(size < 6000, "{size} bytes: {pod:?}");
    let kept = pod.container(&shortened(&long, LONGEST_LABEL)).unwrap();
    assert_eq!((kept.image.len(), kept.image_id.as_ref().unwrap().len()), (LONGEST_IMAGE, LONGEST_IMAGE));
    let owner = pod.controller.unwrap();
    assert_eq!((owner.api_version.len(), owner.kind.len(), owner.name.len(), owner.uid.len()), (63, 63, 253, 63));
}

#[test]
fn an_owner_reference_of_any_text_leads_to_a_valid_workload() {
    let references = |text: &str| {
        let owner = json!({"apiVersion": text, "kind": text, "name": text, "uid": text, "controller": true});
        [serde_json::from_value(owner).unwrap()]
    };
    let mut seen = Vec::new();
    for text in ["", "a b", "a/b/c", "../../x", "-a-", "\u{1b}[2J", "\u{fc}", &"x".repeat(400)] {
        let ControllerReference { api_version, kind, name, uid } =
            ControllerReference::among(&references(text)).unwrap();
        for valid in
            [&kind, &name, &uid].into_iter().chain(&api_version.split('/').map(str::to_owned).collect::<Vec<_>>())
        {
            assert!(is_label_value(valid), "{text:?} -> {valid:?}");
        }
        assert!(api_version.split('/').count() <= 2 && !seen.contains(&uid), "{text:?} -> {api_version} {uid}");
        seen.push(uid);
    }
    let plain = ControllerReference::among(&references("apps/v1")).unwrap();
    assert_eq!(plain.api_version, "apps/v1");
}

#[test]
fn of_a_pod_with_too_many_or_too_long_containers_none_is_kept() {
    let now = "2026-01-01T00:01:00Z".parse().unwrap();
    for (count, image) in [(65, "busybox".to_owned()), (5000, "busybox".to_owned()), (33, "x".repeat(512))] {
        let mut pod = ready_pod();
        let names: Vec<String> = (0..count).map(|number| format!("container-{number}")).collect();
        pod["spec"]["containers"] = names.iter().map(|name| json!({"name": name, "image": image})).collect();
        pod["status"]["containerStatuses"] = names.iter().map(|name| json!({"name": name})).collect();
        pod["metadata"]["annotations"] = json!({CONTAINERS: "*"});
        let pod = facts(pod);
        assert_eq!(check(Some(&pod), Choice::Annotated, now), Err(Ineligible::TooManyContainers));
        let size = format!("{pod:?}").len();
        assert!(size < 2000, "{count}: {size} bytes");
    }
}

#[test]
fn the_longest_pod_is_small() {
    let mut pod = ready_pod();
    let names: Vec<String> = (0..MOST_CONTAINERS).map(|number| format!("{number:x>63}")).collect();
    pod["spec"]["containers"] = names.iter().map(|name| json!({"name": name, "image": "x".repeat(128)})).collect();
    let pod = facts(pod);
    assert!(!pod.too_many_containers && pod.containers.len() == MOST_CONTAINERS);
    let texts: usize = pod.containers.iter().map(|container| container.name.len() + container.image.len()).sum();
    assert!(texts <= 64 * 63 + MOST_IMAGE_BYTES, "{texts} bytes");
}

#[test]
fn each_annotation_that_decides_is_read() {
    for (injected, proxy) in MESH_PROXIES {
        let mut pod = ready_pod();
        pod["spec"]["containers"] = json!([{"name": proxy, "image": "x"}, {"name": "orders", "image": "x"}]);
        pod["metadata"]["annotations"] = json!({injected: "x".repeat(20_000)});
        assert_eq!(facts(pod).options.unwrap().containers, ["orders"], "{injected}");
    }
    for key in [CONTAINERS, DELAY, ONCE_PER, REVISION_LABEL] {
        let mut pod = ready_pod();
        pod["metadata"]["annotations"] = json!({key: "no such value"});
        assert!(facts(pod).options.is_err(), "{key}");
    }
    let mut pod = ready_pod();
    pod["spec"]["containers"] = json!([{"name": "a", "image": "x"}, {"name": "b", "image": "x"}]);
    pod["metadata"]["annotations"] = json!({DEFAULT_CONTAINER: "b"});
    assert_eq!(facts(pod).options.unwrap().containers, ["b"]);
}

#[test]
fn long_images_that_differ_at_the_end_stay_different() {
    let image = |tag: &str| {
        let mut pod = ready_pod();
        pod["spec"]["containers"][0]["image"] = json!(format!("{}:{tag}", "r".repeat(600)));
        facts(pod).container("app").unwrap().image.clone()
    };
    assert_ne!(image("1"), image("2"));
}

#[test]
fn an_image_that_no_checkpoint_can_name_is_replaced_by_a_visible_one() {
    let image = |image: &str| {
        let mut pod = ready_pod();
        pod["spec"]["containers"][0]["image"] = json!(image);
        facts(pod).container("app").unwrap().image.to_string()
    };
    assert_eq!(image("registry.example.com:5000/web@sha256:ab"), "registry.example.com:5000/web@sha256:ab");
    let odd = [
        "registry.example.com/w\u{e9}b:1",
        "registry.example.com/w\u{ea}b:1",
        "a b:1",
        "\u{1b}[2J",
        &"\u{e9}".repeat(600),
    ];
    let mut seen = Vec::new();
    for text in odd {
        let image = image(text);
        assert!(image.len() <= LONGEST_IMAGE && image.bytes().all(|byte| byte.is_ascii_graphic()), "{image}");
        assert!(!seen.contains(&image), "{image}");
        seen.push(image);
    }
    assert!(seen[0].starts_with("registry.example.com/w-b:1-"), "{}", seen[0]);
}

#[test]
fn a_sidecar_is_a_container_and_another_init_container_is_not() {
    let mut pod = ready_pod();
    let running =
        json!({"started": true, "state": {"running": {}}, "imageID": "sha256:2", "containerID": "containerd://2"});
    let ended = json!({"started": false, "state": {"terminated": {"exitCode": 0}}});
    let (mut inits, mut statuses) = (Vec::new(), Vec::new());
    for number in 0..70 {
        inits.push(json!({"name": format!("migrate-{number}"), "image": "migrate"}));
        statuses.push(ended.clone());
    }
    inits.push(json!({"name": "cache", "image": "cache:1", "restartPolicy": "Always"}));
    statuses.push(running);
    for (init, status) in inits.iter().zip(&mut statuses) {
        status["name"] = init["name"].clone();
    }
    pod["spec"]["initContainers"] = json!(inits);
    pod["status"]["initContainerStatuses"] = json!(statuses);
    pod["metadata"]["annotations"] = json!({CONTAINERS: "cache"});
    let read = facts(pod.clone());
    let names: Vec<(&str, bool)> =
        read.containers.iter().map(|container| (&*container.name, container.sidecar)).collect();
    assert_eq!(names, [("app", false), ("cache", true)]);
    let cache = read.container("cache").unwrap();
    assert_eq!((cache.started, &*cache.image, cache.image_id.as_deref()), (true, "cache:1", Some("sha256:2")));
    assert_eq!(read.options.unwrap().containers, ["cache"]);
    pod["status"]["initContainerStatuses"][70]["state"] = json!({"waiting": {}});
    assert!(!facts(pod).container("cache").unwrap().started);
}

#[test]
fn sidecars_count_towards_the_limit_of_containers() {
    let list = |count: usize| -> Value {
        let container = |number| json!({"name": format!("c{number}"), "image": "x", "restartPolicy": "Always"});
        (0..count).map(container).collect()
    };
    for (containers, sidecars, is_too_many) in [(63, 1, false), (64, 1, true), (1, 64, true), (1, 5000, true)] {
        let mut pod = ready_pod();
        (pod["spec"]["containers"], pod["spec"]["initContainers"]) = (list(containers), list(sidecars));
        assert_eq!(facts(pod).too_many_containers, is_too_many, "{containers} + {sidecars}");
    }
}

#[test]
fn a_label_that_the_pod_names_and_does_not_have_is_an_invalid_annotation() {
    let mut pod = ready_pod();
    pod["metadata"]["annotations"] = json!({REVISION_LABEL: "example.com/rev", DELAY: "soon"});
    let problem = facts(pod.clone()).options.unwrap_err();
    assert!(problem.contains("`soon`") && problem.contains("no annotation `example.com/rev`"), "{problem}");
    pod["metadata"]["annotations"] = json!({REVISION_LABEL: "example.com/rev"});
    pod["metadata"]["labels"]["example.com/rev"] = json!("r7");
    let read = facts(pod);
    assert_eq!((read.revision(), read.options.is_ok()), ("r7", true));
}

#[test]
fn a_pod_with_nothing_but_a_name_can_be_read() {
    let pod = facts(json!({"metadata": {"name": "bare", "namespace": "default", "uid": "u"}}));
    assert!(!pod.labelled && pod.ready_since.is_none() && pod.containers.is_empty());
    assert_eq!(pod.revision(), "u");
}

#[test]
fn only_the_exact_value_opts_in() {
    for (value, labelled) in [("true", true), ("True", false), ("false", false), ("", false)] {
        let mut pod = ready_pod();
        pod["metadata"]["labels"][SNAP] = json!(value);
        assert_eq!(facts(pod).labelled, labelled, "{value:?}");
    }
}

#[test]
fn a_container_counts_as_started_only_when_it_says_so_and_runs() {
    for (case, status, started) in [
        ("started is left out", json!({"name": "app", "state": {"running": {}}}), false),
        ("not started", json!({"name": "app", "started": false, "state": {"running": {}}}), false),
        ("waiting", json!({"name": "app", "started": true, "state": {"waiting": {}}}), false),
        ("another container", json!({"name": "b", "started": true, "state": {"running": {}}}), false),
        ("started and running", json!({"name": "app", "started": true, "state": {"running": {}}}), true),
    ] {
        let mut pod = ready_pod();
        pod["status"]["containerStatuses"] = json!([status]);
        assert_eq!(facts(pod).container("app").unwrap().started, started, "{case}");
    }
}

#[test]
fn the_revision_falls_back_from_hash_to_controller_to_pod() {
    let mut pod = ready_pod();
    pod["metadata"]["labels"] = json!({"controller-revision-hash": "db-5"});
    assert_eq!(facts(pod.clone()).revision(), "db-5");
    pod["metadata"]["labels"] = json!({});
    assert_eq!(facts(pod.clone()).revision(), "r1");
    pod["metadata"]["ownerReferences"] = json!([]);
    assert_eq!(facts(pod).revision(), "u1");
}
