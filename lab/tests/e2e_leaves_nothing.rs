//! A lab leaves nothing on the machine, even if an earlier lab was killed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, PostParams};
use lab::node::control_groups_of;
use lab::objects::{COUNTING, pod};
use lab::{Access, Cluster, Options, RealNode, is_ready, until};

/// A lab's process, node and folder.
struct Lab {
    pid: u32,
    node: RealNode,
    folder: PathBuf,
}

/// A process that is killed when this is dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Fails only if the process has ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// What the machine has of a lab: its link, control groups, folder and all mounts.
fn traces(lab: &Lab) -> BTreeSet<String> {
    let link = format!("swlab{}", lab.node.address().octets()[2]);
    let links = names(Path::new("/sys/class/net")).into_iter().filter(|name| *name == link);
    let groups = control_groups_of(lab.pid).into_iter().map(|folder| folder.display().to_string());
    let folders = lab.folder.exists().then(|| lab.folder.display().to_string());
    links.chain(groups).chain(mounts()).chain(folders).collect()
}

fn mounts() -> BTreeSet<String> {
    fs::read_to_string("/proc/self/mountinfo").unwrap().lines().map(str::to_owned).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// The PID namespace of the process with this folder in `/proc`.
fn pid_namespace(process: &Path) -> Option<PathBuf> {
    fs::read_link(process.join("ns/pid")).ok()
}

fn processes_in(namespace: &Path) -> usize {
    let processes = names(Path::new("/proc")).into_iter().map(|name| Path::new("/proc").join(name));
    processes.filter(|process| pid_namespace(process).as_deref() == Some(namespace)).count()
}

fn namespace_of(node: &RealNode) -> PathBuf {
    pid_namespace(node.path("/").parent().unwrap()).unwrap()
}

async fn pod_counts(api: &Api<Pod>, node: &RealNode) {
    until("a pod can be created", async || {
        api.create(&PostParams::default(), &pod("counter").runs(&node.busybox(), COUNTING).build()).await
    })
    .await;
    until("the pod is Ready", async || api.get("counter").await.is_ok_and(|pod| is_ready(&pod))).await;
}

/// Freezes all containers of a lab, as for a checkpoint. Returns the number of groups.
fn freeze(pid: u32) -> usize {
    let mut folders: Vec<_> = control_groups_of(pid).into_iter().map(|folder| folder.join("kubepods")).collect();
    let mut frozen = 0;
    while let Some(folder) = folders.pop() {
        folders.extend(names(&folder).into_iter().map(|name| folder.join(name)).filter(|path| path.is_dir()));
        for (file, value) in [("freezer.state", "FROZEN"), ("cgroup.freeze", "1")] {
            if folder.join(file).exists() {
                fs::write(folder.join(file), value).unwrap();
                frozen += 1;
            }
        }
    }
    frozen
}

/// Starts `lab up --node` as a person does, kills it and waits until its processes have ended.
async fn up_and_killed() -> Lab {
    let target = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_lab"));
    child.args(["up", "--node"]).env("CARGO_TARGET_DIR", target.path()).stdout(Stdio::piped()).process_group(0);
    let mut child = Killed(child.spawn().unwrap());
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().starts_with("The node is")), "the lab ended before its node was running");
    let access = Access::at(&target.path().join("lab")).unwrap();
    let config: serde_json::Value = serde_json::from_slice(&fs::read(access.kubeconfig()).unwrap()).unwrap();
    let authority = config["clusters"][0]["cluster"]["certificate-authority"].as_str().unwrap();
    let folder = Path::new(authority).parent().unwrap().parent().unwrap().to_owned();
    let node = RealNode::of_access(&Access::at(&folder).unwrap()).unwrap();
    pod_counts(&Api::namespaced(access.client().await.unwrap(), "default"), &node).await;
    let namespace = namespace_of(&node);
    assert!(processes_in(&namespace) >= 5, "kubelet, containerd, registry, shim, counter");

    let lab = Lab { pid: child.0.id(), node, folder };
    drop(child);
    gone(&namespace).await;
    lab
}

async fn gone(namespace: &Path) {
    until("all processes of the node have ended", async || match processes_in(namespace) {
        0 => Ok(()),
        left => Err(format!("{left} are left")),
    })
    .await;
}

#[tokio::test]
async fn a_lab_leaves_nothing_even_if_an_earlier_one_was_killed() {
    let before = mounts();
    let killed = up_and_killed().await;

    let cluster = Cluster::start(Options::from_environment().unwrap().with_real_node()).await.unwrap();
    let node = cluster.real_node().unwrap().clone();
    let lab = Lab { pid: std::process::id(), node, folder: cluster.folder().to_owned() };
    pod_counts(&Api::namespaced(cluster.client().await.unwrap(), "default"), &lab.node).await;
    let namespace = namespace_of(&lab.node);
    assert!(traces(&lab).len() > before.len() + 2, "link, control groups, folder");
    assert!(freeze(lab.pid) > 2, "the groups of a pod, of its two containers and above them");

    cluster.stop().await.unwrap();
    assert_eq!(processes_in(&namespace), 0);
    assert_eq!(traces(&lab), before);
    assert_eq!(traces(&killed), before);
}
