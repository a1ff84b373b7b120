//! Connects to replicas as an API server does that has no open connection yet: every call makes a new handshake.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::must::must;
use crate::namespace::Namespace;
use crate::snapwatcher::Snapwatcher;
use crate::webhook_client::WebhookClient;

const PAUSE: Duration = Duration::from_millis(250);
/// If a bundle was read more than `lag` plus this ago, the machine was too busy for the check.
const SLACK: Duration = Duration::from_millis(500);

/// Calls all replicas until one of them is not trusted, and returns the error. Each handshake verifies the certificate
/// with the caBundle of `lag` ago, because an API server learns of a changed bundle late.
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
