//! A stream whose client has to ask, and to take what it is sent.
//!
//! hyper has no time-out for writing. A client that asks and asks and never reads an answer fills the buffers between it
//! and the server; after that nothing happens, and no timer runs. So the stream below TLS has one, which also covers
//! what TLS writes by itself: the handshake and the farewell. For reading it has another, see [`Turn`]. It is here, too,
//! that a client learns that it has to make room for another.

use std::future::{Ready, ready};
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum_server::accept::Accept;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

use super::Limits;
use super::connections::Connection;
use super::crowd::Seat;
use super::turn::Turn;

/// Gives each connection its [`Patient`] stream.
#[derive(Debug, Clone)]
pub(super) struct PatientAcceptor {
    limits: Limits,
}

/// A stream that fails when nothing could be written, or the client was silent in its turn, for too long, and when the
/// client has to leave.
#[derive(Debug)]
pub(super) struct Patient<I> {
    stream: I,
    seat: Arc<Seat>,
    unread: Duration,
    /// Runs while the client takes nothing.
    deadline: Option<Pin<Box<Sleep>>>,
    idle: Duration,
    turn: Arc<Turn>,
    /// Rings when the client may have had its turn for too long, never later.
    alarm: Pin<Box<Sleep>>,
}

impl PatientAcceptor {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits }
    }
}

impl<S> Accept<TcpStream, Connection<S>> for PatientAcceptor {
    type Stream = Patient<TcpStream>;
    type Service = Connection<S>;
    type Future = Ready<io::Result<(Self::Stream, Connection<S>)>>;

    fn accept(&self, stream: TcpStream, service: Connection<S>) -> Self::Future {
        // An answer is one small write; waiting to join it with a next one would only delay it.
        let prepared = stream.set_nodelay(true);
        let stream = Patient::new(stream, self.limits, service.turn(), service.seat());
        ready(prepared.map(|()| (stream, service)))
    }
}

impl<I> Patient<I> {
    fn new(stream: I, limits: Limits, turn: Arc<Turn>, seat: Arc<Seat>) -> Self {
        let Limits { unread, idle, .. } = limits;
        Self { stream, seat, unread, deadline: None, idle, turn, alarm: Box::pin(sleep(idle)) }
    }

    /// Turns too long a row of pending writes into an error.
    fn bounded<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let written = self.seat.bounded(context, written);
        if written.is_ready() {
            self.deadline = None;
            return written;
        }
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(self.unread)));
        deadline.as_mut().poll(context).map(|()| Err(ErrorKind::TimedOut.into()))
    }

    /// Whether the client has had its turn for too long. The alarm is set anew only when it has rung: turns are short,
    /// and most of its rings come to nothing.
    fn is_silent_for_too_long(&mut self, context: &mut Context<'_>) -> bool {
        while self.alarm.as_mut().poll(context).is_ready() {
            let now = Instant::now();
            let due = self.turn.of_the_client_since().unwrap_or(now) + self.idle;
            if due <= now {
                return true;
            }
            self.alarm.as_mut().reset(due);
        }
        false
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Patient<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let read = self.seat.bounded(context, read);
        if read.is_pending() && self.is_silent_for_too_long(context) {
            return Poll::Ready(Err(ErrorKind::TimedOut.into()));
        }
        read
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
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    /// A stream, the client's end of it, and whose turn it is.
    fn patient() -> (Patient<DuplexStream>, DuplexStream, Arc<Turn>) {
        let (ours, theirs) = duplex(16);
        let turn = Arc::new(Turn::new(Instant::now()));
        let limits = Limits { unread: LIMIT, idle: LIMIT, ..Limits::default() };
        (Patient::new(ours, limits, Arc::clone(&turn), Arc::default()), theirs, turn)
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_given_up() {
        let (mut stream, _theirs, _turn) = patient();
        let begun = Instant::now();
        let error = stream.write_all(&[7; 17]).await.unwrap_err();
        assert_eq!((error.kind(), begun.elapsed()), (ErrorKind::TimedOut, LIMIT));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_client_that_goes_on_reading_is_waited_for() {
        let (mut stream, mut theirs, _turn) = patient();
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

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_ask_is_given_up_so_long_after_its_last_answer() {
        let (mut stream, mut theirs, turn) = patient();
        let begun = Instant::now();
        for second in [1, 10, 39] {
            turn.take();
            tokio::time::sleep_until(begun + Duration::from_secs(second)).await;
            turn.give(Instant::now());
            theirs.write_all(b"ask").await.unwrap();
            stream.read_exact(&mut [0; 3]).await.unwrap();
        }
        let error = stream.read_u8().await.unwrap_err();
        assert_eq!((error.kind(), begun.elapsed()), (ErrorKind::TimedOut, Duration::from_secs(39) + LIMIT));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_its_head_by_the_byte_is_given_up_too() {
        let (mut stream, mut theirs, turn) = patient();
        let begun = Instant::now();
        turn.give(begun);
        let dribbling = async {
            loop {
                tokio::time::sleep(LIMIT / 4).await;
                if theirs.write_all(b"x").await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let reading = async {
            loop {
                if let Err(error) = stream.read_u8().await {
                    return error;
                }
            }
        };
        let error = tokio::select! {
            error = reading => error,
            () = dribbling => unreachable!(),
        };
        assert_eq!((error.kind(), begun.elapsed()), (ErrorKind::TimedOut, LIMIT));
    }

    #[tokio::test(start_paused = true)]
    async fn in_the_servers_turn_the_client_may_be_silent() {
        let (mut stream, mut theirs, turn) = patient();
        turn.take();
        let answering = async {
            tokio::time::sleep(LIMIT * 3).await;
            theirs.write_all(b"!").await.unwrap();
        };
        let (read, ()) = tokio::join!(stream.read_u8(), answering);
        assert_eq!(read.unwrap(), b'!');
    }
}
