//! The server of the admin port, with limits on its clients.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use tokio_util::sync::CancellationToken;
use tower::{ServiceExt as _, service_fn};

use snapwatcher_https::{Limits, serve_plain};

/// From the connection to the head of its first request.
const FIRST_REQUEST: Duration = Duration::from_secs(10);
/// From a response to the head of the next request. Probes and scrapes are rare and can connect again, but `/pods` may be
/// long and its reader slow.
const IDLE: Duration = Duration::from_secs(60);
/// Enough for the kubelet, two Prometheus servers and some people. One more client evicts the connection whose last
/// request is the longest ago, because a probe without a connection would make the kubelet restart the pod.
const MAX_CONNECTIONS: usize = 64;
/// For requests that are open at the stop. All responses are built in memory.
const GRACE: Duration = Duration::from_secs(1);

/// The admin port can't serve.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error("could not serve the admin port")]
    Serve { source: io::Error },
}

/// Serves the router until the stop.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) -> Result<(), AdminError> {
    serve_within(FIRST_REQUEST, IDLE, listener, router, stop).await
}

async fn serve_within(
    first_request: Duration,
    idle: Duration,
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
) -> Result<(), AdminError> {
    let failed = |source| AdminError::Serve { source };
    let address = listener.local_addr().map_err(failed)?;
    let limits = Limits {
        first_request,
        idle,
        connections: MAX_CONNECTIONS,
        drain: Duration::ZERO,
        grace: GRACE,
        ..Limits::default()
    };
    let service_of = move |client: SocketAddr| {
        let router = router.clone();
        service_fn(move |mut request: Request<Body>| {
            request.extensions_mut().insert(ConnectInfo(client));
            Box::pin(router.clone().oneshot(request))
        })
    };
    tracing::info!("Serving the admin port on http://{address}");
    serve_plain(listener, service_of, limits, stop).await.map_err(failed)
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpSocket, TcpStream};
    use tokio::task::JoinHandle;

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: admin\r\n\r\n";

    /// A server on a port of its own, its stop, and its task.
    #[expect(clippy::disallowed_methods, reason = "the test itself waits for the end of the task")]
    fn started(
        first_request: Duration,
        idle: Duration,
    ) -> (SocketAddr, CancellationToken, JoinHandle<Result<(), AdminError>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let router = Router::new()
            .route("/", get(async || "hello"))
            .route("/client", get(async |ConnectInfo(client): ConnectInfo<SocketAddr>| client.to_string()));
        (address, stop.clone(), tokio::spawn(serve_within(first_request, idle, listener, router, stop)))
    }

    async fn response(connection: &mut TcpStream) -> String {
        connection.write_all(REQUEST).await.unwrap();
        let mut bytes = [0; 1024];
        let length = connection.read(&mut bytes).await.unwrap_or(0);
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    #[tokio::test]
    async fn the_port_answers_until_the_stop() {
        let (address, stop, server) = started(FIRST_REQUEST, IDLE);
        let mut connection = TcpStream::connect(address).await.unwrap();
        assert!(response(&mut connection).await.ends_with("hello"));
        stop.cancel();
        server.await.unwrap().unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn a_handler_knows_the_address_of_its_client() {
        let (address, _stop, _server) = started(FIRST_REQUEST, IDLE);
        for from in ["127.0.0.1:0", "127.0.0.2:0"] {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(from.parse().unwrap()).unwrap();
            let mut connection = socket.connect(address).await.unwrap();
            let own = connection.local_addr().unwrap().to_string();
            connection.write_all(b"GET /client HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n").await.unwrap();
            let mut text = String::new();
            connection.read_to_string(&mut text).await.unwrap();
            assert!(text.ends_with(&own), "{own}: {text}");
        }
    }

    #[tokio::test]
    async fn one_more_connection_evicts_the_one_whose_last_request_is_the_longest_ago() {
        let (address, _stop, _server) = started(FIRST_REQUEST, IDLE);
        let mut silent = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        assert!(response(&mut silent[0]).await.ends_with("hello"));
        let probe = async {
            let mut probe = TcpStream::connect(address).await.unwrap();
            assert!(response(&mut probe).await.ends_with("hello"));
            let mut bytes = Vec::new();
            assert_eq!(silent[1].read_to_end(&mut bytes).await.unwrap_or(0), 0, "it had sent no request");
            assert!(response(&mut silent[0]).await.ends_with("hello"), "it had sent one");
        };
        // Sooner than the timeout closes a silent connection.
        tokio::time::timeout(FIRST_REQUEST / 2, probe).await.unwrap();
    }

    #[tokio::test]
    async fn a_client_that_never_finishes_its_request_is_closed() {
        let (address, _stop, _server) = started(Duration::from_millis(200), Duration::from_millis(200));
        let mut first = TcpStream::connect(address).await.unwrap();
        first.write_all(b"GET / HT").await.unwrap();
        let mut second = TcpStream::connect(address).await.unwrap();
        assert!(response(&mut second).await.ends_with("hello"));
        second.write_all(b"GET / HT").await.unwrap();
        let closed = async {
            let mut bytes = Vec::new();
            // A response of 408 may come before the close.
            let _ = first.read_to_end(&mut bytes).await;
            let _ = second.read_to_end(&mut bytes).await;
        };
        tokio::time::timeout(Duration::from_secs(5), closed).await.unwrap();
    }
}
