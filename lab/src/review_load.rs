//! Sends many admission reviews, as a busy API server does, and measures the answers.

use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, stream};

use crate::objects::pod;
use crate::webhook_client::{WebhookClient, review_of_creation};

/// Number of parallel connections. Each has one review at a time.
const CONNECTIONS: usize = 10;

impl WebhookClient {
    /// Posts reviews of labeled pods to these paths, round robin. Returns the time of the slowest answer.
    ///
    /// Fails if an answer does not admit its pod.
    pub async fn slowest_review(&self, reviews: usize, namespace: &str, paths: &[&str]) -> Result<Duration, String> {
        let path = |index: usize| paths.get(index % paths.len().max(1)).copied().unwrap_or("/");
        let answers = stream::iter(0..reviews).map(|index| self.timed(namespace, path(index), index));
        let answers = answers.buffer_unordered(CONNECTIONS);
        answers.try_fold(Duration::ZERO, |slowest, took| async move { Ok(slowest.max(took)) }).await
    }

    async fn timed(&self, namespace: &str, path: &str, index: usize) -> Result<Duration, String> {
        let uid = format!("review-{index}");
        let review = review_of_creation(&uid, namespace, &pod(&uid).labelled().build());
        let started = Instant::now();
        let reply = self.review(path, &review).await.map_err(|error| format!("{uid}: {error:?}"))?;
        let took = started.elapsed();
        let is_right = reply.status == 200 && reply.body.contains(&format!("\"uid\":\"{uid}\",\"allowed\":true"));
        if is_right { Ok(took) } else { Err(format!("{uid}: {reply:?}")) }
    }
}
