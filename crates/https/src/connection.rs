//! One connection, from the end of its handshake to its close.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tower::Service;

use super::connection_registry::ConnectionSlot;
use super::idle_clock::IdleClock;
use super::request_service::{ConnectionState, RequestService, ServerContext};

/// The read buffer of a connection, and so the longest head of a request: as much as a TLS record holds (RFC 8446, 5.1).
/// The heads of an API server have a few hundred bytes. hyper's default of 400 KiB would be 400 MiB for all connections.
const BUFFER: usize = 16 * 1024;

/// Serves HTTP/1.1 until the client closes the connection, sends no request for too long, or is evicted.
pub(crate) async fn serve<S, I>(stream: I, service: S, slot: ConnectionSlot, context: Arc<ServerContext>)
where
    S: Service<Request<Body>, Response = Response, Error = Infallible, Future: Unpin> + Clone,
    I: AsyncRead + AsyncWrite + Unpin,
{
    let state = Arc::new(ConnectionState { slot, clock: IdleClock::new(Instant::now()), context });
    let service = RequestService::new(service, Arc::clone(&state));
    // The idle clock also limits how long a head may take, so hyper needs no timer for it.
    let mut builder = http1::Builder::new();
    // Head and body of a response are encrypted into one record, so they are copied into one buffer anyway.
    builder.max_buf_size(BUFFER).header_read_timeout(None).writev(false);
    let mut http = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut idle = pin!(state.clock.expired(&state.context.limits));
    let mut is_closing = false;
    loop {
        tokio::select! {
            // `http` first: a request that has just arrived is read before the idle clock or the stop closes the connection.
            biased;
            // An error is the client's: it broke the connection or the protocol, or it reads no response.
            _ = http.as_mut() => return,
            () = state.slot.evicted() => return,
            () = state.context.closing.cancelled(), if !is_closing => {
                is_closing = true;
                http.as_mut().graceful_shutdown();
            }
            () = idle.as_mut() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::Router;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::time::{sleep, sleep_until};
    use tokio_util::sync::CancellationToken;

    use super::super::connection_registry::ConnectionRegistry;
    use super::super::limits::Limits;
    use super::super::metrics::HttpsMetrics;
    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

    /// Runs the client against a connection whose response takes this long, and returns when the server closed it.
    async fn closed_after(response_takes: Duration, client: impl AsyncFnOnce(DuplexStream)) -> Duration {
        let (ours, theirs) = duplex(4096);
        let limits = Limits { idle: LIMIT, first_request: LIMIT, request: LIMIT * 5, ..Limits::default() };
        let context = ServerContext::new(limits, HttpsMetrics::default(), CancellationToken::new());
        let slow = async move || {
            sleep(response_takes).await;
            "ok"
        };
        let router = Router::new().route("/", get(slow));
        let service = tower::service_fn(move |request| Box::pin(tower::ServiceExt::oneshot(router.clone(), request)));
        let start = Instant::now();
        let serving = async {
            serve(ours, service, ConnectionRegistry::default().open(), Arc::new(context)).await;
            start.elapsed()
        };
        tokio::join!(serving, client(theirs)).0
    }

    async fn exchange(stream: &mut DuplexStream) {
        stream.write_all(REQUEST).await.unwrap();
        let mut response = [0; 1024];
        let length = stream.read(&mut response).await.unwrap();
        assert!(response[..length].ends_with(b"ok"));
    }

    async fn is_closed(mut stream: DuplexStream) {
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_no_further_request_is_closed_that_long_after_its_last_response() {
        let closed = closed_after(Duration::ZERO, async |mut stream| {
            let start = Instant::now();
            for second in [1, 10, 39] {
                sleep_until(start + Duration::from_secs(second)).await;
                exchange(&mut stream).await;
            }
            is_closed(stream).await;
        });
        assert_eq!(closed.await, Duration::from_secs(39) + LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_no_first_request_is_closed() {
        assert_eq!(closed_after(Duration::ZERO, is_closed).await, LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_its_head_byte_by_byte_is_closed_too() {
        let closed = closed_after(Duration::ZERO, async |mut stream| {
            exchange(&mut stream).await;
            for byte in REQUEST {
                sleep(LIMIT / 4).await;
                if stream.write_all(&[*byte]).await.is_err() {
                    return;
                }
            }
        });
        assert_eq!(closed.await, LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_waits_for_its_response_is_not_idle() {
        let closed = closed_after(LIMIT * 3, async |mut stream| {
            exchange(&mut stream).await;
            is_closed(stream).await;
        });
        assert_eq!(closed.await, LIMIT * 4);
    }
}
