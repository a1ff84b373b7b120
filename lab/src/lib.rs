//! A real Kubernetes on one machine, for demo, tests and benchmarks of SnapWatcher.
//!
//! - [`Cluster`]: etcd, kube-apiserver, controllers, scheduler and fake nodes as child processes, built from Go modules.
//! - [`RealNode`]: a kubelet, containerd and criu on this machine, with a registry; needs root on Linux.
//! - [`in_namespace`]: the harness of a test, with [`objects`] to create and [`PodStatus`] to write.
//! - [`Snapwatcher`]: SnapWatcher as a process on the host; [`Caller`] speaks to its HTTPS port.
//! - [`Balancer`]: calls several of them as an API server does through a Service.
//! - [`proxy`]: a proxy in front of the API server that stops, loses and falsifies requests.
//! - [`kubelet`]: a stand-in for the kubelet of a fake node, which takes checkpoints or fails on request.
//! - [`snaphook`]: a stand-in for SnapHook that records what it is asked and fails on request.
//! - [`Chart`]: SnapWatcher's chart as [`Helm`] renders it.
//!
//! No container engine, nothing outside this machine (but the Go module proxy at the first build, and a Debian mirror at
//! the first real node); no root but for a real node.

#![expect(
    clippy::must_use_candidate,
    clippy::return_self_not_must_use,
    reason = "a forgotten result of a test tool shows in the test; seventy attributes would hide its interface"
)]

mod access;
mod authority;
mod authority_pair;
mod balancer;
mod binaries;
mod caller;
mod chart;
pub mod checked;
mod cluster;
mod control_plane;
pub mod crd;
mod creations;
pub mod demo;
mod folder;
mod go_module;
mod helm;
mod installation;
pub mod kubelet;
mod kubelet_account;
mod logbook;
mod namespace;
mod network;
pub mod newcomer;
pub mod node;
mod nodes;
pub mod objects;
mod own_nodes;
mod pod_status;
mod pods;
mod process;
pub mod proxy;
mod real_cluster;
mod record;
pub mod registration;
mod replicas;
mod report;
mod reviews;
mod service;
pub mod snaphook;
mod snapwatcher;
pub mod storm;
mod tally;
pub mod terminal;
mod told;
mod until;
pub mod webhooks;

pub use access::{Access, AccessError, LAB_VARIABLE, install_crypto_provider};
pub use authority_pair::AuthorityPair;
pub use balancer::{Balancer, CallFailed};
pub use binaries::{Binaries, BinariesError};
pub use caller::{Caller, CallerError, Reply, ca_bundle, review_of_creation};
pub use chart::{Chart, Rendered, Template};
pub use cluster::{Cluster, LabError, NodeKind, Options, is_keeping};
pub use creations::Creations;
pub use go_module::{GoModuleError, KubernetesVersion};
pub use helm::{Helm, HelmError};
pub use installation::Installation;
pub use namespace::{Namespace, in_namespace, in_namespace_of, is_ready};
pub use node::RealNode;
pub use nodes::{COMPLETE, HOLD, NodesError};
pub use pod_status::PodStatus;
pub use process::{Launch, Process, ProcessError};
pub use real_cluster::RealCluster;
pub use record::Record;
pub use replicas::Replicas;
pub use report::checkpoints;
pub use service::Service;
pub use snapwatcher::{Snapwatcher, SnapwatcherError, SnapwatcherOptions};
pub use tally::Tally;
pub use told::PodEvent;
pub use until::{Look, NotReached, reached, until};
