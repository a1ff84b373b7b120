//! What the controllers of the CA Secret and of the CA bundles share with each other and with readiness.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;

/// Clones share their values.
#[derive(Debug, Clone, Default)]
pub(super) struct Signals {
    reread_secret: Arc<Notify>,
    is_secret_unreadable: Arc<AtomicBool>,
    secret_failure: Arc<ArcSwapOption<String>>,
}

impl Signals {
    /// Makes the controller of the Secret read it now: someone changed a caBundle, and the Secret may contain the reason.
    pub(super) fn reread_secret(&self) {
        self.reread_secret.notify_one();
    }

    /// Waits for [`reread_secret`](Self::reread_secret).
    pub(super) async fn secret_reread_requested(&self) {
        self.reread_secret.notified().await;
    }

    pub(super) fn set_secret_unreadable(&self, is_unreadable: bool) {
        self.is_secret_unreadable.store(is_unreadable, Ordering::Relaxed);
    }

    /// Whether the last attempt to read the Secret failed.
    pub(super) fn is_secret_unreadable(&self) -> bool {
        self.is_secret_unreadable.load(Ordering::Relaxed)
    }

    pub(super) fn set_secret_failure(&self, failure: Option<String>) {
        self.secret_failure.store(failure.map(Arc::new));
    }

    /// Why the Secret could not be read or written last.
    pub(super) fn secret_failure(&self) -> Option<Arc<String>> {
        self.secret_failure.load_full()
    }
}
