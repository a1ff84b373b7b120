//! Clients of the webhook that announce a body and send it a byte at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lab::WebhookClient;
use snapwatcher_admission::MUTATE;
use tokio::io::AsyncWriteExt as _;
use tokio::time::sleep;

/// Connects again after each time that the server closes the connection.
pub(crate) async fn repeat(webhook: WebhookClient, body: usize, count: Arc<AtomicUsize>) {
    loop {
        // The server may close the connection in any way.
        drop(send_slowly(&webhook, body, &count).await);
        sleep(Duration::from_millis(500)).await;
    }
}

async fn send_slowly(webhook: &WebhookClient, body: usize, count: &AtomicUsize) -> std::io::Result<()> {
    let mut stream = webhook.connect(webhook.tls(&["http/1.1"])).await?;
    let head = format!(
        "POST {MUTATE} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {body}\r\n\r\n{{"
    );
    stream.write_all(head.as_bytes()).await?;
    count.fetch_add(1, Ordering::Relaxed);
    loop {
        sleep(Duration::from_secs(1)).await;
        stream.write_all(b" ").await?;
        stream.flush().await?;
    }
}
