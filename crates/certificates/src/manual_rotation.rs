//! A rotation that a person asks for: the first of its steps, after which the replicas take the others.

use std::time::Duration;

use super::ca_secret::{CaSecret, SecretContent};
use super::error::{CertificateError, UnusableCa};
use super::server_clock::ServerClock;
use snapwatcher_kubernetes::cluster::{CallError, Cluster};

/// Why no rotation was begun.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("there is no {what}: it is made by SnapWatcher when it runs; see --service-namespace and --ca-secret")]
    Absent { what: String },
    #[error("{what} can't be used: {why}; a running SnapWatcher puts it right")]
    Unusable { what: String, why: UnusableCa },
    #[error(
        "a rotation is under way: CA {generation} is to follow; it signs as soon as it stands in the webhook \
         configurations, see `snapwatcher_certificate_ca_bundle_in_sync`"
    )]
    UnderWay { generation: u64 },
    #[error("somebody else wrote {what} at the same time: try again")]
    Contested { what: String },
    #[error(transparent)]
    Make(#[from] CertificateError),
}

/// Puts a new CA beside the current one and returns its generation.
pub async fn rotate(cluster: &Cluster, namespace: &str, secret: &str, life: Duration) -> Result<u64, RotateError> {
    let store = CaSecret::new(namespace, secret, cluster);
    let what = store.what().to_owned();
    let clock = ServerClock::default();
    clock.measure(&cluster.calls).await?;
    let (found, held) = match store.look().await?.content {
        SecretContent::Absent => return Err(RotateError::Absent { what }),
        SecretContent::Unusable(_, why) => return Err(RotateError::Unusable { what, why }),
        SecretContent::Usable(found, held) => (found, held),
    };
    if let Some(next) = &held.next {
        return Err(RotateError::UnderWay { generation: next.authority.certificate().generation() });
    }
    let next = held.current.successor(life, clock.now())?;
    let generation = next.certificate().generation();
    match store.write(Some(&found), &held.published(next)).await {
        Ok(()) => Ok(generation),
        Err(error) if error.is_conflict() => Err(RotateError::Contested { what }),
        Err(error) => Err(error.into()),
    }
}
