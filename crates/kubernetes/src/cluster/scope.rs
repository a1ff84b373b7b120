//! Which namespaces are watched.

use kube::core::{NamespaceResourceScope, Resource};
use kube::{Api, Client};

/// All namespaces, or one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    All,
    Namespace(String),
}

impl Scope {
    /// One scope for each namespace; without namespaces, one scope for all.
    pub fn of(namespaces: &[String]) -> Vec<Self> {
        if namespaces.is_empty() { vec![Self::All] } else { namespaces.iter().cloned().map(Self::Namespace).collect() }
    }

    /// Whether objects of that namespace are watched.
    pub fn holds(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Namespace(name) => name == namespace,
        }
    }

    /// The API of the kind `K` in this scope.
    pub fn api<K>(&self, client: &Client) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        match self {
            Self::All => Api::all(client.clone()),
            Self::Namespace(name) => Api::namespaced(client.clone(), name),
        }
    }
}
