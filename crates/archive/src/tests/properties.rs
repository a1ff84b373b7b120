//! What is true of every archive.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, subsequence};

use super::tape::{Tape, record};
use super::{ctrd, saved};
use crate::judge::{self, Files, LIMITS};
use crate::read;

/// Files that an archive may have or not.
const OPTIONAL: [&str; 9] = [
    "status.dump",
    "status",
    "stats-dump",
    "bind.mounts",
    "rootfs-diff.tar",
    "deleted.files",
    "dump.log",
    "container.log",
    "io.kubernetes.cri-o.LogPath",
];

/// Files in any order and their contents. Each may have records before it.
fn files() -> impl Strategy<Value = Vec<(String, Vec<u8>, bool)>> {
    let names = subsequence(OPTIONAL.to_vec(), 0..=OPTIONAL.len());
    let images = vec("[a-zA-Z0-9][a-zA-Z0-9._-]{0,20}\\.img", 0..5);
    (names, images).prop_flat_map(|(names, images)| {
        let mut all: Vec<String> = names.into_iter().map(str::to_owned).collect();
        all.extend(images.into_iter().map(|image| format!("checkpoint/{image}")));
        all.push("checkpoint/inventory.img".to_owned());
        all.sort();
        all.dedup();
        let count = all.len();
        (Just(all).prop_shuffle(), vec(vec(any::<u8>(), 0..1500), count), vec(any::<bool>(), count)).prop_map(
            |(names, contents, records)| {
                let documents = [("config.dump", ctrd::CONFIG), ("spec.dump", ctrd::SPEC)];
                let documents = documents.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec(), false));
                let files = names.into_iter().zip(contents).zip(records);
                files.map(|((name, content), records)| (name, content, records)).chain(documents).collect()
            },
        )
    })
}

fn archive_of(files: &[(String, Vec<u8>, bool)]) -> Vec<u8> {
    let tape = files.iter().fold(Tape::new().folder("checkpoint/"), |tape, (name, content, has_records)| {
        let size = content.len().to_string();
        let tape = if *has_records { tape.records(&(record("uid", "70000") + &record("size", &size))) } else { tape };
        tape.file(name, content)
    });
    tape.end()
}

proptest! {
    #[test]
    fn each_archive_of_known_files_is_read_as_it_was_written(files in files()) {
        let (contents, found) = saved(&archive_of(&files), &ctrd::EXPECTED).unwrap();
        prop_assert_eq!(contents.entries as usize, files.len() + 1);
        let written: Vec<_> = files.into_iter().map(|(name, content, _)| (name, content)).collect();
        prop_assert_eq!(found.all, written);
    }

    #[test]
    fn an_archive_that_is_cut_off_anywhere_is_refused(files in files(), at in any::<Index>()) {
        let archive = archive_of(&files);
        let cut = &archive[..at.index(archive.len())];
        prop_assert!(read(cut, cut.len() as u64, &LIMITS, &mut Files::default()).is_err());
    }

    #[test]
    fn nothing_but_zeros_may_follow(files in files(), rest in vec(any::<u8>(), 1..600)) {
        let archive = [archive_of(&files), rest.clone()].concat();
        let result = read(&archive[..], archive.len() as u64, &LIMITS, &mut Files::default());
        prop_assert_eq!(result.is_ok(), rest.iter().all(|byte| *byte == 0));
    }

    /// No byte of a header is without a meaning, apart from those that end a number.
    #[test]
    fn a_byte_that_is_changed_is_noticed_unless_it_is_content(
        files in files(), at in any::<Index>(), by in 1..=255_u8
    ) {
        let archive = archive_of(&files);
        let at = at.index(archive.len());
        let mut changed = archive.clone();
        changed[at] ^= by;
        let mut before = Files::default();
        let mut after = Files::default();
        read(&archive[..], archive.len() as u64, &LIMITS, &mut before).unwrap();
        if let Ok(contents) = read(&changed[..], changed.len() as u64, &LIMITS, &mut after) {
            let size = contents.bytes;
            prop_assert_eq!(size, before.all.iter().map(|(_, content)| content.len() as u64).sum::<u64>());
            let differing = before.all.iter().zip(&after.all).filter(|(before, after)| before != after).count();
            prop_assert!(differing <= 1);
            for ((name, _), (other, _)) in before.all.iter().zip(&after.all) {
                prop_assert_eq!(name, other);
            }
        }
    }

    #[test]
    fn any_bytes_are_judged_without_a_panic(bytes in vec(any::<u8>(), 0..3000)) {
        judge::judge(&bytes);
    }

    #[test]
    fn any_change_of_an_archive_is_judged_without_a_panic(
        files in files(), changes in vec((any::<Index>(), any::<u8>()), 1..20)
    ) {
        let mut archive = archive_of(&files);
        for (at, byte) in changes {
            let at = at.index(archive.len());
            archive[at] = byte;
        }
        judge::judge(&archive);
    }
}
