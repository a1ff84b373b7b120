//! Unpacking into folders, and removing them.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use super::ctrd;
use crate::judge::LIMITS;
use crate::{Fault, Folder, ReadError, Sink, read, remove};

fn parent(path: &Path) -> File {
    File::open(path).unwrap()
}

fn unpack(path: &Path, bytes: &[u8]) -> Result<Folder, ReadError> {
    let mut folder = Folder::create(parent(path), "unpacked").unwrap();
    read(bytes, bytes.len() as u64, &LIMITS, &mut folder)?;
    Ok(folder)
}

#[test]
fn what_is_unpacked_is_for_its_owner_alone() {
    let place = tempfile::tempdir().unwrap();
    unpack(place.path(), &ctrd::archive()).unwrap().finish().unwrap();
    let unpacked = place.path().join("unpacked");
    for (path, mode) in [
        (unpacked.clone(), 0o40700),
        (unpacked.join("checkpoint"), 0o40700),
        (unpacked.join("spec.dump"), 0o100_600),
        (unpacked.join("checkpoint/pages-1.img"), 0o100_600),
    ] {
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode(), mode, "{}", path.display());
        assert_eq!(fs::metadata(&path).unwrap().uid(), fs::metadata(place.path()).unwrap().uid());
    }
    assert_eq!(fs::read_dir(&unpacked).unwrap().count(), 9);
    assert_eq!(fs::read_dir(unpacked.join("checkpoint")).unwrap().count(), 4);
}

#[test]
fn a_folder_that_exists_is_not_unpacked_into() {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("unpacked")).unwrap();
    let error = Folder::create(parent(place.path()), "unpacked").unwrap_err();
    assert_eq!(error.to_string(), "could not create the folder `unpacked` of the node store: check its disk");
    for name in ["../evil", "a/b", "", ".."] {
        assert!(Folder::create(parent(place.path()), name).is_err(), "{name}");
    }
}

#[test]
fn what_is_put_into_the_folder_meanwhile_is_neither_followed_nor_overwritten() {
    let place = tempfile::tempdir().unwrap();
    let victim = place.path().join("victim");
    fs::write(&victim, "not written to").unwrap();
    let unpacked = place.path().join("unpacked");
    for name in ["spec.dump", "status", "checkpoint"] {
        let mut folder = Folder::create(parent(place.path()), "unpacked").unwrap();
        if name == "status" {
            fs::hard_link(&victim, unpacked.join(name)).unwrap();
        } else {
            symlink(&victim, unpacked.join(name)).unwrap();
        }
        let bytes = ctrd::archive();
        let error = read(&bytes[..], bytes.len() as u64, &LIMITS, &mut folder).unwrap_err();
        assert!(
            matches!(&error, ReadError::Store { name: found, .. } if found.trim_end_matches('/') == name),
            "{error}"
        );
        assert_eq!(error.fault(), Fault::Machine);
        remove(parent(place.path()), "unpacked").unwrap();
    }
    assert_eq!(fs::read_to_string(victim).unwrap(), "not written to");
}

#[test]
fn a_folder_that_is_moved_meanwhile_is_still_written_to() {
    let place = tempfile::tempdir().unwrap();
    let mut folder = Folder::create(parent(place.path()), "unpacked").unwrap();
    folder.folder().unwrap();
    fs::rename(place.path().join("unpacked"), place.path().join("moved")).unwrap();
    symlink("/nonexistent", place.path().join("unpacked")).unwrap();
    let bytes = ctrd::images().end();
    // The folder of the images exists already: the first entry is refused, nothing is written through the link.
    assert!(read(&bytes[..], bytes.len() as u64, &LIMITS, &mut folder).is_err());
    folder.finish().unwrap();
    assert!(place.path().join("moved/checkpoint").is_dir());
}

#[test]
fn a_folder_is_removed_with_all_that_is_in_it() {
    let place = tempfile::tempdir().unwrap();
    let kept = place.path().join("kept");
    fs::create_dir(&kept).unwrap();
    fs::write(kept.join("file"), "kept").unwrap();
    // An archive that is cut off.
    let bytes = ctrd::archive();
    assert!(unpack(place.path(), &bytes[..5000]).is_err());
    let unpacked = place.path().join("unpacked");
    symlink(&kept, unpacked.join("link")).unwrap();
    fs::create_dir_all(unpacked.join("a/b/c")).unwrap();
    fs::write(unpacked.join("a/b/c/file"), "").unwrap();
    remove(parent(place.path()), "unpacked").unwrap();
    assert!(!unpacked.exists());
    assert_eq!(fs::read_to_string(kept.join("file")).unwrap(), "kept");
    // It may be repeated.
    remove(parent(place.path()), "unpacked").unwrap();
}

#[test]
fn a_removal_never_leaves_the_folder_of_the_store() {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("kept")).unwrap();
    let store = place.path().join("store");
    fs::create_dir(&store).unwrap();
    symlink("../kept", store.join("link")).unwrap();
    for name in ["../kept", "..", ".", "", "/", "link/../../kept"] {
        assert!(remove(parent(&store), name).is_err(), "{name}");
    }
    remove(parent(&store), "link").unwrap();
    assert!(place.path().join("kept").is_dir());
}

#[test]
fn a_folder_that_is_too_deep_is_no_endless_removal() {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir_all(place.path().join("unpacked").join("a/".repeat(20))).unwrap();
    let error = remove(parent(place.path()), "unpacked").unwrap_err();
    assert_eq!(error.to_string(), "could not remove the folder `unpacked` of the node store: check its disk");
}
