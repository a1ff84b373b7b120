//! Where all pods and Checkpoints of the measurements are.

pub(crate) const NAMESPACE: &str = "default";
/// The path of the namespace's pods.
pub(crate) const PODS: &str = "/api/v1/namespaces/default/pods";
