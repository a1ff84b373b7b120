//! A machine is left as it was found: after a lab that ended, and after one that was killed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, PostParams};
use lab::objects::{COUNTING, pod};
use lab::{Cluster, Options, RealNode, is_ready, until};

/// What labs with a node add to a machine: links, control groups, mounts, folders.
fn traces() -> BTreeSet<String> {
    let links = names(Path::new("/sys/class/net")).into_iter().filter(|name| name.starts_with("swlab"));
    let groups = names(Path::new("/sys/fs/cgroup")).into_iter().flat_map(|hierarchy| {
        let of_labs = |name: &String| name.starts_with("snapwatcher-lab-");
        let folder = Path::new("/sys/fs/cgroup").join(&hierarchy);
        names(&folder).into_iter().filter(of_labs).map(move |name| format!("{hierarchy}/{name}"))
    });
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mounts = mounts.lines().map(str::to_owned).collect::<Vec<_>>();
    let folders = names(&std::env::temp_dir()).into_iter().filter(|name| name.starts_with("snapwatcher-lab-"));
    links.chain(groups).chain(mounts).chain(folders).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Which PID namespace the process is in that this folder below `/proc` is of.
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

/// Starts `lab up --node` as a person does, kills it and returns when its processes are gone.
async fn up_and_killed() {
    let target = tempfile::tempdir().unwrap();
    let mut lab = Command::new(env!("CARGO_BIN_EXE_lab"));
    lab.args(["up", "--node"]).env("CARGO_TARGET_DIR", target.path()).stdout(Stdio::piped()).process_group(0);
    let mut lab = lab.spawn().unwrap();
    let mut lines = BufReader::new(lab.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().starts_with("The node is")), "the lab ended before its node was up");
    let access = lab::Access::at(&target.path().join("lab")).unwrap();
    let config: serde_json::Value = serde_json::from_slice(&fs::read(access.kubeconfig()).unwrap()).unwrap();
    let authority = config["clusters"][0]["cluster"]["certificate-authority"].as_str().unwrap();
    let folder = Path::new(authority).parent().unwrap().parent().unwrap();
    let node = RealNode::of_access(&lab::Access::at(folder).unwrap()).unwrap();
    pod_counts(&Api::namespaced(access.client().await.unwrap(), "default"), &node).await;
    let namespace = namespace_of(&node);
    assert!(processes_in(&namespace) >= 5, "kubelet, containerd, registry, shim, counter");

    lab.kill().unwrap();
    lab.wait().unwrap();
    until("each process of the node is gone", async || match processes_in(&namespace) {
        0 => Ok(()),
        left => Err(format!("{left} are left")),
    })
    .await;
}

#[tokio::test]
async fn a_lab_leaves_the_machine_as_it_was_even_where_one_was_killed_before() {
    let before = traces();
    up_and_killed().await;

    let cluster = Cluster::start(Options::from_environment().unwrap().with_real_node()).await.unwrap();
    let node = cluster.real_node().unwrap().clone();
    pod_counts(&Api::namespaced(cluster.client().await.unwrap(), "default"), &node).await;
    let namespace = namespace_of(&node);
    assert!(traces().len() > before.len());

    cluster.stop().await.unwrap();
    assert_eq!(processes_in(&namespace), 0);
    let after = traces();
    let changed: Vec<_> = after.symmetric_difference(&before).collect();
    assert!(changed.is_empty(), "{changed:?}");
}
