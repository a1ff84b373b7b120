//! The archives of the two runtimes, from the file to what a caller gets.

use std::fs;

use super::{crio, ctrd, saved};
use crate::requirements::{Machine, requirements};
use crate::{Archive, ConfigDump, Folder, Limits, Removal, Rules, SpecDump, identity, read, shape};

const MACHINE: Machine<'_> = Machine { architecture: "x86_64", cpuinfo: "flags : fpu sse\n", kernel: "6.18.0-1-amd64" };

fn names(files: &[(String, Vec<u8>)]) -> Vec<(&str, usize)> {
    files.iter().map(|(name, content)| (name.as_str(), content.len())).collect()
}

#[test]
fn an_archive_of_containerd_is_accepted_as_it_is() {
    let (contents, files) = saved(&ctrd::archive(), &ctrd::EXPECTED).unwrap();
    assert_eq!((contents.entries, contents.bytes), (13, files.all.iter().map(|(_, file)| file.len() as u64).sum()));
    assert_eq!(
        names(&files.all),
        [
            ("checkpoint/core-1.img", 9),
            ("checkpoint/descriptors.json", 35),
            ("checkpoint/inventory.img", 9),
            ("checkpoint/pages-1.img", 512),
            ("config.dump", ctrd::CONFIG.len()),
            ("container.log", 40),
            ("dump.log", 80),
            ("rootfs-diff.tar", 14),
            ("spec.dump", ctrd::SPEC.len()),
            ("stats-dump", 4),
            ("status", 27),
            ("status.dump", 27),
        ]
    );
    assert_eq!(files.all[4].1, contents.config);
    assert_eq!(files.all[8].1, contents.spec);
    let config = ConfigDump::parse(&contents.config).unwrap();
    let requirements = requirements(&MACHINE, &config, &contents.log_head);
    assert_eq!(requirements.criu.as_deref(), Some("4.2.1"));
    assert_eq!(requirements.runtime.as_deref(), Some("io.containerd.runc.v2"));
}

#[test]
fn an_archive_of_crio_is_accepted_as_it_is() {
    let (contents, files) = saved(&crio::archive(), &crio::EXPECTED).unwrap();
    assert_eq!(contents.entries, 11);
    assert_eq!(
        names(&files.all),
        [
            ("stats-dump", 4),
            ("dump.log", 38),
            ("checkpoint/inventory.img", 9),
            ("checkpoint/pages-1.img", 512),
            ("config.dump", crio::CONFIG.len()),
            ("spec.dump", crio::SPEC.len()),
            ("bind.mounts", 81),
            ("rootfs-diff.tar", 2048),
            ("deleted.files", 13),
            ("io.kubernetes.cri-o.LogPath", 40),
        ]
    );
    let config = ConfigDump::parse(&contents.config).unwrap();
    let requirements = requirements(&MACHINE, &config, &contents.log_head);
    assert_eq!((requirements.criu.as_deref(), requirements.runtime.as_deref()), (Some("4.1"), Some("crun")));
}

#[test]
fn an_archive_is_opened_unpacked_checked_and_removed() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("checkpoint-web-0_shop-app.tar");
    super::files::write(&file, &ctrd::archive());
    let rules = Rules { owner: super::files::owner_of(&file), longest: 1 << 20 };

    let archive = Archive::open(place.path(), "checkpoint-web-0_shop-app.tar", &rules).unwrap();
    let parent = fs::File::open(place.path()).unwrap();
    let mut folder = Folder::create(&parent, "unpacked").unwrap();
    let contents = read(archive.reader(), archive.size(), &Limits::default(), &mut folder).unwrap();
    let config = ConfigDump::parse(&contents.config).unwrap();
    let spec = SpecDump::parse(&contents.spec).unwrap();
    identity::check(&config, &spec, &ctrd::EXPECTED).unwrap();
    archive.verify_unchanged().unwrap();
    folder.finish().unwrap();
    assert_eq!(shape::shape(&spec, &[]).len(), 64);
    assert_eq!(archive.remove().unwrap(), Removal::Removed);

    assert!(!file.exists());
    let pages = fs::read(place.path().join("unpacked/checkpoint/pages-1.img")).unwrap();
    assert_eq!(pages, [7; 512]);
    assert_eq!(fs::read(place.path().join("unpacked/spec.dump")).unwrap(), ctrd::SPEC.as_bytes());
}
