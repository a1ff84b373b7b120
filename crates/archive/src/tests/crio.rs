//! An archive as CRI-O writes it (`internal/lib/checkpoint.go`, `exportCheckpoint`): the files in the order of its list, with the
//! documents after the images, and JSON with indentation.

use super::tape::{Tape, record};
use crate::identity::Expected;

pub(crate) const EXPECTED: Expected<'static> = Expected {
    namespace: "shop",
    pod: "web-0",
    pod_uid: "6d2f1c6b-8b3a-4a9e-9c5f-7d0b2d0c5a11",
    container: "app",
    image: "nginx:1.27",
    image_id: Some("docker.io/library/nginx@sha256:161ef4b1bf7effb350a2a9625cb2b59f69d54ec6059a8a155a1438d0439c593c"),
};

pub(crate) const CONFIG: &str = r#"{
  "id": "6924be1bd90c",
  "name": "k8s_app_web-0_shop_6d2f1c6b-8b3a-4a9e-9c5f-7d0b2d0c5a11_0",
  "rootfsImage": "docker.io/library/nginx@sha256:161ef4b1bf7effb350a2a9625cb2b59f69d54ec6059a8a155a1438d0439c593c",
  "rootfsImageRef": "a8758716bb6aa4d90071160d27028fe4eaee7ce8166221a97d30440c8eac2be6",
  "rootfsImageName": "docker.io/library/nginx:1.27",
  "runtime": "crun",
  "createdTime": "2026-11-06T09:58:11.083444055Z",
  "checkpointedTime": "2026-11-06T10:00:00.673538606Z",
  "restoredTime": "0001-01-01T00:00:00Z",
  "restored": false
}"#;

pub(crate) const SPEC: &str = r#"{
  "ociVersion": "1.2.1",
  "process": { "user": { "uid": 0, "gid": 0 }, "args": ["nginx"], "cwd": "/", "env": ["HOSTNAME=web-0"] },
  "root": { "path": "/var/lib/containers/storage/overlay/1/merged" },
  "mounts": [ { "destination": "/proc", "type": "proc", "source": "proc" } ],
  "annotations": {
    "io.container.manager": "cri-o",
    "io.kubernetes.container.hash": "1511917a",
    "io.kubernetes.container.name": "app",
    "io.kubernetes.cri-o.ContainerType": "container",
    "io.kubernetes.cri-o.Image": "docker.io/library/nginx@sha256:161ef4b1bf7effb350a2a9625cb2b59f69d54ec6059a8a155a1438d0439c593c",
    "io.kubernetes.cri-o.ImageName": "docker.io/library/nginx:1.27",
    "io.kubernetes.cri-o.ImageRef": "a8758716bb6aa4d90071160d27028fe4eaee7ce8166221a97d30440c8eac2be6",
    "io.kubernetes.cri-o.Metadata": "{\"name\":\"app\"}",
    "io.kubernetes.pod.name": "web-0",
    "io.kubernetes.pod.namespace": "shop",
    "io.kubernetes.pod.uid": "6d2f1c6b-8b3a-4a9e-9c5f-7d0b2d0c5a11"
  },
  "linux": { "namespaces": [ { "type": "pid" }, { "type": "mount" } ] }
}"#;

pub(crate) fn archive() -> Vec<u8> {
    Tape::new()
        .file("stats-dump", b"\x40\x99\x10\x55")
        .file("dump.log", "(00.000000) Version: 4.1 (gitid v4.1)\n")
        .folder("checkpoint/")
        .file("checkpoint/inventory.img", b"inventory")
        // An attribute of the file, with a newline in its value.
        .records(&record("SCHILY.xattr.security.ima", "\u{1}\n\u{2}"))
        .file("checkpoint/pages-1.img", [7; 512])
        .file("config.dump", CONFIG)
        .file("spec.dump", SPEC)
        .file("bind.mounts", r#"[{"source":"/a","destination":"/etc/hosts","file_type":"file","permissions":420}]"#)
        .file("rootfs-diff.tar", Tape::new().file("tmp/f", "written by the container").end())
        .file("deleted.files", r#"["/etc/motd"]"#)
        .file("io.kubernetes.cri-o.LogPath", "2026-11-06T09:58:12.1Z stdout F started\n")
        .end()
}
