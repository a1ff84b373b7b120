//! Files that are no archive of a kubelet, and files that change while they are used.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{CWD, FileType, Mode};
use tempfile::TempDir;

use super::ctrd;
use crate::judge::{LIMITS, chain};
use crate::{Archive, Discard, Fault, ReadError, Removal, Rules, read};

const NAME: &str = "checkpoint-web-0_shop-app-2026-11-06T10:00:00Z.tar";

/// Writes a file as a container runtime does, some time ago: a file system counts time in steps of milliseconds.
pub(super) fn write(path: &Path, content: &[u8]) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    File::open(path).unwrap().set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_762_423_200)).unwrap();
}

pub(super) fn owner_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().uid()
}

/// The folder of a kubelet, with one archive.
struct Checkpoints {
    place: TempDir,
    rules: Rules,
}

impl Checkpoints {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        write(&place.path().join(NAME), &ctrd::archive());
        let rules = Rules { owner: owner_of(place.path()), longest: 1 << 20 };
        Self { place, rules }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn open(&self) -> Archive {
        Archive::open(self.place.path(), NAME, &self.rules).unwrap()
    }

    /// Why the file of that name is refused.
    fn refusal(&self, name: &str) -> String {
        refusal(self.place.path(), name, &self.rules)
    }
}

fn refusal(folder: &Path, name: &str, rules: &Rules) -> String {
    let error = Archive::open(folder, name, rules).unwrap_err();
    let text = chain(&error);
    let path = format!("could not use the checkpoint archive `{}`: ", folder.join(name).display());
    text.strip_prefix(&path).unwrap_or(&text).to_owned()
}

#[test]
fn an_archive_is_opened_read_and_removed() {
    let checkpoints = Checkpoints::new();
    let archive = checkpoints.open();
    assert_eq!(archive.size(), ctrd::archive().len() as u64);
    read(archive.reader(), archive.size(), &LIMITS, &mut Discard).unwrap();
    archive.verify_unchanged().unwrap();
    // After a restart, the same file has the same stamp.
    assert_eq!(archive.stamp(), checkpoints.open().stamp());
    assert_eq!(archive.remove().unwrap(), Removal::Removed);
    assert_eq!(checkpoints.refusal(NAME), "it does not exist");
}

#[test]
fn a_link_is_not_followed() {
    let checkpoints = Checkpoints::new();
    symlink(checkpoints.path(NAME), checkpoints.path("link")).unwrap();
    symlink("/etc/passwd", checkpoints.path("passwd")).unwrap();
    symlink("missing", checkpoints.path("dangling")).unwrap();
    for name in ["link", "passwd", "dangling"] {
        assert_eq!(checkpoints.refusal(name), "it is a symbolic link", "{name}");
    }
}

#[test]
fn a_folder_that_is_a_link_is_not_followed() {
    let checkpoints = Checkpoints::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let link = elsewhere.path().join("checkpoints");
    symlink(checkpoints.place.path(), &link).unwrap();
    let expected = "its folder is a symbolic link or no folder; give the real path";
    assert_eq!(refusal(&link, NAME, &checkpoints.rules), expected);
    assert_eq!(refusal(&checkpoints.path(NAME), NAME, &checkpoints.rules), expected);
    let missing = checkpoints.path("missing");
    assert!(refusal(&missing, NAME, &checkpoints.rules).starts_with("its folder cannot be opened: No such file"));
}

#[test]
fn a_name_does_not_lead_out_of_the_folder() {
    let checkpoints = Checkpoints::new();
    fs::create_dir(checkpoints.path("below")).unwrap();
    write(&checkpoints.path("below/archive.tar"), b"");
    for name in ["../etc/passwd", "/etc/passwd", "below/archive.tar", "..", ".", "", "a\0b"] {
        let text = chain(&Archive::open(checkpoints.place.path(), name, &checkpoints.rules).unwrap_err());
        assert!(text.ends_with("its name is not that of one entry of a folder"), "{name:?}: {text}");
    }
}

