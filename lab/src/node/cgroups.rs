//! The control groups that a node's containers live in: one folder in each hierarchy, gone with the node.
//!
//! The kubelet makes its own groups below a root that has to exist (`cgroupRoot`). The name of ours holds the process id
//! of its lab, so that what a killed lab left is told from what a living one needs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const PREFIX: &str = "snapwatcher-lab-";

/// The share of the processors that containers have, by the file of either version; a hundred times the usual.
///
/// runc tries to freeze a container for a fifth of a second only (version 1: "unable to freeze"), within which each of its
/// processes has to get its turn. Beside a dozen busy programs on two processors 14 of 15 checkpoints failed without this.
const WEIGHTS: [(&str, &str); 2] = [("cpu.shares", "102400"), ("cpu.weight", "10000")];

/// What a kubelet does not start without.
const CONTROLLERS: [&str; 4] = ["cpu", "cpuset", "memory", "pids"];

/// How long a group may stay busy after its last process has ended.
const TIMEOUT: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(20);

/// A group in each hierarchy; removed, with those below it, when dropped.
#[derive(Debug)]
pub(crate) struct Cgroups {
    name: String,
    folders: Vec<PathBuf>,
}

impl Cgroups {
    /// Makes a group of a name of its own in each hierarchy of this machine.
    pub(crate) fn create() -> io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let mut made = Self { name: format!("{PREFIX}{}-{count}", std::process::id()), folders: Vec::new() };
        let hierarchies = hierarchies(&fs::read_to_string("/proc/self/mounts")?);
        // Where there are others, of version 1, they have the controllers.
        if let [only] = hierarchies.as_slice() {
            enable_controllers(only)?;
        }
        for hierarchy in hierarchies {
            let folder = hierarchy.join(&made.name);
            fs::create_dir(&folder)?;
            made.folders.push(folder.clone());
            for (file, weight) in WEIGHTS {
                let file = folder.join(file);
                if file.exists() {
                    fs::write(file, weight)?;
                }
            }
        }
        Ok(made)
    }

    /// The path of the group, as a kubelet is told it.
    pub(crate) fn path(&self) -> String {
        format!("/{}", self.name)
    }

    /// Removes the groups that killed labs left, as only root can.
    pub(crate) fn sweep() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        for entry in hierarchies(&mounts).iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten() {
            let owner = entry.file_name().to_str().and_then(owner);
            if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
                removed(&entry.path(), Instant::now() + TIMEOUT);
            }
        }
    }

    /// Lets frozen containers go on, so that they can end: of version 1, not even SIGKILL reaches one that is frozen, as it
    /// is while a checkpoint is taken.
    pub(crate) fn thaw(&self) {
        self.folders.iter().for_each(|folder| thaw(folder));
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        let deadline = Instant::now() + TIMEOUT;
        self.folders.iter().for_each(|folder| removed(folder, deadline));
    }
}

/// The groups that the lab of this process has on this machine.
pub fn control_groups_of(pid: u32) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let is_its = |folder: &PathBuf| folder.file_name().and_then(|name| owner(name.to_str()?)) == Some(pid);
    hierarchies(&mounts).iter().flat_map(|folder| below(folder)).filter(is_its).collect()
}

/// Gives the groups of a hierarchy, where it is of version 2, the controllers that a kubelet needs. They stay on: whoever else uses them by
/// then would lose them.
fn enable_controllers(hierarchy: &Path) -> io::Result<()> {
    let read = |file: &str| fs::read_to_string(hierarchy.join(file)).unwrap_or_default();
    let controllers = read("cgroup.controllers");
    if !hierarchy.join("cgroup.controllers").exists() {
        return Ok(());
    }
    for controller in not_enabled(&controllers, &read("cgroup.subtree_control"))? {
        let file = hierarchy.join("cgroup.subtree_control");
        fs::write(&file, format!("+{controller}")).map_err(|error| {
            let message = format!("the controller `{controller}` can't be enabled in {}: {error}", file.display());
            io::Error::new(error.kind(), message)
        })?;
    }
    Ok(())
}

/// Which of the needed controllers groups do not have yet; an error where the machine has not got it either.
fn not_enabled(controllers: &str, enabled: &str) -> io::Result<Vec<&'static str>> {
    let is_among = |controller: &str, list: &str| list.split_whitespace().any(|word| word == controller);
    if let Some(missing) = CONTROLLERS.iter().find(|controller| !is_among(controller, controllers)) {
        return Err(io::Error::other(format!("this machine's control groups have no controller `{missing}`")));
    }
    Ok(CONTROLLERS.into_iter().filter(|controller| !is_among(controller, enabled)).collect())
}

/// Removes a group, which is busy for a moment after its last process was reaped.
fn removed(folder: &Path, deadline: Instant) {
    while !remove(folder) && Instant::now() < deadline {
        thaw(folder);
        thread::sleep(POLL);
    }
}

fn thaw(folder: &Path) {
    let state = folder.join("freezer.state");
    if state.exists() {
        // Fails for a group that is gone by now.
        drop(fs::write(state, "THAWED"));
    }
    for group in below(folder) {
        thaw(&group);
    }
}

/// The groups right below this one.
fn below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

/// The process id of the lab that made the group of this name.
fn owner(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split_once('-')?.0.parse().ok()
}

/// Removes a group and those below it; false where one is still in use.
fn remove(folder: &Path) -> bool {
    for group in below(folder) {
        remove(&group);
    }
    fs::remove_dir(folder).is_ok() || !folder.exists()
}

/// Where the hierarchies are mounted, of either version, by the lines of `/proc/mounts` (`proc(5)`).
fn hierarchies(mounts: &str) -> Vec<PathBuf> {
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let mut folders: Vec<PathBuf> = fields
        .filter(|fields| matches!(fields.get(2), Some(&("cgroup" | "cgroup2"))))
        .filter_map(|fields| fields.get(1).map(PathBuf::from))
        .filter(|folder| folder.starts_with("/sys/fs/cgroup"))
        .collect();
    folders.sort();
    folders.dedup();
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_of_both_versions_are_found_and_nothing_else() {
        let mounts = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
                      cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n\
                      cgroup /elsewhere cgroup rw 0 0\n";
        let expected = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup/unified"].map(PathBuf::from);
        assert_eq!(hierarchies(mounts), expected);
        assert_eq!(hierarchies("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n"), [PathBuf::from("/sys/fs/cgroup")]);
    }

    #[test]
    fn what_a_kubelet_needs_and_groups_lack_is_enabled() {
        let all = "cpuset cpu io memory pids\n";
        assert_eq!(not_enabled(all, "memory pids\n").unwrap(), ["cpu", "cpuset"]);
        assert_eq!(not_enabled(all, all).unwrap(), [""; 0]);
        let message = not_enabled("cpuset cpu io pids\n", "").unwrap_err().to_string();
        assert!(message.contains("`memory`"), "{message}");
    }

    #[test]
    fn a_group_is_removed_with_those_below_it() {
        let folder = tempfile::tempdir().unwrap();
        let group = folder.path().join("group");
        fs::create_dir_all(group.join("kubepods/besteffort/pod-1")).unwrap();
        assert!(remove(&group) && !group.exists());
        assert!(remove(&group), "one that is gone already");
    }

    #[test]
    fn a_groups_name_tells_the_lab_that_made_it() {
        for (name, expected) in [
            ("snapwatcher-lab-4711-0", Some(4711)),
            ("snapwatcher-lab-x-0", None),
            ("kubepods", None),
            ("snapwatcher-lab-12", None),
        ] {
            assert_eq!(owner(name), expected, "{name}");
        }
    }
}
