//! Clients that announce large bodies and never send them, over real sockets.

use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::time::Duration;

use axum::serve::IncomingStream;
use prometheus_client::registry::Registry;
use serde_json::json;
use snapwatcher_api::keys::SNAP;
use snapwatcher_state::PodTimelines;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::super::body_reader::REVIEW_LIMIT;
use super::super::metrics::AdmissionMetrics;
use super::super::review::review_of_creation;
use super::super::validate::ValidationMode;
use super::*;

/// As long as an API server waits for its response.
const API_SERVER_WAITS: Duration = Duration::from_secs(3);
const STUCK: &str = "127.0.0.1";
const API_SERVER: &str = "127.0.0.2";

/// Makes the service of each connection, as the listener does.
#[derive(Clone)]
struct Webhook(Router);

impl Service<IncomingStream<'_, TcpListener>> for Webhook {
    type Response = ClientRouter;
    type Error = Infallible;
    type Future = Ready<Result<ClientRouter, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, connection: IncomingStream<'_, TcpListener>) -> Self::Future {
        ready(Ok(ClientRouter::new(self.0.clone(), connection.remote_addr().ip())))
    }
}

async fn connect(from: &str, webhook: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(from.parse().unwrap(), 0)).unwrap();
    socket.connect(webhook).await.unwrap()
}

fn head(length: usize) -> String {
    format!(
        "POST {MUTATE} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n"
    )
}

/// A webhook that is served to real connections.
struct ServedWebhook {
    address: SocketAddr,
    state: Arc<RouteState>,
    serving: JoinHandle<std::io::Result<()>>,
}

impl ServedWebhook {
    #[expect(clippy::disallowed_methods, reason = "a test has no services")]
    async fn start() -> Self {
        let metrics = AdmissionMetrics::register(&mut Registry::default());
        let handler = AdmissionHandler::new(PodTimelines::new(), metrics, ValidationMode::Warn);
        let state = Arc::new(RouteState::new(handler));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(axum::serve(listener, Webhook(routes(&state))).into_future());
        Self { address, state, serving }
    }

    /// A connection that announces a large body and sends only the start of it.
    async fn stuck(&self, from: &str) -> TcpStream {
        let mut connection = connect(from, self.address).await;
        let body = head(REVIEW_LIMIT) + &" ".repeat(70 * 1024);
        connection.write_all(body.as_bytes()).await.unwrap();
        connection
    }

    /// Waits until the client has all the permits that it may have.
    async fn is_exhausted(&self, client: &str) {
        while !self.state.bodies.large_bodies.is_exhausted(client.parse().unwrap()) {
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// A large review of an API server is answered in time.
    async fn responds_to_an_api_server(&self) {
        let pod = json!({"metadata": {"labels": {SNAP: "true"}, "annotations": {"a": "x".repeat(100 * 1024)}}});
        let review = review_of_creation("r-1", &pod).to_string();
        let mut response = String::new();
        let exchange = async {
            let mut connection = connect(API_SERVER, self.address).await;
            connection.write_all((head(review.len()) + &review).as_bytes()).await.unwrap();
            connection.read_to_string(&mut response).await.unwrap();
        };
        timeout(API_SERVER_WAITS, exchange).await.expect("the review is answered in time");
        assert!(response.starts_with("HTTP/1.1 200 ") && response.contains("\"patch\""), "{response}");
    }
}

impl Drop for ServedWebhook {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[tokio::test]
async fn large_bodies_that_do_not_arrive_delay_no_review_of_another_client() {
    let webhook = ServedWebhook::start().await;
    let mut stuck = Vec::new();
    for _ in 0..108 {
        stuck.push(webhook.stuck(STUCK).await);
    }
    webhook.is_exhausted(STUCK).await;
    webhook.responds_to_an_api_server().await;
}

#[tokio::test]
async fn large_bodies_of_twenty_addresses_that_do_not_arrive_delay_no_review_of_another_client() {
    let webhook = ServedWebhook::start().await;
    let addresses: Vec<String> = (10..30).map(|number| format!("127.0.0.{number}")).collect();
    let mut stuck = Vec::new();
    for address in addresses.iter().cycle().take(200) {
        stuck.push(webhook.stuck(address).await);
    }
    for address in &addresses {
        webhook.is_exhausted(address).await;
    }
    for _ in 0..3 {
        webhook.responds_to_an_api_server().await;
    }
}