#[test]
fn what_is_no_regular_file_is_refused_without_a_wait() {
    let checkpoints = Checkpoints::new();
    fs::create_dir(checkpoints.path("folder")).unwrap();
    rustix::fs::mknodat(CWD, checkpoints.path("fifo"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let _listener = UnixListener::bind(checkpoints.path("socket")).unwrap();
    for (name, expected) in [("folder", "folder"), ("fifo", "FIFO"), ("socket", "socket")] {
        assert_eq!(checkpoints.refusal(name), format!("it is a {expected}, no regular file"));
    }
    let rules = Rules { owner: 0, ..checkpoints.rules };
    let device = refusal(Path::new("/dev"), "null", &rules);
    // Where /dev is not mounted as usual, its folder is refused.
    assert!(device.starts_with("it is a device, no regular file") || device.starts_with("its folder "), "{device}");
}

#[test]
fn a_file_with_another_name_elsewhere_is_refused() {
    let checkpoints = Checkpoints::new();
    fs::hard_link(checkpoints.path(NAME), checkpoints.path("second")).unwrap();
    for name in [NAME, "second"] {
        assert_eq!(checkpoints.refusal(name), "it has 2 hard links, expected is 1");
    }
}

#[test]
fn a_file_that_others_may_write_to_is_refused() {
    let checkpoints = Checkpoints::new();
    for (mode, expected) in [(0o602, "0602"), (0o620, "0620"), (0o666, "0666")] {
        fs::set_permissions(checkpoints.path(NAME), Permissions::from_mode(mode)).unwrap();
        assert_eq!(checkpoints.refusal(NAME), format!("it has mode {expected}: others can write to it"));
    }
    fs::set_permissions(checkpoints.path(NAME), Permissions::from_mode(0o644)).unwrap();
    checkpoints.open();
    fs::set_permissions(checkpoints.place.path(), Permissions::from_mode(0o1777)).unwrap();
    assert_eq!(checkpoints.refusal(NAME), "its folder has mode 1777: remove the right of others to write");
}

#[test]
fn a_file_or_folder_of_another_user_is_refused() {
    let checkpoints = Checkpoints::new();
    let (found, expected) = (checkpoints.rules.owner, checkpoints.rules.owner + 1);
    let others = Rules { owner: expected, ..checkpoints.rules };
    let text = refusal(checkpoints.place.path(), NAME, &others);
    assert_eq!(text, format!("its folder belongs to user {found}, expected is {expected}"));
    // Only root can give a file to another user. The rule itself is tested for every user, beside it.
    if found == 0 {
        std::os::unix::fs::chown(checkpoints.path(NAME), Some(1), None).unwrap();
        assert_eq!(checkpoints.refusal(NAME), "it belongs to user 1, expected is 0");
    }
}

#[test]
fn a_file_beyond_the_limit_is_refused_before_it_is_read() {
    let mut checkpoints = Checkpoints::new();
    let size = ctrd::archive().len() as u64;
    checkpoints.rules.longest = size;
    checkpoints.open();
    checkpoints.rules.longest = size - 1;
    assert_eq!(checkpoints.refusal(NAME), format!("it has {size} bytes, allowed are {}", size - 1));
    // A sparse file: its size counts, not what it takes on the disk.
    File::create(checkpoints.path("sparse")).unwrap().set_len(1 << 40).unwrap();
    fs::set_permissions(checkpoints.path("sparse"), Permissions::from_mode(0o600)).unwrap();
    assert!(checkpoints.refusal("sparse").starts_with("it has 1099511627776 bytes"));
}

#[test]
fn a_file_that_grows_or_shrinks_while_it_is_read_is_refused() {
    let checkpoints = Checkpoints::new();
    let archive = checkpoints.open();
    let mut writer = File::options().append(true).open(checkpoints.path(NAME)).unwrap();
    writer.write_all(&[0; 512]).unwrap();
    let error = read(archive.reader(), archive.size(), &LIMITS, &mut Discard).unwrap_err();
    assert!(matches!(error, ReadError::Grew { .. }), "{error}");
    assert_eq!(error.fault(), Fault::Archive);
    assert!(chain(&archive.verify_unchanged().unwrap_err()).ends_with("it was changed since it was opened"));

    let archive = checkpoints.open();
    writer.set_len(archive.size() - 512).unwrap();
    let error = read(archive.reader(), archive.size(), &LIMITS, &mut Discard).unwrap_err();
    assert!(matches!(error, ReadError::Shrank { .. }), "{error}");
}

#[test]
fn a_file_that_is_overwritten_in_place_is_noticed() {
    let checkpoints = Checkpoints::new();
    let archive = checkpoints.open();
    File::options().write(true).open(checkpoints.path(NAME)).unwrap().write_all(b"evil").unwrap();
    assert!(chain(&archive.verify_unchanged().unwrap_err()).ends_with("it was changed since it was opened"));
    let error = archive.remove().unwrap_err();
    assert!(chain(&error).ends_with("it was changed since it was opened"), "{error}");
    assert!(checkpoints.path(NAME).exists());
}

#[test]
fn another_file_of_the_name_is_not_removed() {
    let checkpoints = Checkpoints::new();
    for replace in [
        |path: &Path| write(path, &ctrd::archive()),
        |path: &Path| symlink("/etc/passwd", path).unwrap(),
        // To the archive itself.
        |path: &Path| symlink("moved", path).unwrap(),
        |path: &Path| fs::create_dir(path).unwrap(),
    ] {
        let archive = checkpoints.open();
        fs::rename(checkpoints.path(NAME), checkpoints.path("moved")).unwrap();
        replace(&checkpoints.path(NAME));
        let error = archive.remove().unwrap_err();
        assert!(chain(&error).ends_with("its name is now that of another file"), "{error}");
        assert!(checkpoints.path(NAME).symlink_metadata().is_ok());
        crate::remove(File::open(checkpoints.place.path()).unwrap(), NAME).unwrap();
        fs::rename(checkpoints.path("moved"), checkpoints.path(NAME)).unwrap();
    }
}

#[test]
fn an_archive_that_is_gone_needs_no_removal() {
    let checkpoints = Checkpoints::new();
    let archive = checkpoints.open();
    fs::remove_file(checkpoints.path(NAME)).unwrap();
    assert_eq!(archive.remove().unwrap(), Removal::WasGone);
}
