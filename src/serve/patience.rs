//! A stream whose client has to take what it is sent.
//!
//! hyper has a time-out for each thing that it reads and none for writing. A client that asks and asks and never reads
//! an answer fills the buffers between it and the server; after that nothing happens, and no timer runs. So the stream
//! below TLS has one, which also covers what TLS writes by itself: the handshake and the farewell. It is here, too, that
//! a client learns that it has to make room for another.

use std::future::{Ready, ready};
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum_server::accept::Accept;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use super::connections::Connection;
use super::crowd::Seat;

/// Gives each connection its [`Patient`] stream.
#[derive(Debug, Clone)]
pub(super) struct PatientAcceptor {
    limit: Duration,
}

/// A stream that fails when nothing could be written for too long, or when its client has to leave.
#[derive(Debug)]
pub(super) struct Patient<I> {
    stream: I,
    seat: Arc<Seat>,
    limit: Duration,
    /// Runs while the client takes nothing.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl PatientAcceptor {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit }
    }
}

impl Accept<TcpStream, Connection> for PatientAcceptor {
    type Stream = Patient<TcpStream>;
    type Service = Connection;
    type Future = Ready<io::Result<(Self::Stream, Connection)>>;

    fn accept(&self, stream: TcpStream, service: Connection) -> Self::Future {
        // An answer is one small write; waiting to join it with a next one would only delay it.
        let prepared = stream.set_nodelay(true);
        let seat = service.seat();
        ready(prepared.map(|()| (Patient { stream, seat, limit: self.limit, deadline: None }, service)))
    }
}

impl<I> Patient<I> {
    /// Turns too long a row of pending writes into an error.
    fn bounded<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let written = self.seat.bounded(context, written);
        if written.is_ready() {
            self.deadline = None;
            return written;
        }
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(self.limit)));
        deadline.as_mut().poll(context).map(|()| Err(ErrorKind::TimedOut.into()))
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Patient<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.seat.bounded(context, read)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Patient<I> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.bounded(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.bounded(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    // Of a TCP stream neither of the two ever waits.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_given_up() {
        let (ours, _theirs) = duplex(16);
        let mut stream = Patient { stream: ours, seat: Arc::default(), limit: LIMIT, deadline: None };
        let begun = tokio::time::Instant::now();
        let error = stream.write_all(&[7; 17]).await.unwrap_err();
        assert_eq!((error.kind(), begun.elapsed()), (ErrorKind::TimedOut, LIMIT));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_client_that_goes_on_reading_is_waited_for() {
        let (ours, mut theirs) = duplex(16);
        let mut stream = Patient { stream: ours, seat: Arc::default(), limit: LIMIT, deadline: None };
        let reading = async {
            let mut taken = [0; 16];
            for _ in 0..4 {
                tokio::time::sleep(LIMIT * 9 / 10).await;
                theirs.read_exact(&mut taken).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(stream.write_all(&[7; 64]), reading);
        written.unwrap();
    }
}
