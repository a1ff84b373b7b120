//! Connections that a handler can reset.
//!
//! A closed socket says goodbye (FIN); one closed with a linger time of zero resets its connection (RST, `socket(7)`).
//! A handler cannot reach its socket through axum, so each connection carries a switch that the handler flips.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// A handler's hold on the connection that its request came over.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connection(Arc<Switch>);

#[derive(Debug, Default)]
struct Switch {
    is_reset: AtomicBool,
    flipped: Notify,
}

impl Connection {
    /// Resets the connection; never returns, since nobody is left to answer to.
    pub(crate) async fn reset<T>(&self) -> T {
        self.0.is_reset.store(true, Ordering::SeqCst);
        self.0.flipped.notify_one();
        std::future::pending().await
    }
}

impl Connected<IncomingStream<'_, ResettableListener>> for Connection {
    fn connect_info(stream: IncomingStream<'_, ResettableListener>) -> Self {
        stream.io().connection.clone()
    }
}

#[derive(Debug)]
pub(crate) struct ResettableListener(pub(crate) TcpListener);

impl Listener for ResettableListener {
    type Io = ResettableStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        let connection = Connection::default();
        let switch = Arc::clone(&connection.0);
        let flipped = Box::pin(async move { switch.flipped.notified().await });
        (ResettableStream { stream, connection, flipped }, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

/// A stream that fails as soon as its switch is flipped; dropped then, it resets the connection.
pub(crate) struct ResettableStream {
    stream: TcpStream,
    connection: Connection,
    flipped: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl ResettableStream {
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let already = self.connection.0.is_reset.load(Ordering::SeqCst);
        if already || self.flipped.as_mut().poll(context).is_ready() {
            self.stream.set_zero_linger()?;
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }
}

impl AsyncRead for ResettableStream {
    // hyper goes on reading while a handler works, to notice a client that hangs up: so the switch is seen at once.
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.check(context) {
            Err(reset) => Poll::Ready(Err(reset)),
            Ok(()) => Pin::new(&mut self.stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for ResettableStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
