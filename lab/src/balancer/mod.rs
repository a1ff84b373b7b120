//! Calls replicas as an API server calls a webhook through its Service.
//!
//! One pool keeps connections alive, whichever replica they lead to: 25 of them, for 90 s, the last one used first (what
//! Go's `http.Transport` does with the settings of apiserver's webhook clients). A new connection goes to the next
//! replica that is ready, as with kube-proxy, which takes an address out when the pod is no longer ready and leaves open
//! connections alone. A call that fails has failed: the API server does not repeat it.

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

/// Between two looks at whether a replica is ready, as a kubelet with `periodSeconds: 1` at the most takes.
const PROBE_PERIOD: Duration = Duration::from_millis(500);

/// The API server's end of a Service.
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

/// Why a call failed, and over what kind of connection.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("no replica is ready")]
    NoReadyReplica,
    #[error("replica {replica} could not be connected to")]
    Connect { replica: usize, source: io::Error },
    #[error("a call over a new connection to replica {replica} failed")]
    New { replica: usize, source: io::Error },
    #[error("a call over a kept connection failed")]
    Pooled { source: io::Error },
}

impl Balancer {
    /// A balancer over these replicas, all taken for ready; `tls` is the API server's trust.
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

    /// Probes all replicas for as long as it is polled.
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

    /// Connections opened so far, and calls over kept ones.
    pub fn connections(&self) -> (usize, usize) {
        (self.opened.load(Ordering::Relaxed), self.reused.load(Ordering::Relaxed))
    }

    /// Sends a whole HTTP/1.1 request over one connection, and does not repeat it.
    pub async fn call(&self, request: &[u8]) -> Result<Reply, CallError> {
        let (answered, over) = if let Some(pooled) = self.pooled() {
            self.reused.fetch_add(1, Ordering::Relaxed);
            (in_time(pooled.ask(request)).await, None)
        } else {
            let replica = self.next_ready().ok_or(CallError::NoReadyReplica)?;
            let opened = in_time(Connection::open(self.replicas[replica].address, Arc::clone(&self.tls))).await;
            let connection = opened.map_err(|source| CallError::Connect { replica, source })?;
            self.opened.fetch_add(1, Ordering::Relaxed);
            (in_time(connection.ask(request)).await, Some(replica))
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

    /// The connection that was used last, of those that are still open.
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

    /// The ready replicas in turn.
    fn next_ready(&self) -> Option<usize> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let candidates = (0..self.replicas.len()).map(|offset| (first + offset) % self.replicas.len());
        candidates.into_iter().find(|&index| self.is_ready(index))
    }
}

async fn in_time<T>(call: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(CALL_TIMEOUT, call).await.map_err(|_| io::Error::from(ErrorKind::TimedOut))?
}
