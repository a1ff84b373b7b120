//! The drain: for a while after the stop the listener still accepts clients and answers requests.

use tokio::time::sleep;
use tracing::info;

use super::request_service::ServerContext;

/// Completes at the end of the drain.
pub(crate) async fn drained(context: &ServerContext) {
    let drain = context.limits.drain;
    context.stop.cancelled().await;
    if !drain.is_zero() {
        info!("Draining: requests are answered for another {drain:?}, with `Connection: close`");
        sleep(drain).await;
    }
}
