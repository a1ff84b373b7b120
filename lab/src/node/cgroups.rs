//! The control groups of a node's containers: one folder in each hierarchy, removed with the node.
//!
//! The kubelet creates its groups below a root that has to exist (`cgroupRoot`). The root's name contains the process
//! id of its lab, so that later labs can remove the groups of a lab that was killed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const PREFIX: &str = "snapwatcher-lab-";

/// CPU weight of the containers, in the files of both versions: a hundred times the default.
///
/// runc tries to freeze a container for only a fifth of a second, in which each of its processes has to run once. On
/// two cores with a dozen busy programs, 14 of 15 checkpoints failed without this weight ("unable to freeze").
const WEIGHTS: [(&str, &str); 2] = [("cpu.shares", "102400"), ("cpu.weight", "10000")];

/// Controllers that a kubelet requires.
const CONTROLLERS: [&str; 4] = ["cpu", "cpuset", "memory", "pids"];

/// How long a group may stay busy after its last process has ended.
const TIMEOUT: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(20);

/// A group in each hierarchy. Dropping it removes them and their children.
#[derive(Debug)]
pub(crate) struct Cgroups {
    name: String,
    folders: Vec<PathBuf>,
}

/// A new name of a group. It contains the process id of this lab.
fn new_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{PREFIX}{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A group in the hierarchy that limits memory. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct MemoryGroup {
    folder: PathBuf,
}

impl MemoryGroup {
    pub(crate) fn create() -> io::Result<Self> {
        let hierarchies = hierarchies(&fs::read_to_string("/proc/self/mounts")?);
        let hierarchy = match hierarchies.as_slice() {
            [only] => {
                enable_controllers(only)?;
                Some(only)
            }
            several => several.iter().find(|folder| folder.ends_with("memory")),
        };
        let hierarchy = hierarchy.ok_or_else(|| io::Error::other("no control groups limit memory here"))?;
        let folder = hierarchy.join(new_name());
        fs::create_dir(&folder)?;
        Ok(Self { folder })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        removed(&self.folder, Instant::now() + TIMEOUT);
    }
}

impl Cgroups {
    /// Creates a group with a new name in each hierarchy.
    pub(crate) fn create() -> io::Result<Self> {
        let mut made = Self { name: new_name(), folders: Vec::new() };
        let hierarchies = hierarchies(&fs::read_to_string("/proc/self/mounts")?);
        // On a machine with several hierarchies, the controllers belong to those of version 1.
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

    /// The path of the group, for the kubelet's configuration.
    pub(crate) fn path(&self) -> String {
        format!("/{}", self.name)
    }

    /// Removes the groups of labs that were killed. Only root can remove them.
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

    /// Thaws frozen containers, so that they can end. A container is frozen while its checkpoint is taken, and in
    /// version 1 a frozen process does not even react to SIGKILL.
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

/// The groups of the lab with this process id.
pub fn control_groups_of(pid: u32) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let is_its = |folder: &PathBuf| folder.file_name().and_then(|name| owner(name.to_str()?)) == Some(pid);
    hierarchies(&mounts).iter().flat_map(|folder| below(folder)).filter(is_its).collect()
}

/// Enables the controllers that a kubelet needs in a hierarchy of version 2. They stay enabled, because other programs
/// may use them later.
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

/// The required controllers that are not enabled yet. Fails if the machine lacks one of them.
fn not_enabled(controllers: &str, enabled: &str) -> io::Result<Vec<&'static str>> {
    let is_among = |controller: &str, list: &str| list.split_whitespace().any(|word| word == controller);
    if let Some(missing) = CONTROLLERS.iter().find(|controller| !is_among(controller, controllers)) {
        return Err(io::Error::other(format!("this machine's control groups have no controller `{missing}`")));
    }
    Ok(CONTROLLERS.into_iter().filter(|controller| !is_among(controller, enabled)).collect())
}

/// Removes a group and retries until the deadline: it is busy for a moment after its last process has ended.
fn removed(folder: &Path, deadline: Instant) {
    while !remove(folder) && Instant::now() < deadline {
        thaw(folder);
        thread::sleep(POLL);
    }
}

fn thaw(folder: &Path) {
    let state = folder.join("freezer.state");
    if state.exists() {
        // Fails if the group was removed meanwhile.
        drop(fs::write(state, "THAWED"));
    }
    for group in below(folder) {
        thaw(&group);
    }
}

/// The direct children of this group.
fn below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

/// The process id in the name of a lab's group.
fn owner(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split_once('-')?.0.parse().ok()
}

/// Removes a group and its children. Returns false if one of them is still in use.
fn remove(folder: &Path) -> bool {
    for group in below(folder) {
        remove(&group);
    }
    fs::remove_dir(folder).is_ok() || !folder.exists()
}

/// The mount points of all hierarchies, from the lines of `/proc/mounts` (`proc(5)`).
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
    fn hierarchies_of_both_versions_are_found() {
        let mounts = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
                      cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n\
                      cgroup /elsewhere cgroup rw 0 0\n";
        let expected = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup/unified"].map(PathBuf::from);
        assert_eq!(hierarchies(mounts), expected);
        assert_eq!(hierarchies("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n"), [PathBuf::from("/sys/fs/cgroup")]);
    }

    #[test]
    fn missing_controllers_are_enabled() {
        let all = "cpuset cpu io memory pids\n";
        assert_eq!(not_enabled(all, "memory pids\n").unwrap(), ["cpu", "cpuset"]);
        assert_eq!(not_enabled(all, all).unwrap(), [""; 0]);
        let message = not_enabled("cpuset cpu io pids\n", "").unwrap_err().to_string();
        assert!(message.contains("`memory`"), "{message}");
    }

    #[test]
    fn a_group_is_removed_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let group = folder.path().join("group");
        fs::create_dir_all(group.join("kubepods/besteffort/pod-1")).unwrap();
        assert!(remove(&group) && !group.exists());
        assert!(remove(&group), "it is removed already");
    }

    #[test]
    fn the_name_of_a_group_contains_the_process_id_of_its_lab() {
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
