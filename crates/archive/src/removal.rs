//! Removes a folder of the node store: one that was not unpacked to the end, or that is no longer needed.
//!
//! It does not matter what is in the folder. Links are removed and not followed, and another file system that is mounted in it is
//! not entered.

use std::ffi::CString;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, Dir, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::folder::FolderError;
use crate::names::is_component;

/// Folders in folders. An archive has one.
const DEEPEST: u32 = 8;

/// Removes the folder of that name, and all that is in it. That it does not exist is no error, so it may be repeated.
pub fn remove(parent: impl AsFd, name: &str) -> Result<(), FolderError> {
    let removed = component(name).and_then(|name| remove_tree(&parent, &name, 0));
    match removed {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(FolderError::new("remove", name, error.into())),
    }
}

fn component(name: &str) -> Result<CString, Errno> {
    if is_component(name) { CString::new(name).map_err(|_| Errno::INVAL) } else { Err(Errno::INVAL) }
}

fn remove_tree(parent: impl AsFd, name: &CString, depth: u32) -> Result<(), Errno> {
    match rustix::fs::unlinkat(&parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => {}
        result => return result,
    }
    if depth == DEEPEST {
        return Err(Errno::NAMETOOLONG);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let folder = rustix::fs::openat2(&parent, name, flags, Mode::empty(), resolve)?;
    let mut names = Vec::new();
    for entry in Dir::read_from(&folder)? {
        let name = entry?.file_name().to_owned();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name);
        }
    }
    for name in names {
        match remove_tree(&folder, &name, depth + 1) {
            Ok(()) | Err(Errno::NOENT) => {}
            error => return error,
        }
    }
    rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR)
}
