//! Somebody who connects anew to each replica all the time, as an API server does that has no connection yet.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::must::must;
use crate::namespace::Namespace;
use crate::snapwatcher::Snapwatcher;
use crate::webhook_client::WebhookClient;

const PAUSE: Duration = Duration::from_millis(250);
/// A bundle that is older than wanted by more says nothing: this machine was busy.
const SLACK: Duration = Duration::from_millis(500);

/// Goes on until a replica is not trusted, and returns what was wrong. Each connection is verified by the bundle that
/// stood in the configuration `lag` ago: an API server hears of a change late.
pub async fn first_refusal(ns: &Namespace, replicas: &[Arc<Snapwatcher>], lag: Duration) -> String {
    let mut reads: VecDeque<(Instant, Vec<WebhookClient>)> = VecDeque::new();
    loop {
        let (read, mut clients) = (Instant::now(), Vec::new());
        for replica in replicas {
            clients.push(must("read the bundle", WebhookClient::of(ns, replica).await));
        }
        reads.push_back((read, clients));
        while reads.front().is_some_and(|(read, _)| read.elapsed() >= lag) {
            let Some((read, clients)) = reads.pop_front() else { break };
            for webhook_client in clients {
                let answer = webhook_client.slowest_review(1, ns.name(), &["/mutate"]).await;
                if let Err(error) = answer
                    && read.elapsed() <= lag + SLACK
                {
                    return error;
                }
            }
        }
        sleep(PAUSE).await;
    }
}
