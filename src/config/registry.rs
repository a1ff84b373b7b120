//! The registry that holds what is saved, for `run` and for the agent.

use std::path::PathBuf;

use clap::Args;

use snapwatcher_backends::redact::redact;
use snapwatcher_kubernetes::cluster::ProxyEnvironment;
use snapwatcher_registry::{Protocol, RegistrySettings, RepositoryName};

#[derive(Debug, Clone, Args)]
pub struct RegistryArgs {
    /// Repository that holds the Snapshots, as HOST[:PORT]/PATH. The tag of each is the UID of its Snapshot. Each cluster needs a
    /// repository of its own: manifests whose tag is the UID of no Snapshot of the cluster are deleted. Without it, Snapshots stay on
    /// the nodes.
    #[arg(long, env = "SNAPWATCHER_REGISTRY_REPOSITORY", value_name = "REPOSITORY")]
    pub registry_repository: Option<RepositoryName>,
    /// File with CA certificates (PEM) that verify the registry, besides those of the system.
    #[arg(long, env = "SNAPWATCHER_REGISTRY_CA_FILE", value_name = "FILE")]
    pub registry_ca_file: Option<PathBuf>,
    /// File with the credentials for the registry, a `.dockerconfigjson`. It is read again when it changes.
    #[arg(long, env = "SNAPWATCHER_REGISTRY_CREDENTIALS_FILE", value_name = "FILE")]
    pub registry_credentials_file: Option<PathBuf>,
    /// Sends requests to the registry without TLS: each machine on the way can read credentials and change what is sent. A registry on
    /// loopback needs no TLS.
    #[arg(long, env = "SNAPWATCHER_REGISTRY_PLAIN_HTTP", value_name = "BOOL", default_value = "false", num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub registry_plain_http: bool,
}

impl RegistryArgs {
    /// How the registry is reached; `None`: there is none.
    pub fn settings(&self) -> Option<RegistrySettings> {
        let repository = self.registry_repository.clone()?;
        Some(RegistrySettings {
            protocol: if self.registry_plain_http { Protocol::Http } else { Protocol::HttpOnLoopback },
            ca_file: self.registry_ca_file.clone(),
            credentials_file: self.registry_credentials_file.clone(),
            proxies: ProxyEnvironment::read(),
            ..RegistrySettings::new(repository, redact)
        })
    }
}
