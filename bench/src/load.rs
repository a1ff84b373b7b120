//! Load on an HTTPS port: as many reviews as some keep-alive connections carry, or a fixed rate.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use reqwest::{Certificate, Client};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

/// 3.7 kB, of a pod as a ReplicaSet creates it.
const REVIEW: &str = include_str!("../review.json");

/// The UID in [`REVIEW`]. Each request gets its own instead, as from the API server, since SnapWatcher stores it.
const UID: &str = "705ab4f5-6393-11e8-b7cc-42010a800002";

/// Why a load gives no measurement.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("could not create an HTTPS client")]
    Client { source: reqwest::Error },
    #[error("a review got no response")]
    NoResponse { source: reqwest::Error },
    #[error("a sending task failed")]
    TaskFailed { source: tokio::task::JoinError },
    #[error("a review got HTTP {status}")]
    UnexpectedStatus { status: u16 },
    /// controller-runtime reports its errors with HTTP 200.
    #[error("a review got a response without a patch")]
    NoPatch,
}

/// A server under load. Clones count reviews together.
#[derive(Debug, Clone)]
pub(crate) struct LoadTarget {
    address: SocketAddr,
    ca: Certificate,
    /// The number of reviews sent.
    sent: Arc<AtomicU32>,
}

impl LoadTarget {
    pub(crate) fn new(address: SocketAddr, ca: Certificate) -> Self {
        Self { address, ca, sent: Arc::default() }
    }

    /// Clients of one open connection each.
    pub(crate) async fn connect(&self, connections: usize) -> Result<Vec<Client>, LoadError> {
        let mut clients = Vec::new();
        for _ in 0..connections {
            clients.push(self.connect_one().await?);
        }
        Ok(clients)
    }

    /// A client of one connection, which is open when this returns.
    async fn connect_one(&self) -> Result<Client, LoadError> {
        let builder = Client::builder().tls_certs_only([self.ca.clone()]).no_proxy().pool_max_idle_per_host(1);
        let client = builder.build().map_err(|source| LoadError::Client { source })?;
        self.send_review(&client).await?;
        Ok(client)
    }

    async fn send_review(&self, client: &Client) -> Result<(), LoadError> {
        let no_response = |source| LoadError::NoResponse { source };
        let request = client.post(format!("https://{}/mutate", self.address));
        let uid = format!("{:08x}{}", self.sent.fetch_add(1, Ordering::Relaxed), &UID[8..]);
        let request = request.header("content-type", "application/json").body(REVIEW.replacen(UID, &uid, 1));
        let response = request.send().await.map_err(no_response)?;
        let status = response.status().as_u16();
        let body = response.text().await.map_err(no_response)?;
        if status != 200 {
            return Err(LoadError::UnexpectedStatus { status });
        }
        if body.contains("\"patch\":") { Ok(()) } else { Err(LoadError::NoPatch) }
    }

    /// Each client sends one review after the other; returns the number of responses.
    pub(crate) async fn saturate(&self, clients: &[Client], time: Duration) -> Result<u64, LoadError> {
        let end = Instant::now() + time;
        let mut senders = JoinSet::new();
        for client in clients {
            let (target, client) = (self.clone(), client.clone());
            senders.spawn(async move {
                let mut responses = 0;
                while Instant::now() < end {
                    target.send_review(&client).await?;
                    responses += 1;
                }
                Ok(responses)
            });
        }
        let mut responses = 0;
        while let Some(sent) = senders.join_next().await {
            responses += sent.map_err(|source| LoadError::TaskFailed { source })??;
        }
        Ok(responses)
    }

    /// Sends reviews at this rate; returns the times from when a review was due to its response, sorted.
    pub(crate) async fn latencies_at_rate(
        &self,
        rate: u32,
        connections: usize,
        time: Duration,
    ) -> Result<Vec<Duration>, LoadError> {
        let clients = self.connect(connections).await?;
        let mut pace = interval(Duration::from_secs(1) / rate);
        pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let (end, mut requests, mut next) = (Instant::now() + time, JoinSet::new(), 0);
        while Instant::now() < end {
            let due = pace.tick().await.into_std();
            let (target, client) = (self.clone(), clients[next % connections].clone());
            next += 1;
            requests.spawn(async move { target.send_review(&client).await.map(|()| due.elapsed()) });
        }
        let mut latencies = Vec::new();
        while let Some(response) = requests.join_next().await {
            latencies.push(response.map_err(|source| LoadError::TaskFailed { source })??);
        }
        latencies.sort();
        Ok(latencies)
    }
}

/// The value below which `part` of the sorted values lie.
pub(crate) fn quantile(sorted: &[Duration], part: f64) -> Duration {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index"
    )]
    let index = (sorted.len() as f64 * part) as usize;
    sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}
