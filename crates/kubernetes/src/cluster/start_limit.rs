//! A limit on how often listings and watches start.
//!
//! If a server closes each watch at once, kube's watcher sends thousands of requests a second without an error. The later
//! pages of a listing are not limited: each of them brings the listing closer to its end.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Request;
use kube::Client;
use kube::client::Body;
use tokio::time::{Instant, sleep_until};

/// The time between two starts, on average.
const INTERVAL: Duration = Duration::from_millis(100);
/// How far a burst of starts may run ahead of the average.
const BURST: Duration = Duration::from_millis(900);

/// A client that delays the start of a listing or a watch if too many have started.
pub(super) fn limit_starts(client: &Client) -> Client {
    let (inner, limit) = (client.clone(), Arc::new(StartLimit { next: Mutex::new(Instant::now()) }));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, limit) = (inner.clone(), Arc::clone(&limit));
        async move {
            if !is_later_page(&request) {
                limit.wait().await;
            }
            client.send(request).await
        }
    });
    Client::new(service, client.default_namespace())
}

fn is_later_page(request: &Request<Body>) -> bool {
    request.uri().query().is_some_and(|query| query.split('&').any(|parameter| parameter.starts_with("continue=")))
}

struct StartLimit {
    /// When the next request may start, without a burst.
    next: Mutex<Instant>,
}

impl StartLimit {
    async fn wait(&self) {
        let start = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let start = Instant::now().max(*next);
            *next = start + INTERVAL;
            start
        };
        if let Some(start) = start.checked_sub(BURST) {
            sleep_until(start).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::*;

    /// Sends `count` requests, one after another, and returns how long that took.
    async fn time_of(count: u32, uri: &str) -> Duration {
        let answer = |_: Request<Body>| async { Ok::<_, kube::Error>(Response::new(Body::empty())) };
        let client = limit_starts(&Client::new(tower::service_fn(answer), "default"));
        let start = Instant::now();
        for _ in 0..count {
            client.send(Request::get(uri).body(Body::empty()).unwrap()).await.unwrap();
        }
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn ten_requests_a_second_may_start_and_later_pages_at_any_time() {
        for (uri, count, expected) in [
            ("/api/v1/pods?&limit=100", 10, 0),
            ("/api/v1/pods?&limit=100", 30, 2),
            ("/api/v1/pods?&watch=true&resourceVersion=1", 110, 10),
            ("/api/v1/pods?&limit=100&continue=abc", 1000, 0),
        ] {
            assert_eq!(time_of(count, uri).await.as_millis() / 100, expected * 10, "{count} of {uri}");
        }
    }
}
