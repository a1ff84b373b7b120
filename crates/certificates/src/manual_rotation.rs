//! Starts a rotation on request: `snapwatcher certs rotate` publishes the next CA, and the replicas take the other steps.

use std::time::Duration;

use super::ca_secret::{CaSecret, SecretReadError};
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
    let ca_secret = CaSecret::new(namespace, secret, cluster);
    let secret = ca_secret.description().to_owned();
    let clock = ServerClock::default();
    clock.measure(&cluster.calls).await?;
    let view = ca_secret.read().await?;
    let set = match view.contents {
        Contents::Empty => return Err(RotateError::Empty { secret }),
        Contents::Unusable(why) => return Err(RotateError::Unusable { secret, why }),
        Contents::Usable(set) => set,
    };
    if let Some(next) = &set.next {
        return Err(RotateError::InProgress { generation: next.authority.certificate().generation() });
    }
    let next = set.current.successor(life, clock.now())?;
    let generation = next.certificate().generation();
    match ca_secret.write(&view.secret, &set.with_next(next)).await {
        Ok(()) => Ok(generation),
        Err(error) if error.is_conflict() => Err(RotateError::Contested { secret }),
        Err(error) => Err(error.into()),
    }
}
