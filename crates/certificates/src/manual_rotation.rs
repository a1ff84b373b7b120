//! Replaces the CA on request. `snapwatcher certs rotate` publishes the next CA, and the replicas take the other steps. With
//! `--revoke` it writes a new CA alone, which the replicas follow at once.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;

use super::ca_secret::{CaSecret, SecretReadError};
use super::ca_set::CaSet;
use super::decision::Contents;
use super::error::{CertificateError, UnusableCa};
use snapwatcher_kubernetes::cluster::{CallError, Cluster};
use snapwatcher_kubernetes::server_clock::ServerClock;

/// Why no rotation was started.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Read(#[from] SecretReadError),
    #[error(
        "{secret} is empty: SnapWatcher writes its CA at the first start; check --service-namespace and --ca-secret"
    )]
    Empty { secret: String },
    #[error("{secret} can't be used: {why}. Start SnapWatcher, which corrects it, then try again")]
    Unusable { secret: String, why: UnusableCa },
    #[error(
        "a rotation to CA {generation} is in progress. It signs as soon as it is in every caBundle, see the metric \
         `snapwatcher_certificate_ca_bundle_in_sync`"
    )]
    InProgress { generation: u64 },
    #[error("{secret} was changed by another program at the same time: try again")]
    Contested { secret: String },
    #[error(transparent)]
    Make(#[from] CertificateError),
}

/// Adds a next CA to the Secret and returns its generation.
pub async fn rotate(cluster: &Cluster, namespace: &str, secret: &str, life: Duration) -> Result<u64, RotateError> {
    let found = Found::read(CaSecret::new(namespace, secret, cluster), cluster).await?;
    if let Some(next) = &found.set.next {
        return Err(RotateError::InProgress { generation: next.authority.certificate().generation() });
    }
    let next = found.set.current.successor(life, found.now)?;
    let generation = next.certificate().generation();
    found.replace_by(&found.set.with_next(next)).await?;
    Ok(generation)
}

/// Revokes all CAs in the Secret, writes a new one in their place, and returns its generation.
pub async fn revoke(cluster: &Cluster, namespace: &str, secret: &str, life: Duration) -> Result<u64, RotateError> {
    let found = Found::read(CaSecret::new(namespace, secret, cluster), cluster).await?;
    let revoked = found.set.revoke(life, found.now)?;
    found.replace_by(&revoked).await?;
    Ok(revoked.current.certificate().generation())
}

/// The CAs that were found, by the API server's clock.
struct Found {
    ca_secret: CaSecret,
    secret: Secret,
    set: CaSet,
    now: Timestamp,
}

impl Found {
    async fn read(ca_secret: CaSecret, cluster: &Cluster) -> Result<Self, RotateError> {
        let clock = ServerClock::default();
        clock.measure(&cluster.calls).await?;
        let description = || ca_secret.description().to_owned();
        let view = ca_secret.read().await?;
        match view.contents {
            Contents::Empty => Err(RotateError::Empty { secret: description() }),
            Contents::Unusable(why) => Err(RotateError::Unusable { secret: description(), why }),
            Contents::Usable(set) => Ok(Self { ca_secret, secret: view.secret, set, now: clock.now() }),
        }
    }

    async fn replace_by(&self, set: &CaSet) -> Result<(), RotateError> {
        match self.ca_secret.write(&self.secret, set).await {
            Err(error) if error.is_conflict() => {
                Err(RotateError::Contested { secret: self.ca_secret.description().to_owned() })
            }
            written => Ok(written?),
        }
    }
}
