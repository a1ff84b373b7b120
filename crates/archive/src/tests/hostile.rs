//! Hostile archives. Each has the name of what must not happen, and the beginning of the error that is expected instead.

use std::collections::HashSet;
use std::fs;

use super::{ctrd, saved};
use crate::judge::{LIMITS, chain};
use crate::{Folder, read, remove};

mod contents;
mod documents;
mod headers;
mod names;
mod sizes;

pub(crate) struct Hostile {
    /// What must not happen.
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
    pub(crate) error: &'static str,
}

/// All hostile archives, those with a valid tar and wrong documents included.
pub(crate) fn archives() -> Vec<Hostile> {
    [names::archives(), headers::archives(), sizes::archives(), contents::archives(), documents::archives()]
        .into_iter()
        .flatten()
        .map(|(name, bytes, error)| Hostile { name, bytes, error })
        .collect()
}

#[test]
fn each_hostile_archive_is_refused_for_its_reason() {
    let archives = archives();
    let names: HashSet<_> = archives.iter().map(|hostile| hostile.name).collect();
    assert_eq!(names.len(), archives.len(), "two have the same name");
    assert!(archives.len() >= 60, "{}", archives.len());
    for Hostile { name, bytes, error } in archives {
        let found = saved(&bytes, &ctrd::EXPECTED).map(|(contents, _)| contents.entries).unwrap_err();
        assert!(found.starts_with(error), "{name}: expected `{error}`, found `{found}`");
    }
}

#[test]
fn no_hostile_archive_writes_anything_outside_of_its_folder() {
    for Hostile { name, bytes, .. } in archives() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("store")).unwrap();
        fs::write(place.path().join("evil"), "not written to").unwrap();
        let store = fs::File::open(place.path().join("store")).unwrap();
        let mut folder = Folder::create(&store, "unpacked").unwrap();
        let result = read(&bytes[..], bytes.len() as u64, &LIMITS, &mut folder);
        if let Err(error) = result {
            assert!(!chain(&error).is_empty(), "{name}");
        }
        remove(&store, "unpacked").unwrap();
        assert_eq!(fs::read_dir(place.path().join("store")).unwrap().count(), 0, "{name}");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2, "{name}");
        assert_eq!(fs::read_to_string(place.path().join("evil")).unwrap(), "not written to", "{name}");
    }
}
