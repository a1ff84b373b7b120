//! Clients for the API server, calls with a time limit, watches that recover, and live reads of pods.

mod api_client;
mod call;
mod clients;
mod guarded;
mod kubeconfig;
mod list_pages;
mod live_pod;
mod no_proxy;
mod page_limit;
mod proxy;
mod rejection;
mod response_limit;
mod scope;
mod start_limit;
mod watch;

pub use call::{CALL_TIMEOUT, CallError, call};
pub use clients::{Cluster, ConnectError, WATCH_TIMEOUT, address};
pub use kubeconfig::NoCluster;
pub use list_pages::{Pages, list_pages};
pub use live_pod::{LONGEST_POD_TEXT, LivePod, PodDetail, PodNeed, PodText, read_pod};
pub use page_limit::limit_pages;
pub use proxy::{ProxyEnvironment, ProxyError};
pub use response_limit::limit_responses;
pub use scope::Scope;
pub use watch::{WatchStreamError, watch};
