//! A TCP proxy that forwards each new connection to the next endpoint, as kube-proxy does for a Service.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use crate::lock::lock;
use crate::must::must;

/// A running proxy. Dropping it closes its port and its connections.
#[derive(Debug)]
pub struct ServiceProxy {
    address: SocketAddr,
    endpoints: Arc<Mutex<Vec<SocketAddr>>>,
    task: AbortHandle,
}

impl ServiceProxy {
    pub async fn start() -> Self {
        let listener = must("listen for a service", TcpListener::bind("127.0.0.1:0").await);
        let address = must("read the address of a service", listener.local_addr());
        let endpoints: Arc<Mutex<Vec<SocketAddr>>> = Arc::default();
        let (chosen, next) = (Arc::clone(&endpoints), AtomicUsize::new(0));
        let serve = async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                let endpoints = lock(&chosen).clone();
                if endpoints.is_empty() {
                    continue;
                }
                let endpoint = endpoints[next.fetch_add(1, Ordering::Relaxed) % endpoints.len()];
                connections.spawn(forward(client, endpoint));
            }
        };
        Self { address, endpoints, task: tokio::spawn(serve).abort_handle() }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the endpoints of new connections.
    pub fn set_endpoints(&self, endpoints: impl IntoIterator<Item = SocketAddr>) {
        *lock(&self.endpoints) = endpoints.into_iter().collect();
    }
}

impl Drop for ServiceProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(mut client: TcpStream, endpoint: SocketAddr) {
    let Ok(mut server) = TcpStream::connect(endpoint).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    // Both sides see the end of the connection.
    let _ = copy_bidirectional(&mut client, &mut server).await;
}
