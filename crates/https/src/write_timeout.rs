//! A stream with a write timeout.
//!
//! hyper has no timeout for writes. A client that sends requests and never reads a response fills the buffers between it
//! and the server. Then the connection waits, and no other timer runs. The timeout is below TLS, so it covers what TLS
//! writes by itself too: the handshake and the close_notify.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// A stream whose writes fail when the client accepts no byte for too long.
#[derive(Debug)]
pub(crate) struct WriteTimeout<I> {
    stream: I,
    limit: Duration,
    /// None unless the last write is pending.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<I> WriteTimeout<I> {
    pub(crate) fn new(stream: I, limit: Duration) -> Self {
        Self { stream, limit, deadline: None }
    }

    /// Fails a write that has been pending for too long.
    fn limited<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.deadline = None;
            return written;
        }
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(self.limit)));
        deadline.as_mut().poll(context).map(|()| Err(ErrorKind::TimedOut.into()))
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for WriteTimeout<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for WriteTimeout<I> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.limited(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // rustls writes all records this way, nearly always one. A write of one part costs the kernel less.
        let written = match parts {
            [part] => Pin::new(&mut self.stream).poll_write(context, part),
            _ => Pin::new(&mut self.stream).poll_write_vectored(context, parts),
        };
        self.limited(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    // Neither flush nor shutdown of a TCP stream is ever pending.
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
    use tokio::time::Instant;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn a_write_fails_when_the_client_reads_nothing() {
        let (ours, _theirs) = duplex(16);
        let mut stream = WriteTimeout::new(ours, LIMIT);
        let start = Instant::now();
        let error = stream.write_all(&[7; 17]).await.unwrap_err();
        assert_eq!((error.kind(), start.elapsed()), (ErrorKind::TimedOut, LIMIT));
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_succeeds_when_the_client_reads_slowly() {
        let (ours, mut theirs) = duplex(16);
        let mut stream = WriteTimeout::new(ours, LIMIT);
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
