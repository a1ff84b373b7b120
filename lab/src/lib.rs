//! A real Kubernetes on one machine, for demo, tests and benchmarks of SnapWatcher.
//!
//! The lab knows SnapWatcher only as a program: it imports no product crate, so that its stand-ins check the product
//! from outside.
//!
//! - [`Cluster`]: a control plane in child processes, built from Go modules, with fake nodes.
//! - [`RealNode`]: a kubelet, containerd and criu on this machine, with a registry. It needs root on Linux.
//! - [`in_namespace`]: runs a test in a namespace of its own, with [`objects`] to create and [`PodStatus`] to write.
//! - [`Snapwatcher`]: SnapWatcher as a process on the host. [`WebhookClient`] calls its HTTPS port.
//! - [`Balancer`]: calls several replicas as an API server does through a Service.
//! - [`proxy`]: a proxy in front of the API server that holds, loses and falsifies requests.
//! - [`kubelet`]: a stand-in for a fake node's kubelet. It records checkpoint requests and fails on demand.
//! - [`snaphook`]: a stand-in for SnapHook. It records requests and fails on demand.
//! - [`registry`]: registries of images, real ones and a stand-in that fails on request.
//! - [`Chart`]: SnapWatcher's chart, rendered by [`Helm`].
//!
//! The lab needs no container engine, and root only for a real node. It uses the network only for its first builds: the
//! Go module proxy, and for a real node a Debian mirror.

#![expect(
    clippy::must_use_candidate,
    clippy::return_self_not_must_use,
    reason = "an unused result of a test helper shows in the test; seventy attributes would hide the interface"
)]

mod access;
mod balancer;
mod binaries;
mod build_cache;
mod ca_secret;
mod chart;
mod chart_installation;
pub mod check_command;
mod checkpoint_counts;
mod cluster;
mod cluster_ca;
mod control_plane;
pub mod crd;
mod create;
mod creation_load;
mod data_folder;
mod dedicated_nodes;
pub mod demo;
mod environment;
mod fake_nodes;
pub mod fresh_api_server;
mod go_module;
mod helm;
pub mod kubelet;
mod kubelet_account;
mod lock;
mod memory_limit;
mod message_assertions;
mod must;
mod namespace;
mod network;
pub mod node;
pub mod objects;
mod pod_status;
mod pods;
mod process;
pub mod proxy;
mod real_cluster;
mod record;
pub mod registration;
pub mod registry;
mod replicas;
mod report;
mod review_load;
mod server;
mod service_proxy;
mod simulated_controllers;
pub mod snaphook;
mod snapwatcher;
mod snapwatcher_ca;
pub mod storm;
pub mod terminal;
mod text_log;
mod until;
mod webhook_client;
pub mod webhooks;

pub use access::{Access, AccessError, LAB_VARIABLE, install_crypto_provider};
pub use balancer::{Balancer, CallError};
pub use binaries::{Binaries, BinariesError, BinarySource};
pub use build_cache::BuildError;
pub use ca_secret::{CA_SECRET, create_ca_secret, empty_ca_secret};
pub use chart::{Chart, Rendered, Template};
pub use chart_installation::ChartInstallation;
pub use checkpoint_counts::CheckpointCounts;
pub use cluster::{Cluster, LabError, Options};
pub use creation_load::CreationLoad;
pub use environment::keeps_running;
pub use fake_nodes::{COMPLETE, FakeNodesError, HOLD};
pub use go_module::{GoModuleError, KubernetesVersion};
pub use helm::{Helm, HelmError};
pub use memory_limit::MemoryLimit;
pub use message_assertions::PodEvent;
pub use namespace::{Namespace, in_namespace, in_namespace_of, is_ready};
pub use node::{NodeKind, RealNode};
pub use pod_status::PodStatus;
pub use process::{Launch, Process, ProcessError};
pub use real_cluster::RealCluster;
pub use record::Record;
pub use replicas::Replicas;
pub use report::checkpoints;
pub use service_proxy::ServiceProxy;
pub use snapwatcher::{Snapwatcher, SnapwatcherError, SnapwatcherOptions};
pub use snapwatcher_ca::SnapwatcherCa;
pub use until::{Observation, WaitTimeout, try_until, until};
pub use webhook_client::{Reply, WebhookClient, WebhookClientError, ca_bundle, review_of_creation};
