//! The accept loop, and what follows the drain: graceful shutdown, then abort.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower::Service;
use tracing::{debug, warn};

use super::connection;
use super::connection_registry::{ConnectionRegistry, ConnectionSlot};
use super::drain::drained;
use super::handshake::Handshakes;
use super::request_service::ServerContext;
use super::write_timeout::WriteTimeout;

/// From one eviction to the next while a client waits for a slot. An evicted connection closes as soon as its task runs.
const EVICTION_INTERVAL: Duration = Duration::from_millis(50);

/// After a failure to accept, for example because the process has no free file descriptor.
const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// A listener and its connections.
pub(crate) struct Server<M> {
    listener: TcpListener,
    /// None for plain HTTP.
    tls: Option<Arc<Handshakes>>,
    /// Makes the service of a connection, for the address of its client.
    service_of: M,
    context: Arc<ServerContext>,
    registry: ConnectionRegistry,
    connections: JoinSet<()>,
}

impl<M, S> Server<M>
where
    M: Fn(SocketAddr) -> S + Send,
    S: Service<Request<Body>, Response = Response, Error = Infallible, Future: Send + Unpin> + Clone + Send + 'static,
{
    pub(crate) fn new(
        listener: std::net::TcpListener,
        tls: Option<Handshakes>,
        service_of: M,
        context: ServerContext,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener: TcpListener::from_std(listener)?,
            tls: tls.map(Arc::new),
            service_of,
            registry: ConnectionRegistry::new(context.metrics.clone()),
            context: Arc::new(context),
            connections: JoinSet::new(),
        })
    }

    /// Serves until the end of the drain, then closes all connections.
    pub(crate) async fn run(mut self) {
        let context = Arc::clone(&self.context);
        tokio::select! {
            never = self.accept_clients() => match never {},
            () = drained(&context) => {}
        }
        self.close().await;
    }

    /// Serves each client that connects. A client waits in the listen queue while the listener makes room for another.
    async fn accept_clients(&mut self) -> Infallible {
        loop {
            tokio::select! {
                (stream, client) = accept(&self.listener) => {
                    self.make_room().await;
                    self.start(stream, client);
                }
                // Frees what the set keeps of an ended task. A panic is in the log already, by the panic hook.
                Some(_) = self.connections.join_next() => {}
            }
        }
    }

    /// Evicts one connection after the other until there is a free slot.
    async fn make_room(&mut self) {
        while self.connections.try_join_next().is_some() {}
        while self.connections.len() >= self.context.limits.connections {
            self.registry.evict_idlest();
            // Either a slot is free, or the evicted connection needs more time than it should.
            let _ = timeout(EVICTION_INTERVAL, self.connections.join_next()).await;
        }
    }

    fn start(&mut self, stream: TcpStream, client: SocketAddr) {
        let (tls, service, context) = (self.tls.clone(), (self.service_of)(client), Arc::clone(&self.context));
        self.connections.spawn(serve_client(stream, client, tls, service, self.registry.open(), context));
    }

    /// Accepts no client any more, lets each connection finish its request, and aborts what is open after the grace.
    async fn close(self) {
        let Self { listener, context, mut connections, .. } = self;
        // Clients in the listen queue are refused instead of waiting for nothing.
        drop(listener);
        context.closing.cancel();
        let all_closed = async { while connections.join_next().await.is_some() {} };
        let grace = context.limits.grace;
        if timeout(grace, all_closed).await.is_err() {
            let count = connections.len();
            context.metrics.aborted(count);
            warn!(
                "Aborted {count} connections that were still open {grace:?} after the listener closed: their clients did \
                 not finish a request or did not read its response. If API servers are among them, look for a slow network"
            );
            connections.shutdown().await;
        }
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => debug!(%error, "Could not accept a connection"),
        }
        sleep(ACCEPT_RETRY_INTERVAL).await;
    }
}

/// The task of one connection.
async fn serve_client<S>(
    stream: TcpStream,
    client: SocketAddr,
    tls: Option<Arc<Handshakes>>,
    service: S,
    slot: ConnectionSlot,
    context: Arc<ServerContext>,
) where
    S: Service<Request<Body>, Response = Response, Error = Infallible, Future: Unpin> + Clone,
{
    // A response is one small write. Waiting to join it with the next one would only delay it.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%client, %error, "Could not set up a connection");
        return;
    }
    let stream = WriteTimeout::new(stream, context.limits.write);
    let Some(tls) = tls else { return connection::serve(stream, service, slot, context).await };
    // A client in its handshake has sent no request, so nothing is lost.
    let accepted = tokio::select! {
        accepted = tls.accept(stream, client) => accepted,
        () = slot.evicted() => None,
        () = context.closing.cancelled() => None,
    };
    if let Some(stream) = accepted {
        connection::serve(stream, service, slot, context).await;
    }
}
