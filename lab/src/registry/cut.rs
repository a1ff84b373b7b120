//! A connection to a server that breaks once, after a number of bytes.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Forwards TCP connections to a server. Dropping it closes all of them.
#[derive(Debug)]
pub struct CutConnection {
    address: SocketAddr,
    /// Bytes to the server until the connection breaks; below zero: it does not break.
    left: Arc<AtomicI64>,
    _forwarding: JoinSet<()>,
}

impl CutConnection {
    pub async fn to(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let left = Arc::new(AtomicI64::new(-1));
        let mut forwarding = JoinSet::new();
        forwarding.spawn({
            let left = Arc::clone(&left);
            async move {
                let mut connections = JoinSet::new();
                while let Ok((client, _)) = listener.accept().await {
                    connections.spawn(forward(client, server, Arc::clone(&left)));
                }
            }
        });
        Ok(Self { address, left, _forwarding: forwarding })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The connection breaks when this number of bytes was forwarded to the server from now on. Later ones do not.
    pub fn cut_after(&self, bytes: i64) {
        self.left.store(bytes, Ordering::SeqCst);
    }

    /// Whether a connection has broken since.
    pub fn has_cut(&self) -> bool {
        self.left.load(Ordering::SeqCst) < 0
    }
}

async fn forward(client: TcpStream, server: SocketAddr, left: Arc<AtomicI64>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let upwards = async {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
            let is_limited = left.load(Ordering::SeqCst) >= 0;
            let rest = left.fetch_sub(i64::try_from(read).unwrap_or_default(), Ordering::SeqCst);
            let sent = if is_limited { read.min(usize::try_from(rest).unwrap_or_default()) } else { read };
            if to_server.write_all(&buffer[..sent]).await.is_err() || sent < read {
                return;
            }
        }
    };
    // When either ends, both connections are dropped.
    tokio::select! {
        () = upwards => {}
        _ = tokio::io::copy(&mut from_server, &mut to_client) => {}
    }
}
