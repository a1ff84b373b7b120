use super::*;
use crate::tests::{crio, ctrd};

fn verdict(config: &str, spec: &str, expected: &Expected<'_>) -> Result<(), String> {
    let config = ConfigDump::parse(config.as_bytes()).unwrap();
    let spec = SpecDump::parse(spec.as_bytes()).unwrap();
    check(&config, &spec, expected).map_err(|error| error.to_string())
}

#[test]
fn the_archives_of_both_runtimes_are_of_their_container() {
    assert_eq!(verdict(ctrd::CONFIG, ctrd::SPEC, &ctrd::EXPECTED), Ok(()));
    assert_eq!(verdict(crio::CONFIG, crio::SPEC, &crio::EXPECTED), Ok(()));
}

#[test]
fn an_archive_of_another_container_is_refused_for_each_part() {
    for (config, spec, right, annotations) in [
        (ctrd::CONFIG, ctrd::SPEC, ctrd::EXPECTED, "io.kubernetes.cri"),
        (crio::CONFIG, crio::SPEC, crio::EXPECTED, "io.kubernetes"),
    ] {
        for (part, expected) in [
            ("namespace", Expected { namespace: "bank", ..right }),
            ("pod", Expected { pod: "web-1", ..right }),
            ("pod UID", Expected { pod_uid: "another", ..right }),
            ("container", Expected { container: "side", ..right }),
            ("image digest", Expected { image_id: Some(ctrd::OTHER_IMAGE_ID), ..right }),
        ] {
            let error = verdict(config, spec, &expected).unwrap_err();
            assert!(error.starts_with(&format!("the archive is of another {part}: ")), "{error}");
        }
        // `config.dump` of one container and `spec.dump` of another.
        let other = config.replace("web-0", "web-1");
        let error = verdict(&other, spec, &Expected { pod: "web-1", ..right }).unwrap_err();
        assert!(error.contains(&format!("`web-1`, and {annotations}")), "{error}");
        let error = verdict(&other, spec, &right).unwrap_err();
        assert!(error.contains("expected is `web-0`, and `name` of `config.dump` has `web-1`"), "{error}");
    }
}

#[test]
fn an_archive_that_names_nothing_is_refused() {
    let error = verdict("{}", ctrd::SPEC, &ctrd::EXPECTED).unwrap_err();
    assert_eq!(error, "the archive names no namespace: expected is `shop`, and `name` of `config.dump` has none");
    let error = verdict(ctrd::CONFIG, "{}", &ctrd::EXPECTED).unwrap_err();
    assert_eq!(error, "the archive names no namespace: expected is `shop`, and `annotations` of `spec.dump` has none");
    let nothing = Expected { namespace: "", ..ctrd::EXPECTED };
    let error = verdict(&ctrd::CONFIG.replace("shop", ""), ctrd::SPEC, &nothing).unwrap_err();
    assert_eq!(error, "the archive is of another namespace: expected is ``, and `name` of `config.dump` has ``");
}

#[test]
fn annotations_of_the_pod_can_only_spoil_its_own_archive() {
    let added =
        |annotation: &str| ctrd::SPEC.replace(r#""annotations":{"#, &format!(r#""annotations":{{{annotation},"#));
    let same = added(r#""io.kubernetes.pod.name":"web-0""#);
    assert_eq!(verdict(ctrd::CONFIG, &same, &ctrd::EXPECTED), Ok(()));
    let forged = added(r#""io.kubernetes.pod.name":"db-0""#);
    for pod in ["web-0", "db-0"] {
        let error = verdict(ctrd::CONFIG, &forged, &Expected { pod, ..ctrd::EXPECTED }).unwrap_err();
        assert!(error.starts_with("the archive is of another pod: "), "{error}");
    }
}

#[test]
fn an_image_is_compared_by_its_digest_where_that_is_expected() {
    let by_name = Expected { image_id: None, ..ctrd::EXPECTED };
    assert_eq!(verdict(ctrd::CONFIG, ctrd::SPEC, &by_name), Ok(()));
    // A moved tag.
    let moved = ctrd::CONFIG.replace(ctrd::DIGEST, ctrd::OTHER_DIGEST);
    assert_eq!(verdict(&moved, ctrd::SPEC, &by_name), Ok(()));
    assert!(verdict(&moved, ctrd::SPEC, &ctrd::EXPECTED).is_err());
    // The same digest under another name, and as the id of an image that was never in a registry.
    for image_id in [format!("mirror.example.com/nginx@sha256:{}", ctrd::DIGEST), format!("sha256:{}", ctrd::DIGEST)] {
        let expected = Expected { image_id: Some(&image_id), ..ctrd::EXPECTED };
        assert_eq!(verdict(ctrd::CONFIG, ctrd::SPEC, &expected), Ok(()), "{image_id}");
    }
    // containerd repeats the name of the pod's spec, whatever the digest is.
    let renamed = Expected { image: "nginx:1.28", ..ctrd::EXPECTED };
    let error = verdict(ctrd::CONFIG, ctrd::SPEC, &renamed).unwrap_err();
    assert_eq!(
        error,
        "the archive is of another image: expected is `nginx:1.28`, and io.kubernetes.cri.image-name has `nginx:1.27`"
    );
    // Without a digest, CRI-O has to know the image by the name in the pod's spec.
    let unnamed = Expected { image_id: None, ..crio::EXPECTED };
    assert!(verdict(crio::CONFIG, crio::SPEC, &unnamed).is_err());
    let named = Expected { image: "docker.io/library/nginx:1.27", ..unnamed };
    assert_eq!(verdict(crio::CONFIG, crio::SPEC, &named), Ok(()));
}

#[test]
fn what_an_archive_contains_is_shown_cut_and_escaped() {
    let hostile = format!("web\\u001b[31m{}", "x".repeat(1000));
    let config = ctrd::CONFIG.replace("web-0", &hostile);
    let error = verdict(&config, ctrd::SPEC, &ctrd::EXPECTED).unwrap_err();
    assert!(error.contains("has `web\\u{1b}[31mxxxxx"), "{error}");
    assert!(error.len() < 250, "{error}");
}

#[test]
fn the_name_of_a_container_has_five_parts() {
    for (name, expected) in [
        ("app_web-0_shop_u1_0", Some(["app", "web-0", "shop", "u1"])),
        ("k8s_app_web-0_shop_u1_0", Some(["app", "web-0", "shop", "u1"])),
        // A container may have the name `k8s`.
        ("k8s_web-0_shop_u1_0", Some(["k8s", "web-0", "shop", "u1"])),
        ("k8s_k8s_web-0_shop_u1_0", Some(["k8s", "web-0", "shop", "u1"])),
        ("x8s_app_web-0_shop_u1_0", None),
        ("app_web-0_shop_u1", None),
        ("app_web-0_shop_u1_0_0_0", None),
        ("", None),
    ] {
        assert_eq!(names_in(name), expected, "{name}");
    }
}
