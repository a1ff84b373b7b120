//! Load on an HTTPS port: as much as some keep-alive connections carry, or a fixed rate.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use reqwest::{Certificate, Client};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

/// The review that is sent: 3.7 kB, of a pod as a ReplicaSet makes it.
const REVIEW: &str = include_str!("../review.json");

/// In [`REVIEW`]; each request has one of its own, as the API server's have, for what is remembered of them.
const UID: &str = "705ab4f5-6393-11e8-b7cc-42010a800002";

/// Why a load is not a measurement.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("could not make an HTTPS client")]
    Client { source: reqwest::Error },
    #[error("a review was not answered")]
    Unanswered { source: reqwest::Error },
    #[error("a sender ended early")]
    Ended { source: tokio::task::JoinError },
    #[error("a review was answered {status}")]
    Refused { status: u16 },
}

/// Where the load goes, and whom it trusts.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    address: SocketAddr,
    ca: Certificate,
    /// How many reviews were sent.
    sent: Arc<AtomicU32>,
}

impl Target {
    pub(crate) fn new(address: SocketAddr, ca: Certificate) -> Self {
        Self { address, ca, sent: Arc::default() }
    }

    /// So many clients of one open connection each.
    pub(crate) async fn connections(&self, connections: usize) -> Result<Vec<Client>, LoadError> {
        let mut clients = Vec::new();
        for _ in 0..connections {
            clients.push(self.connection().await?);
        }
        Ok(clients)
    }

    /// A client of one connection, which is open when this returns.
    async fn connection(&self) -> Result<Client, LoadError> {
        let builder = Client::builder().tls_certs_only([self.ca.clone()]).no_proxy().pool_max_idle_per_host(1);
        let client = builder.build().map_err(|source| LoadError::Client { source })?;
        self.ask(&client).await?;
        Ok(client)
    }

    async fn ask(&self, client: &Client) -> Result<(), LoadError> {
        let unanswered = |source| LoadError::Unanswered { source };
        let request = client.post(format!("https://{}/mutate", self.address));
        let uid = format!("{:08x}{}", self.sent.fetch_add(1, Ordering::Relaxed), &UID[8..]);
        let request = request.header("content-type", "application/json").body(REVIEW.replacen(UID, &uid, 1));
        let answer = request.send().await.map_err(unanswered)?;
        let status = answer.status().as_u16();
        answer.bytes().await.map_err(unanswered)?;
        if status == 200 { Ok(()) } else { Err(LoadError::Refused { status }) }
    }

    /// Each of these connections sends one review after the other; how many were answered.
    pub(crate) async fn saturate(&self, clients: &[Client], time: Duration) -> Result<u64, LoadError> {
        let end = Instant::now() + time;
        let mut senders = JoinSet::new();
        for client in clients {
            let (target, client) = (self.clone(), client.clone());
            senders.spawn(async move {
                let mut answered = 0;
                while Instant::now() < end {
                    target.ask(&client).await?;
                    answered += 1;
                }
                Ok(answered)
            });
        }
        let mut answered = 0;
        while let Some(sent) = senders.join_next().await {
            answered += sent.map_err(|source| LoadError::Ended { source })??;
        }
        Ok(answered)
    }

    /// Sends at this rate over some connections; how long each answer took from when it was due, in order of length.
    pub(crate) async fn at_rate(
        &self,
        rate: u32,
        connections: usize,
        time: Duration,
    ) -> Result<Vec<Duration>, LoadError> {
        let clients = self.connections(connections).await?;
        let mut pace = interval(Duration::from_secs(1) / rate);
        pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let (end, mut asked, mut turn) = (Instant::now() + time, JoinSet::new(), 0);
        while Instant::now() < end {
            let due = pace.tick().await.into_std();
            let (target, client) = (self.clone(), clients[turn % connections].clone());
            turn += 1;
            asked.spawn(async move { target.ask(&client).await.map(|()| due.elapsed()) });
        }
        let mut took = Vec::new();
        while let Some(answered) = asked.join_next().await {
            took.push(answered.map_err(|source| LoadError::Ended { source })??);
        }
        took.sort();
        Ok(took)
    }
}

/// The value below which this part of the sorted values lies.
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
