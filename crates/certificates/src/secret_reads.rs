//! What became of the last reads of the CA Secret, why it could not be read or written, and the request to read it now. The controller
//! of the Secret shares this with the controllers of the CA bundles and with readiness.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Clones share their values.
#[derive(Debug, Clone, Default)]
pub(super) struct SecretReads {
    reread_secret: Arc<Notify>,
    is_secret_unreadable: Arc<AtomicBool>,
    secret_read: Arc<ArcSwapOption<Instant>>,
    secret_failure: Arc<ArcSwapOption<String>>,
}

impl SecretReads {
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

    /// Sets when the read began by which the controllers of the configurations have the CAs of the Secret.
    pub(super) fn set_secret_read(&self, started: Instant) {
        self.secret_read.store(Some(Arc::new(started)));
    }

    /// Whether the Secret was read after this moment, and its CAs are in use.
    pub(super) fn is_secret_read_since(&self, moment: Instant) -> bool {
        self.secret_read.load().as_ref().is_some_and(|started| **started > moment)
    }

    pub(super) fn set_secret_failure(&self, failure: Option<String>) {
        self.secret_failure.store(failure.map(Arc::new));
    }

    /// Why the Secret could not be read or written last.
    pub(super) fn secret_failure(&self) -> Option<Arc<String>> {
        self.secret_failure.load_full()
    }
}
