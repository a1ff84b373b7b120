//! Calls replicas as an API server calls a webhook through its Service.
//!
//! One pool for all replicas keeps at most 25 idle connections for 90 s and reuses the most recent one first. Go's
//! `http.Transport` does the same with the settings of the API server's webhook clients. A new connection goes to the
//! next ready replica. As with kube-proxy, a replica that is no longer ready gets no new connections and keeps its open
//! ones. A call that fails is not repeated, because the API server does not repeat it either.

mod connection;

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use tokio::time::{interval, timeout};

use crate::lock::lock;
use crate::snapwatcher::Snapwatcher;
use crate::webhook_client::Reply;

use connection::Connection;

/// `MaxIdleConnsPerHost` and `IdleConnTimeout` of the API server's transports.
const MAX_IDLE_CONNECTIONS: usize = 25;
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// `timeoutSeconds` of the webhook.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);

/// Time between two readiness probes: at most what a kubelet with `periodSeconds: 1` takes.
const PROBE_PERIOD: Duration = Duration::from_millis(500);

/// A client-side load balancer over replicas.
#[derive(Debug)]
pub struct Balancer {
    replicas: Vec<Replica>,
    tls: Arc<ClientConfig>,
    idle: Mutex<Vec<Connection>>,
    next: AtomicUsize,
    opened: AtomicUsize,
    reused: AtomicUsize,
}

#[derive(Debug)]
struct Replica {
    process: Arc<Snapwatcher>,
    address: SocketAddr,
    is_ready: AtomicBool,
}

/// Why a call failed, and over which kind of connection.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("no replica is ready")]
    NoReadyReplica,
    #[error("could not connect to replica {replica}")]
    Connect { replica: usize, source: io::Error },
    #[error("a call over a new connection to replica {replica} failed")]
    New { replica: usize, source: io::Error },
    #[error("a call over a reused connection failed")]
    Pooled { source: io::Error },
}

impl Balancer {
    /// Balances over these replicas and takes all of them for ready. `tls` holds the CAs that the API server trusts.
    pub fn new(replicas: &[Arc<Snapwatcher>], tls: ClientConfig) -> Self {
        let replica = |process: &Arc<Snapwatcher>| Replica {
            process: Arc::clone(process),
            address: process.webhook_addr(),
            is_ready: AtomicBool::new(true),
        };
        Self {
            replicas: replicas.iter().map(replica).collect(),
            tls: Arc::new(tls),
            idle: Mutex::default(),
            next: AtomicUsize::default(),
            opened: AtomicUsize::default(),
            reused: AtomicUsize::default(),
        }
    }

    /// Probes all replicas until the future is dropped.
    pub async fn probe(&self) {
        let mut ticks = interval(PROBE_PERIOD);
        loop {
            ticks.tick().await;
            for replica in &self.replicas {
                let answer = timeout(PROBE_PERIOD, replica.process.get("/readyz")).await;
                let is_ready = matches!(answer, Ok(Ok(answer)) if answer.status().is_success());
                replica.is_ready.store(is_ready, Ordering::Relaxed);
            }
        }
    }

    /// Whether new connections go to this replica.
    pub fn is_ready(&self, index: usize) -> bool {
        self.replicas[index].is_ready.load(Ordering::Relaxed)
    }

    /// Number of connections opened and of calls over reused connections.
    pub fn connections(&self) -> (usize, usize) {
        (self.opened.load(Ordering::Relaxed), self.reused.load(Ordering::Relaxed))
    }

    /// Sends a complete HTTP/1.1 request over one connection.
    pub async fn call(&self, request: &[u8]) -> Result<Reply, CallError> {
        let (answered, over) = if let Some(pooled) = self.pooled() {
            self.reused.fetch_add(1, Ordering::Relaxed);
            (in_time(pooled.send(request)).await, None)
        } else {
            let replica = self.next_ready().ok_or(CallError::NoReadyReplica)?;
            let opened = in_time(Connection::open(self.replicas[replica].address, Arc::clone(&self.tls))).await;
            let connection = opened.map_err(|source| CallError::Connect { replica, source })?;
            self.opened.fetch_add(1, Ordering::Relaxed);
            (in_time(connection.send(request)).await, Some(replica))
        };
        let (reply, open) = answered.map_err(|source| match over {
            Some(replica) => CallError::New { replica, source },
            None => CallError::Pooled { source },
        })?;
        if let Some(connection) = open {
            self.keep(connection);
        }
        Ok(reply)
    }

    /// The most recently used connection that is still open.
    fn pooled(&self) -> Option<Connection> {
        let mut idle = lock(&self.idle);
        while let Some(connection) = idle.pop() {
            let is_old = Instant::now().duration_since(connection.unused_since) > IDLE_TIMEOUT;
            if !is_old && !connection.is_closed() {
                return Some(connection);
            }
        }
        None
    }

    fn keep(&self, connection: Connection) {
        let mut idle = lock(&self.idle);
        if idle.len() < MAX_IDLE_CONNECTIONS {
            idle.push(connection);
        }
    }

    /// The next ready replica, round robin.
    fn next_ready(&self) -> Option<usize> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let candidates = (0..self.replicas.len()).map(|offset| (first + offset) % self.replicas.len());
        candidates.into_iter().find(|&index| self.is_ready(index))
    }
}

async fn in_time<T>(call: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(CALL_TIMEOUT, call).await.map_err(|_| io::Error::from(ErrorKind::TimedOut))?
}
