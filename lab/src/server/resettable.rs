//! Connections that a handler can reset.
//!
//! A socket that is closed with a linger time of zero sends RST in place of FIN (`socket(7)`). A handler cannot reach
//! its socket through axum, so each connection has a [`ResetHandle`] that the handler receives as its `ConnectInfo`.

use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use futures::{Stream, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// Resets the connection that a request came over.
#[derive(Clone, Debug, Default)]
pub(crate) struct ResetHandle(Arc<State>);

#[derive(Debug, Default)]
struct State {
    is_reset: AtomicBool,
    reset: Notify,
}

impl ResetHandle {
    /// Resets the connection. It never returns, because no response can be sent.
    pub(crate) async fn reset<T>(&self) -> T {
        self.0.is_reset.store(true, Ordering::SeqCst);
        self.0.reset.notify_one();
        std::future::pending().await
    }

    /// Resets the connection in the middle of the body of a request. hyper then waits for a response, which can't be sent.
    pub(crate) async fn reset_within<P>(&self, rest: impl Stream<Item = P>) {
        self.0.is_reset.store(true, Ordering::SeqCst);
        let mut rest = pin!(rest);
        while rest.next().await.is_some() {}
    }
}

impl Connected<IncomingStream<'_, ResettableListener>> for ResetHandle {
    fn connect_info(stream: IncomingStream<'_, ResettableListener>) -> Self {
        stream.io().handle.clone()
    }
}

#[derive(Debug)]
pub(crate) struct ResettableListener(pub(crate) TcpListener);

impl Listener for ResettableListener {
    type Io = ResettableStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        let handle = ResetHandle::default();
        let state = Arc::clone(&handle.0);
        let reset = Box::pin(async move { state.reset.notified().await });
        (ResettableStream { stream, handle, reset }, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

/// A stream that fails once its handle has reset it. Dropping the stream then sends RST.
pub(crate) struct ResettableStream {
    stream: TcpStream,
    handle: ResetHandle,
    reset: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl ResettableStream {
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let is_reset = self.handle.0.is_reset.load(Ordering::SeqCst);
        if is_reset || self.reset.as_mut().poll(context).is_ready() {
            self.stream.set_zero_linger()?;
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }
}

impl AsyncRead for ResettableStream {
    // hyper reads while a handler runs, to notice a client that disconnects. So it sees the reset at once.
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
        self.check(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
