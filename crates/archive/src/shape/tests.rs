use super::*;
use crate::tests::{crio, ctrd};

fn shape_of(spec: &str) -> String {
    shape(&SpecDump::parse(spec.as_bytes()).unwrap(), &[])
}

/// The shape after a replacement that has to change the text.
fn changed(spec: &str, from: &str, to: &str) -> String {
    let changed = spec.replace(from, to);
    assert_ne!(changed, spec, "{from}");
    shape_of(&changed)
}

#[test]
fn the_shape_of_a_container_never_changes() {
    // Shapes are stored. If one of these changes, VERSION has to change too.
    assert_eq!(shape_of(ctrd::SPEC), "fc5e328894dc5147087d7115e4d1d0f88db3a29e20a2d273bcc25a481c46c161");
    assert_eq!(shape_of(crio::SPEC), "beb086551fcbc4ec778a7eba415c834714b3a686bce7baf98fde3ac126004bb6");
    assert_eq!(shape_of("{}"), "e9047ebcd79e65e7860a2ce48c83730bc118647cca9ec94082d5548b6484f312");
}

#[test]
fn two_pods_of_one_template_have_the_same_shape() {
    let spec = ctrd::SPEC;
    for (from, to) in [
        ("web-0", "web-1"),
        ("/var/lib/kubelet/pods/6d2f", "/var/lib/kubelet/pods/7e30"),
        ("/proc/4711/ns/", "/proc/4712/ns/"),
        ("HOSTNAME=web-0", "HOSTNAME=another"),
        ("KUBERNETES_SERVICE_HOST=10.96.0.1", "KUBERNETES_SERVICE_HOST=10.96.0.2"),
        (r#""KUBERNETES_PORT_443_TCP_ADDR=10.96.0.1","#, ""),
        (r#""A=1","B=2""#, r#""B=2","A=1""#),
        (r#""CAP_CHOWN","CAP_KILL""#, r#""CAP_KILL","CAP_CHOWN""#),
        (r#""cgroupsPath":"kubepods"#, r#""cgroupsPath":"other"#),
        (r#""additionalGids":[1,2]"#, r#""additionalGids":[2,1]"#),
    ] {
        assert_eq!(changed(spec, from, to), shape_of(spec), "{from}");
    }
}

#[test]
fn what_matters_to_a_restore_changes_the_shape() {
    let spec = ctrd::SPEC;
    let mut shapes = vec![shape_of(spec)];
    for (from, to) in [
        (r#"["python3","-m","http.server"]"#, r#"["python3","-m","http.server","80"]"#),
        (r#"["python3","-m","http.server"]"#, r#"["python3","-mhttp.server"]"#),
        (r#""cwd":"/app""#, r#""cwd":"/""#),
        (r#""A=1""#, r#""A=2""#),
        (r#""A=1","#, ""),
        (r#""uid":1000"#, r#""uid":0"#),
        (r#""gid":1000"#, r#""gid":0"#),
        (r#""additionalGids":[1,2]"#, r#""additionalGids":[1]"#),
        (r#""bounding":["CAP_CHOWN","#, r#""bounding":["CAP_SYS_ADMIN","#),
        (r#""effective":["CAP_CHOWN","#, r#""effective":["CAP_SYS_ADMIN","#),
        (r#""permitted":["CAP_CHOWN","#, r#""permitted":["CAP_SYS_ADMIN","#),
        (r#""noNewPrivileges":true"#, r#""noNewPrivileges":false"#),
        (r#""apparmorProfile":"cri-containerd.apparmor.d""#, r#""apparmorProfile":"unconfined""#),
        (r#""selinuxLabel":"system_u:system_r:container_t:s0:c1,c2""#, r#""selinuxLabel":"""#),
        (r#""seccomp":{"defaultAction":"SCMP_ACT_ERRNO""#, r#""seccomp":{"defaultAction":"SCMP_ACT_ALLOW""#),
        (r#""seccomp":{"#, r#""another":{"#),
        (r#""maskedPaths":["/proc/kcore"]"#, r#""maskedPaths":[]"#),
        (r#""readonlyPaths":["/proc/sys"]"#, r#""readonlyPaths":[]"#),
        (r#""limit":536870912"#, r#""limit":536870913"#),
        (r#""hard":1048576"#, r#""hard":1024"#),
        (r#""soft":1024"#, r#""soft":1025"#),
        (r#""destination":"/data","type":"bind""#, r#""destination":"/date","type":"bind""#),
        (r#""destination":"/data","type":"bind""#, r#""destination":"/data","type":"tmpfs""#),
        (r#""readonly":true"#, r#""readonly":false"#),
        (r#"{"type":"cgroup"},"#, ""),
        (r#"{"type":"pid"}"#, r#"{"type":"pid","path":"/proc/4711/ns/pid"}"#),
    ] {
        shapes.push(changed(spec, from, to));
    }
    let count = shapes.len();
    shapes.sort();
    shapes.dedup();
    assert_eq!(shapes.len(), count);
}

#[test]
fn the_level_of_a_selinux_label_is_drawn_for_each_pod() {
    for (label, expected) in [
        ("system_u:system_r:container_t:s0:c1,c2", "system_u:system_r:container_t"),
        ("system_u:system_r:container_t", "system_u:system_r:container_t"),
        ("", ""),
    ] {
        assert_eq!(without_level(label), expected);
    }
}
