//! A real Kubernetes on one machine, for demo, tests and benchmarks of SnapWatcher.
//!
//! - [`cluster`]: etcd, kube-apiserver, controllers, scheduler and fake nodes as child processes, built from Go modules.
//! - [`snaphook`]: a stand-in for SnapHook that records what it is asked and fails on request.
//!
//! No container engine, no root, nothing outside 127.0.0.1 (but the Go module proxy at the first build).

mod access;
mod binaries;
mod cluster;
mod control_plane;
mod go_module;
mod nodes;
mod process;
pub mod registration;
pub mod snaphook;
pub mod terminal;

pub use access::{Access, AccessError, LAB_VARIABLE, install_crypto_provider};
pub use binaries::{Binaries, BinariesError};
pub use cluster::{Cluster, LabError, Options, is_keeping};
pub use go_module::{GoModuleError, KubernetesVersion};
pub use nodes::{COMPLETE, HOLD, NodesError};
pub use process::{Launch, Process, ProcessError};
