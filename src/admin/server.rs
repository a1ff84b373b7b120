//! The server of the admin port: who connects may neither hold it up nor use it up.

use std::future::{Ready, ready};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use axum::Router;
use axum_server::Handle;
use axum_server::accept::Accept;
use tokio_util::sync::CancellationToken;

/// A client has this long to send the head of a request, the first and each following one. A connection that is idle
/// for longer is closed too: probes and scrapes come rarely and connect anew at no cost.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The kubelet, a Prometheus or two and some people at once; what comes beyond is closed at once.
const MOST_CONNECTIONS: usize = 64;
/// What is being answered at the stop has this long to end; all answers are made in memory.
const GRACE: Duration = Duration::from_secs(1);

/// The admin port does not work.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error("could not serve the admin port")]
    Serve { source: io::Error },
}

/// Answers on the listener until the stop.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) -> Result<(), AdminError> {
    serve_within(HEAD_TIMEOUT, listener, router, stop).await
}

async fn serve_within(
    head_timeout: Duration,
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
) -> Result<(), AdminError> {
    let failed = |source| AdminError::Serve { source };
    let address = listener.local_addr().map_err(failed)?;
    let handle = Handle::new();
    let mut server = axum_server::from_tcp(listener)
        .map_err(failed)?
        .handle(handle.clone())
        .acceptor(Capped { handle: handle.clone() })
        .first_request_timeout(head_timeout)
        .http1_only();
    server.http_builder().http1().header_read_timeout(head_timeout);

    tracing::info!("Serving the admin port on http://{address}");
    let serving = server.serve(router.into_make_service());
    tokio::pin!(serving);
    tokio::select! {
        ended = &mut serving => ended.map_err(failed),
        () = stop.cancelled() => {
            handle.graceful_shutdown(Some(GRACE));
            serving.await.map_err(failed)
        }
    }
}

/// Closes connections beyond [`MOST_CONNECTIONS`]. The count of the server's handle has the new one in it already.
#[derive(Clone)]
struct Capped {
    handle: Handle<SocketAddr>,
}

impl<I, S> Accept<I, S> for Capped {
    type Stream = I;
    type Service = S;
    type Future = Ready<io::Result<(I, S)>>;

    fn accept(&self, stream: I, service: S) -> Self::Future {
        ready(if self.handle.connection_count() > MOST_CONNECTIONS {
            Err(io::Error::other("too many connections"))
        } else {
            Ok((stream, service))
        })
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::task::JoinHandle;

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: admin\r\n\r\n";

    /// A server on a port of its own, the stop, and what it returned.
    #[expect(clippy::disallowed_methods, reason = "the test itself waits for the end of the task")]
    fn started(head_timeout: Duration) -> (SocketAddr, CancellationToken, JoinHandle<Result<(), AdminError>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let router = Router::new().route("/", get(async || "hello"));
        (address, stop.clone(), tokio::spawn(serve_within(head_timeout, listener, router, stop)))
    }

    async fn answer(connection: &mut TcpStream) -> String {
        connection.write_all(REQUEST).await.unwrap();
        let mut bytes = [0; 1024];
        let length = connection.read(&mut bytes).await.unwrap_or(0);
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    #[tokio::test]
    async fn it_answers_until_the_stop() {
        let (address, stop, server) = started(HEAD_TIMEOUT);
        let mut connection = TcpStream::connect(address).await.unwrap();
        assert!(answer(&mut connection).await.ends_with("hello"));
        stop.cancel();
        server.await.unwrap().unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn a_connection_too_many_is_closed_and_a_closed_one_makes_room() {
        let (address, _stop, _server) = started(HEAD_TIMEOUT);
        let mut open = Vec::new();
        for _ in 0..MOST_CONNECTIONS {
            let mut connection = TcpStream::connect(address).await.unwrap();
            assert!(answer(&mut connection).await.ends_with("hello"));
            open.push(connection);
        }
        let mut refused = TcpStream::connect(address).await.unwrap();
        let mut bytes = Vec::new();
        assert_eq!(refused.read_to_end(&mut bytes).await.unwrap_or(0), 0);
        open.pop();
        let room = async {
            loop {
                let mut connection = TcpStream::connect(address).await.unwrap();
                let mut first = [0; 8];
                let sent = connection.write_all(REQUEST).await;
                if sent.is_ok() && connection.read(&mut first).await.is_ok_and(|length| length > 0) {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(5), room).await.unwrap();
    }

    #[tokio::test]
    async fn a_client_that_never_ends_its_request_is_closed() {
        let (address, _stop, _server) = started(Duration::from_millis(200));
        let mut first = TcpStream::connect(address).await.unwrap();
        first.write_all(b"GET / HT").await.unwrap();
        let mut second = TcpStream::connect(address).await.unwrap();
        assert!(answer(&mut second).await.ends_with("hello"));
        second.write_all(b"GET / HT").await.unwrap();
        let closed = async {
            let mut bytes = Vec::new();
            // A 408 may be said first; what counts is the end.
            let _ = first.read_to_end(&mut bytes).await;
            let _ = second.read_to_end(&mut bytes).await;
        };
        tokio::time::timeout(Duration::from_secs(5), closed).await.unwrap();
    }
}
