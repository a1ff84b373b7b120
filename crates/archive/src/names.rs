//! The names that a checkpoint archive may contain. An archive with any other name is refused.
//!
//! Sources, read at the versions named:
//! - containerd 2.1.0 to 2.4.0, `internal/cri/server/container_checkpoint_linux.go`, `CheckpointContainer`: it collects the
//!   files in a folder and writes the folder with `archive.Diff`.
//! - CRI-O of August 2026, `internal/lib/checkpoint.go`, `exportCheckpoint` (the list `baseFiles`), and
//!   `CRCreateRootFsDiffTar` of go.podman.io/common, for `rootfs-diff.tar` and `deleted.files`.
//! - checkpointctl 1.4, `lib/metadata.go`, has the names as constants. It also has those of Podman (`devshm-checkpoint.tar`,
//!   `network.status`, `volumes`) and of whole pods (`pod.dump`), which no kubelet's archive contains.
//! - CRIU 4.2, `criu/image-desc.c`: the images, all in one folder. runc and crun add `descriptors.json`.

use std::fmt;

/// The folder with the images of CRIU.
const IMAGES: &str = "checkpoint";
/// The name of its entry.
pub(crate) const FOLDER: &str = "checkpoint/";
/// The image with which CRIU begins a restore. Each checkpoint has it.
pub(crate) const INVENTORY: &str = "checkpoint/inventory.img";
/// What the runtime knew of the container.
pub(crate) const CONFIG: &str = "config.dump";
/// The OCI specification of the container.
pub(crate) const SPEC: &str = "spec.dump";
/// What CRIU wrote while it took the checkpoint.
pub(crate) const LOG: &str = "dump.log";

/// Small files that the runtime writes.
const DOCUMENTS: [&str; 6] = [
    CONFIG,
    SPEC,
    // containerd: the container's status in the form of the CRI, and in its own.
    "status.dump",
    "status",
    // CRIU, into its work folder.
    "stats-dump",
    // CRI-O: whether the source of each bind mount is a file or a folder.
    "bind.mounts",
];

/// Files that grow with what the container does. Only the size of the archive limits them.
const DATA: [&str; 5] = [
    // The changes of the root file system. It stays a tar (in containerd, one compressed with gzip).
    "rootfs-diff.tar",
    // CRI-O: names of files that the container deleted.
    "deleted.files",
    LOG,
    // What the container wrote: containerd, CRI-O.
    "container.log",
    "io.kubernetes.cri-o.LogPath",
];

/// The name of a file in an archive. There is no value of this type for any other name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileName<'a> {
    is_image: bool,
    last: &'a str,
}

impl<'a> FileName<'a> {
    /// The folder with the images of CRIU. There is no other.
    pub const FOLDER: &'static str = IMAGES;

    /// Whether the file is in the folder `checkpoint`.
    pub fn is_image(self) -> bool {
        self.is_image
    }

    /// The last component: letters, digits, dots, hyphens and underscores, at most 100 of them. It begins with a letter or a
    /// digit.
    pub fn last(self) -> &'a str {
        self.last
    }

    /// Whether [`crate::Limits::document`] limits its size.
    pub(crate) fn is_document(self) -> bool {
        !self.is_image && DOCUMENTS.contains(&self.last)
    }
}

impl fmt::Display for FileName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_image {
            write!(f, "{IMAGES}/")?;
        }
        f.write_str(self.last)
    }
}

/// What an archive may contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry<'a> {
    /// The folder `checkpoint`.
    Images,
    File(FileName<'a>),
}

impl<'a> Entry<'a> {
    /// The entry of that name, exactly as runtimes write it: folders with a slash at the end, and no `./` in front.
    pub(crate) fn of(name: &'a str) -> Option<Self> {
        match name.strip_prefix(IMAGES).and_then(|rest| rest.strip_prefix('/')) {
            Some("") => Some(Self::Images),
            Some(last) => is_image(last).then_some(Self::File(FileName { is_image: true, last })),
            None => {
                let is_known = DOCUMENTS.contains(&name) || DATA.contains(&name);
                is_known.then_some(Self::File(FileName { is_image: false, last: name }))
            }
        }
    }
}

fn is_image(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

/// Whether the name is that of one entry of a folder, so that it can't lead out of it.
pub(crate) fn is_component(name: &str) -> bool {
    // 255 bytes: NAME_MAX of Linux.
    !matches!(name, "" | "." | "..") && name.len() <= 255 && !name.contains(['/', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runtimes_write_is_known() {
        for name in DOCUMENTS.iter().chain(&DATA) {
            let Some(Entry::File(file)) = Entry::of(name) else { panic!("{name}") };
            assert_eq!((file.is_image(), file.to_string().as_str()), (false, *name));
            assert_eq!(file.is_document(), DOCUMENTS.contains(name), "{name}");
        }
        for image in ["inventory.img", "core-1.img", "pages-12.img", "tmpfs-dev-73.tar.gz.img", "descriptors.json"] {
            let name = format!("checkpoint/{image}");
            let Some(Entry::File(file)) = Entry::of(&name) else { panic!("{name}") };
            assert_eq!((file.is_image(), file.last(), file.to_string()), (true, image, name.clone()));
            assert!(!file.is_document(), "{name}");
        }
        assert_eq!(Entry::of("checkpoint/"), Some(Entry::Images));
    }

    #[test]
    fn any_other_name_is_unknown() {
        for name in [
            "",
            ".",
            "..",
            "/",
            "checkpoint",
            "checkpoint//",
            "checkpoint//core-1.img",
            "checkpoint/.",
            "checkpoint/..",
            "checkpoint/../config.dump",
            "checkpoint/.hidden",
            "checkpoint/-rf",
            "checkpoint/a/b",
            "checkpoint/a b",
            "checkpoint/a\\b",
            "checkpoint/é",
            "Checkpoint/core-1.img",
            "checkpoints/core-1.img",
            "/config.dump",
            "./config.dump",
            "config.dump/",
            "CONFIG.DUMP",
            "config.dump ",
            "config.dump\0",
            "a/config.dump",
            "devshm-checkpoint.tar",
            "pod.dump",
        ] {
            assert_eq!(Entry::of(name), None, "{name:?}");
        }
    }

    #[test]
    fn a_component_is_one_entry_of_a_folder() {
        let longest = "x".repeat(255);
        for name in ["checkpoint-a_b-c-2026-11-06T10:00:00Z.tar", "..x", "...", longest.as_str()] {
            assert!(is_component(name), "{name}");
        }
        let too_long = "x".repeat(256);
        for name in ["", ".", "..", "/", "a/b", "/a", "a/", "a\0b", too_long.as_str()] {
            assert!(!is_component(name), "{name:?}");
        }
    }
}
