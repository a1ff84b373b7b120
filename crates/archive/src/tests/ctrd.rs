//! An archive as containerd 2.4 writes it (`container_checkpoint_linux.go` and `archive.Diff`): the files of one folder in the order of
//! their names, each JSON document in one line.

use super::tape::Tape;
use crate::identity::Expected;

pub(crate) const DIGEST: &str = "161ef4b1bf7effb350a2a9625cb2b59f69d54ec6059a8a155a1438d0439c593c";
pub(crate) const OTHER_DIGEST: &str = "0000000000000000000000000000000000000000000000000000000000000000";
pub(crate) const OTHER_IMAGE_ID: &str =
    "docker.io/library/nginx@sha256:0000000000000000000000000000000000000000000000000000000000000000";

pub(crate) const EXPECTED: Expected<'static> = Expected {
    namespace: "shop",
    pod: "web-0",
    pod_uid: "6d2f1c6b-8b3a-4a9e-9c5f-7d0b2d0c5a11",
    container: "app",
    image: "nginx:1.27",
    image_id: Some("docker.io/library/nginx@sha256:161ef4b1bf7effb350a2a9625cb2b59f69d54ec6059a8a155a1438d0439c593c"),
};

pub(crate) const CONFIG: &str = concat!(
    r#"{"id":"9c1e0f2a","name":"app_web-0_shop_6d2f1c6b-8b3a-4a9e-9c5f-7d0b2d0c5a11_0","#,
    r#""rootfsImage":"docker.io/library/nginx:1.27","#,
    r#""rootfsImageRef":"docker.io/library/nginx@sha256:161ef4b1bf7effb350a2a9625cb2b59f69d54ec6059a8a155a1438d0439c593c","#,
    r#""rootfsImageName":"docker.io/library/nginx:1.27","runtime":"io.containerd.runc.v2","#,
    r#""createdTime":"2026-11-06T09:58:11Z","checkpointedTime":"2026-11-06T10:00:00Z","#,
    r#""restoredTime":"0001-01-01T00:00:00Z","restored":false}"#,
);

pub(crate) const SPEC: &str = concat!(
    r#"{"ociVersion":"1.2.1","process":{"terminal":false,"user":{"uid":1000,"gid":1000,"additionalGids":[1,2]},"#,
    r#""args":["python3","-m","http.server"],"#,
    r#""env":["PATH=/usr/bin","HOSTNAME=web-0","A=1","B=2","KUBERNETES_PORT_443_TCP_ADDR=10.96.0.1","#,
    r#""KUBERNETES_SERVICE_PORT=443","KUBERNETES_SERVICE_HOST=10.96.0.1"],"cwd":"/app","#,
    r#""capabilities":{"bounding":["CAP_CHOWN","CAP_KILL"],"effective":["CAP_CHOWN","CAP_KILL"],"#,
    r#""permitted":["CAP_CHOWN","CAP_KILL"]},"rlimits":[{"type":"RLIMIT_NOFILE","hard":1048576,"soft":1024}],"#,
    r#""noNewPrivileges":true,"apparmorProfile":"cri-containerd.apparmor.d","oomScoreAdj":999,"#,
    r#""selinuxLabel":"system_u:system_r:container_t:s0:c1,c2"},"root":{"path":"rootfs","readonly":true},"#,
    r#""mounts":[{"destination":"/proc","type":"proc","source":"proc","options":["nosuid","noexec","nodev"]},"#,
    r#"{"destination":"/data","type":"bind","source":"/var/lib/kubelet/pods/6d2f1c6b/volumes/data","options":["rbind"]}],"#,
    r#""annotations":{"io.kubernetes.cri.container-name":"app","io.kubernetes.cri.container-type":"container","#,
    r#""io.kubernetes.cri.image-name":"nginx:1.27","io.kubernetes.cri.sandbox-id":"5d39","#,
    r#""io.kubernetes.cri.sandbox-name":"web-0","io.kubernetes.cri.sandbox-namespace":"shop","#,
    r#""io.kubernetes.cri.sandbox-uid":"6d2f1c6b-8b3a-4a9e-9c5f-7d0b2d0c5a11"},"#,
    r#""linux":{"resources":{"memory":{"limit":536870912},"cpu":{"shares":102}},"#,
    r#""cgroupsPath":"kubepods-burstable-pod6d2f.slice:cri-containerd:9c1e0f2a","#,
    r#""namespaces":[{"type":"pid"},{"type":"ipc","path":"/proc/4711/ns/ipc"},{"type":"uts","path":"/proc/4711/ns/uts"},"#,
    r#"{"type":"cgroup"},{"type":"mount"},{"type":"network","path":"/proc/4711/ns/net"}],"#,
    r#""seccomp":{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64"],"#,
    r#""syscalls":[{"names":["accept","read"],"action":"SCMP_ACT_ALLOW"}]},"#,
    r#""maskedPaths":["/proc/kcore"],"readonlyPaths":["/proc/sys"]}}"#,
);

/// The files before `config.dump`, which come first in the order of names.
pub(crate) fn images() -> Tape {
    Tape::new()
        .folder("checkpoint/")
        .file("checkpoint/core-1.img", b"core of 1")
        .file("checkpoint/descriptors.json", r#"["/dev/null","pipe:[1]","pipe:[2]"]"#)
        .file("checkpoint/inventory.img", b"inventory")
        .file("checkpoint/pages-1.img", [7; 512])
}

/// An archive with other documents.
pub(crate) fn archive_of(config: &str, spec: &str) -> Vec<u8> {
    images()
        .file("config.dump", config)
        .file("container.log", "2026-11-06T09:58:12.1Z stdout F started\n")
        .file("dump.log", "(00.000000) Version: 4.2.1 (gitid 0)\n(00.000010) Running on node-1 Linux 6.18.0\n")
        // containerd leaves the layer compressed.
        .file("rootfs-diff.tar", b"\x1f\x8b\x08\0compressed")
        .file("spec.dump", spec)
        .file("stats-dump", b"\x40\x99\x10\x55")
        .file("status", r#"{"Version":"v1","Pid":4711}"#)
        .file("status.dump", r#"{"id":"9c1e0f2a","state":1}"#)
        .end()
}

pub(crate) fn archive() -> Vec<u8> {
    archive_of(CONFIG, SPEC)
}
