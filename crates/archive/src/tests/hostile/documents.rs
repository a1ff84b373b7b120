//! Archives with right files and wrong documents: they are read to their end, and refused then.

use crate::tests::ctrd::{CONFIG, DIGEST, OTHER_DIGEST, SPEC, archive_of, images};

type Row = (&'static str, Vec<u8>, &'static str);

/// Another word in `config.dump` alone, in `spec.dump` alone, or in both.
fn replaced(from: &str, to: &str) -> [Vec<u8>; 3] {
    let (config, spec) = (CONFIG.replace(from, to), SPEC.replace(from, to));
    [archive_of(&config, SPEC), archive_of(CONFIG, &spec), archive_of(&config, &spec)]
}

#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn archives() -> Vec<Row> {
    let deep = "[".repeat(10_000);
    let [namespace_of_config, namespace_of_spec, namespace] = replaced("shop", "bank");
    let [pod_of_config, pod_of_spec, pod] = replaced("web-0", "db-0");
    let [uid_of_config, uid_of_spec, uid] = replaced("6d2f1c6b-8b3a-4a9e-9c5f-7d0b2d0c5a11", "another");
    let [container_of_config, _, _] = replaced("app_web", "side_web");
    let [_, container_of_spec, _] = replaced(r#"container-name":"app""#, r#"container-name":"side""#);
    let [_, image_of_spec, _] = replaced(r#""nginx:1.27""#, r#""nginx:1.28""#);
    let [image_of_config, _, _] = replaced(DIGEST, OTHER_DIGEST);
    vec![
        ("config_dump_is_no_json", archive_of("evil", SPEC), "`config.dump` of the archive is refused: it is no JSON"),
        ("config_dump_is_empty", archive_of("", SPEC), "`config.dump` of the archive is refused: it ends too early"),
        ("config_dump_is_another_value", archive_of("[]", SPEC), "the archive names no namespace"),
        (
            "config_dump_is_cut_off",
            archive_of(&CONFIG[..100], SPEC),
            "`config.dump` of the archive is refused: it ends",
        ),
        (
            "config_dump_is_two_values",
            archive_of(&CONFIG.repeat(2), SPEC),
            "`config.dump` of the archive is refused: it is no JSON",
        ),
        (
            "config_dump_has_a_name_twice",
            archive_of(&CONFIG.replace(r#"{"id""#, r#"{"name":"evil","id""#), SPEC),
            "`config.dump` of the archive is refused: a value is not of the expected type, comes twice",
        ),
        (
            "config_dump_comes_twice",
            images().file("config.dump", CONFIG).file("config.dump", CONFIG).end(),
            "`config.dump` is refused: the archive contains it twice",
        ),
        ("spec_dump_is_no_json", archive_of(CONFIG, "evil"), "`spec.dump` of the archive is refused: it is no JSON"),
        (
            "spec_dump_is_no_utf8",
            {
                let spec = SPEC.replace("nginx:1.27", "nginx:XYZ").into_bytes();
                let at = spec.windows(3).position(|window| window == b"XYZ").unwrap();
                let spec = [&spec[..at], b"\xff\xfe\xff", &spec[at + 3..]].concat();
                images().file("config.dump", CONFIG).file("spec.dump", spec).end()
            },
            "`spec.dump` of the archive is refused: it is no JSON",
        ),
        (
            "spec_dump_is_nested_too_deeply",
            archive_of(CONFIG, &SPEC.replace(r#""seccomp":{"#, &format!(r#""seccomp":{deep}{{"#))),
            "`spec.dump` of the archive is refused: it is no JSON, or is nested too deeply",
        ),
        (
            "spec_dump_has_an_annotation_twice",
            archive_of(
                CONFIG,
                &SPEC.replace(r#""annotations":{"#, r#""annotations":{"io.kubernetes.cri.sandbox-name":"db-0","#),
            ),
            "`spec.dump` of the archive is refused: a value is not of the expected type, comes twice",
        ),
        (
            "spec_dump_has_annotations_twice",
            archive_of(CONFIG, &SPEC.replace(r#""annotations":{"#, r#""annotations":{},"annotations":{"#)),
            "`spec.dump` of the archive is refused: a value",
        ),
        (
            "spec_dump_has_annotations_of_another_type",
            archive_of(CONFIG, &SPEC.replace(r#""annotations":{"#, r#""annotations":[],"x":{"#)),
            "`spec.dump` of the archive is refused: a value",
        ),
        ("spec_dump_names_nothing", archive_of(CONFIG, "{}"), "the archive names no namespace: expected is `shop`"),
        ("config_dump_names_nothing", archive_of("{}", SPEC), "the archive names no namespace: expected is `shop`"),
        (
            "a_pod_of_another_namespace_is_restored",
            namespace,
            "the archive is of another namespace: expected is `shop`, and `name` of `config.dump` has `bank`",
        ),
        (
            "config_dump_is_of_another_namespace",
            namespace_of_config,
            "the archive is of another namespace: expected is `shop`",
        ),
        (
            "spec_dump_is_of_another_namespace",
            namespace_of_spec,
            "the archive is of another namespace: expected is `shop`, and io.kubernetes.cri.sandbox-namespace has `bank`",
        ),
        ("another_pod_is_restored", pod, "the archive is of another pod: expected is `web-0`"),
        ("config_dump_is_of_another_pod", pod_of_config, "the archive is of another pod: expected is `web-0`"),
        ("spec_dump_is_of_another_pod", pod_of_spec, "the archive is of another pod: expected is `web-0`"),
        ("an_earlier_pod_of_the_name_is_restored", uid, "the archive is of another pod UID"),
        ("config_dump_is_of_an_earlier_pod", uid_of_config, "the archive is of another pod UID"),
        ("spec_dump_is_of_an_earlier_pod", uid_of_spec, "the archive is of another pod UID"),
        (
            "config_dump_is_of_another_container",
            container_of_config,
            "the archive is of another container: expected is `app`",
        ),
        (
            "spec_dump_is_of_another_container",
            container_of_spec,
            "the archive is of another container: expected is `app`",
        ),
        ("an_old_program_meets_new_files", image_of_config, "the archive is of another image digest"),
        ("another_image_is_restored", image_of_spec, "the archive is of another image: expected is `nginx:1.27`"),
        (
            "a_terminal_obeys_a_name",
            archive_of(&CONFIG.replace("shop", "\\u001b[2J\\u202e"), SPEC),
            "the archive is of another namespace: expected is `shop`, and `name` of `config.dump` has `\\u{1b}[2J\\u{202e}`",
        ),
    ]
}
