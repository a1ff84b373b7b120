//! Notices that nothing is sent and nothing arrives.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::sleep;

/// Counts what was sent of one request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress(Arc<AtomicU64>);

impl Progress {
    pub(crate) fn note(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns when nothing was noted for this time; at the latest after twice the time.
    pub(crate) async fn stopped(&self, limit: Duration) {
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            sleep(limit).await;
            let now = self.0.load(Ordering::Relaxed);
            if now == seen {
                return;
            }
            seen = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_with_progress_is_not_stopped() {
        let progress = Progress::default();
        let limit = Duration::from_secs(10);
        let stopped = progress.stopped(limit);
        tokio::pin!(stopped);
        for _ in 0..10 {
            progress.note();
            assert!(timeout(Duration::from_secs(9), &mut stopped).await.is_err());
        }
        let last = Instant::now();
        stopped.await;
        assert!(last.elapsed() <= 2 * limit, "{:?}", last.elapsed());
    }
}
