//! Whether a control plane has a real node.

/// What runs pods. A real node needs root on Linux, see [`super::RealNode::unmet_requirement`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    Fake,
    Real,
    /// A real node with kube-proxy and CoreDNS, so that Services and DNS names work.
    RealWithServices,
}

impl NodeKind {
    pub(crate) fn is_real(self) -> bool {
        self != Self::Fake
    }
}

/// The name of the real node.
pub(crate) const REAL_NODE: &str = "real-1";
