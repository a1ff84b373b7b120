//! How a registry is reached.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use snapwatcher_api::outcome::Redacted;
use snapwatcher_kubernetes::cluster::{ProxyEnvironment, ProxyError};

use crate::http::TlsError;
use crate::repository_name::RepositoryName;

/// The bytes of a chunk, if the registry requires no longer ones. All of them are in memory until the registry has them.
pub const CHUNK_BYTES: usize = 8 * 1024 * 1024;

/// The longest chunk that a registry may require by `OCI-Chunk-Min-Length`, in bytes: half of what the agent may use.
pub const LONGEST_CHUNK_BYTES: usize = 32 * 1024 * 1024;

/// How a registry is reached, and what of it is used.
#[derive(Debug, Clone)]
pub struct RegistrySettings {
    /// All repositories that are used are this one, or below it.
    pub repository: RepositoryName,
    pub protocol: Protocol,
    /// Holds certificates (PEM) that are trusted besides those of the system, as by Docker and containerd.
    pub ca_file: Option<PathBuf>,
    /// A `.dockerconfigjson`, as in a Secret of type `kubernetes.io/dockerconfigjson`. It is read again when it has changed.
    pub credentials_file: Option<PathBuf>,
    pub proxies: ProxyEnvironment,
    /// The most bytes a second that all uploads together send; `None`: no limit.
    pub upload_bytes_per_second: Option<NonZeroU64>,
    /// The bytes of a chunk, at most [`LONGEST_CHUNK_BYTES`]. A registry may require longer ones, up to that limit.
    pub chunk_bytes: usize,
    pub times: RegistryTimes,
    /// Removes secrets from the text of a registry. Credentials of this client are removed before.
    pub redact: fn(&str) -> Redacted,
}

/// When TLS is used. TLS is always verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// `https`, also on loopback.
    Https,
    /// `http` to a registry on loopback, which no other machine can read, and `https` to all others.
    #[default]
    HttpOnLoopback,
    /// `http` to any registry: each machine on the way can read and change what is sent, credentials too.
    Http,
}

/// Limits in time and number of repeats.
#[derive(Debug, Clone, Copy)]
pub struct RegistryTimes {
    /// For resolving a name, connecting and TLS.
    pub connect: Duration,
    /// How long nothing may arrive, nor be sent. It ends a request after this time at least, and twice this time at most.
    pub silence: Duration,
    /// How long the registry may take to close an upload: it reads the whole blob, or copies it within its storage.
    pub closing: Duration,
    /// The wait before the first repeat. It doubles with each failure in a row.
    pub first_wait: Duration,
    /// The limit of the doubling.
    pub longest_wait: Duration,
    /// The longest wait that a registry may set by `Retry-After` between two requests of one operation.
    pub longest_retry_after: Duration,
    /// The most failures in a row without progress.
    pub failures: u32,
    /// The longest time without progress, waits included.
    pub patience: Duration,
}

impl Default for RegistryTimes {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            silence: Duration::from_secs(60),
            closing: Duration::from_secs(10 * 60),
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(30),
            longest_retry_after: Duration::from_secs(2 * 60),
            failures: 8,
            patience: Duration::from_secs(15 * 60),
        }
    }
}

/// Why settings can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("chunks of {0} bytes are not possible: allowed are 1 to {LONGEST_CHUNK_BYTES}")]
    ChunkBytes(usize),
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("the name of the registry is no host of a URL")]
    Registry,
    #[error("could not set up the HTTP client for the registry")]
    Client(#[source] reqwest::Error),
}

impl RegistrySettings {
    /// The settings with the defaults, without credentials and proxies.
    pub fn new(repository: RepositoryName, redact: fn(&str) -> Redacted) -> Self {
        Self {
            repository,
            protocol: Protocol::default(),
            ca_file: None,
            credentials_file: None,
            proxies: ProxyEnvironment::default(),
            upload_bytes_per_second: None,
            chunk_bytes: CHUNK_BYTES,
            times: RegistryTimes::default(),
            redact,
        }
    }

    pub(crate) fn check(&self) -> Result<(), SettingsError> {
        let root = format!("{}://{}/", self.plain_http().scheme(), self.repository.server());
        self.proxies.proxy_to(&root.parse().map_err(|_| SettingsError::Registry)?)?;
        if (1..=LONGEST_CHUNK_BYTES).contains(&self.chunk_bytes) {
            Ok(())
        } else {
            Err(SettingsError::ChunkBytes(self.chunk_bytes))
        }
    }

    /// Where plain HTTP may be used.
    pub(crate) fn plain_http(&self) -> PlainHttp {
        match self.protocol {
            Protocol::Http => PlainHttp::Anywhere,
            Protocol::HttpOnLoopback if self.repository.is_loopback() => PlainHttp::Loopback,
            Protocol::HttpOnLoopback | Protocol::Https => PlainHttp::Nowhere,
        }
    }
}

/// Where plain HTTP may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PlainHttp {
    Nowhere,
    Loopback,
    Anywhere,
}

impl PlainHttp {
    /// The scheme of the registry.
    pub(crate) fn scheme(self) -> &'static str {
        if self == Self::Nowhere { "https" } else { "http" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_used_on_loopback_or_where_it_is_set() {
        use PlainHttp::{Anywhere, Loopback, Nowhere};
        for (repository, protocol, expected) in [
            ("127.0.0.1:5000/x", Protocol::HttpOnLoopback, Loopback),
            ("localhost:5000/x", Protocol::HttpOnLoopback, Loopback),
            ("127.0.0.1:5000/x", Protocol::Https, Nowhere),
            ("registry.example.com/x", Protocol::HttpOnLoopback, Nowhere),
            ("registry.example.com/x", Protocol::Https, Nowhere),
            ("registry.example.com/x", Protocol::Http, Anywhere),
        ] {
            let settings = RegistrySettings::new(repository.parse().unwrap(), Redacted::own);
            let settings = RegistrySettings { protocol, ..settings };
            assert_eq!(settings.plain_http(), expected, "{repository} {protocol:?}");
        }
    }

    #[test]
    fn chunks_are_bounded() {
        for (chunk_bytes, is_valid) in
            [(0, false), (1, true), (CHUNK_BYTES, true), (LONGEST_CHUNK_BYTES, true), (LONGEST_CHUNK_BYTES + 1, false)]
        {
            let settings = RegistrySettings::new("localhost/x".parse().unwrap(), Redacted::own);
            assert_eq!(RegistrySettings { chunk_bytes, ..settings }.check().is_ok(), is_valid, "{chunk_bytes}");
        }
    }
}
