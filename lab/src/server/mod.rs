//! A server in this process whose port a test can close and open again.
//!
//! The stand-ins for SnapHook and the kubelet and the proxy in front of the API server listen with it.

mod resettable;
mod tls;

use std::fmt::{self, Debug};
use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_rustls::TlsAcceptor;

use crate::lock::lock;
use resettable::ResettableListener;
use tls::TlsListener;

pub(crate) use resettable::ResetHandle;

/// Limit of a request body. The API server stores no object above 1.5 MB.
pub(crate) const BODY_LIMIT: usize = 8 * 1024 * 1024;

/// How long `reopen` waits for its port.
const REOPEN_TIMEOUT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);

/// A running server. Dropping it closes the port.
pub(crate) struct Server {
    address: SocketAddr,
    serve: Box<dyn Fn(TcpListener) -> JoinHandle<()> + Send + Sync>,
    // None: the port is closed.
    accepting: Mutex<Option<JoinHandle<()>>>,
}

impl Server {
    /// Serves `app` by plain HTTP. A handler can take a [`ResetHandle`] as its `ConnectInfo`.
    pub(crate) async fn start(address: SocketAddr, app: Router) -> io::Result<Self> {
        let app = app.into_make_service_with_connect_info::<ResetHandle>();
        Self::listen(address, move |listener| {
            let app = app.clone();
            // axum's accept loop ends only when its task is aborted.
            tokio::spawn(async move { drop(axum::serve(ResettableListener(listener), app).await) })
        })
        .await
    }

    /// Serves `app` by HTTPS.
    pub(crate) async fn start_tls(address: SocketAddr, acceptor: TlsAcceptor, app: Router) -> io::Result<Self> {
        Self::listen(address, move |listener| {
            let (acceptor, app) = (acceptor.clone(), app.clone());
            tokio::spawn(async move { drop(axum::serve(TlsListener { listener, acceptor }, app).await) })
        })
        .await
    }

    async fn listen(
        address: SocketAddr,
        serve: impl Fn(TcpListener) -> JoinHandle<()> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let accepting = Mutex::new(Some(serve(listener)));
        Ok(Self { address, serve: Box::new(serve), accepting })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the port: new connections are refused, open ones stay.
    pub(crate) async fn close(&self) {
        let accepting = lock(&self.accepting).take();
        if let Some(accepting) = accepting {
            accepting.abort();
            // The listener is dropped when the task has ended.
            drop(accepting.await);
        }
    }

    /// Opens the same port again.
    pub(crate) async fn reopen(&self) -> io::Result<()> {
        if lock(&self.accepting).is_some() {
            return Ok(());
        }
        let deadline = Instant::now() + REOPEN_TIMEOUT;
        let listener = loop {
            match TcpListener::bind(self.address).await {
                Ok(listener) => break listener,
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => sleep(POLL).await,
            }
        };
        *lock(&self.accepting) = Some((self.serve)(listener));
        Ok(())
    }
}

impl Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(accepting) = lock(&self.accepting).take() {
            accepting.abort();
        }
    }
}
