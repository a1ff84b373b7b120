//! Back-end `kubelet`: requests a checkpoint from the kubelet of each pod's own node, without any other part of SNAP, see
//! <https://kubernetes.io/docs/reference/node/kubelet-checkpoint-api/>.
//!
//! Requests go straight to the node. The API server's node proxy would need the right `nodes/proxy`, which allows nearly
//! everything. A kubelet accepts tokens without checking their audience, so a hostile kubelet can use a token elsewhere. For
//! this reason kubelets receive a token of ten minutes, of a service account whose only right is to request checkpoints.

mod archive_budget;
mod archive_limits;
mod automatic_interval;
mod client;
mod endpoint;
mod own_words;
mod probe;
mod response;
mod runtime_error;
mod settings;
#[cfg(test)]
mod tests;
mod token_cache;

pub use self::client::Kubelet;
pub use self::probe::{KubeletProbe, KubeletReadiness};
pub use self::settings::{AddressType, KubeletError, KubeletSettings, KubeletTrust};
