//! One object by its name: looked at, and watched until it changes.
//!
//! By listings and watches with a field selector, which rights limited to one name allow, see
//! <https://kubernetes.io/docs/reference/access-authn-authz/rbac/#referring-to-resources>.

use std::fmt::Debug;
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use kube::Api;
use kube::api::{ListParams, WatchEvent, WatchParams};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use snapwatcher_kubernetes::cluster::{CallError, call};

/// What a watch may last beyond its time before it counts as dead.
const WATCH_SLACK: Duration = Duration::from_secs(5);

/// The object and the two clients for it.
pub(super) struct NamedObject<K> {
    pub(super) name: String,
    /// The object in a sentence, such as "Secret `snap/ca`".
    pub(super) what: String,
    /// How long the server keeps a watch open.
    pub(super) watch_timeout: Duration,
    pub(super) calls: Api<K>,
    pub(super) watches: Api<K>,
}

/// What stood at the API server, and the version from which to watch.
pub(super) struct ObjectView<K> {
    pub(super) found: Option<K>,
    pub(super) version: String,
}

impl<K: Clone + Debug + DeserializeOwned + Send + 'static> NamedObject<K> {
    /// A listing of this one name: unlike a read of it, it has a version to watch from where nothing is found.
    pub(super) async fn look(&self) -> Result<ObjectView<K>, CallError> {
        let only = ListParams::default().fields(&self.selector());
        let list = call(format!("read the {}", self.what), self.calls.list(&only)).await?;
        Ok(ObjectView {
            found: list.items.into_iter().next(),
            version: list.metadata.resource_version.unwrap_or_default(),
        })
    }

    /// Waits until the object changes, or the watch has lasted its time.
    pub(super) async fn change(&self, version: &str) -> Result<(), CallError> {
        let what = format!("watch the {}", self.what);
        let seconds = u32::try_from(self.watch_timeout.as_secs()).unwrap_or(u32::MAX);
        let only = WatchParams::default().fields(&self.selector()).timeout(seconds);
        let events = call(what.clone(), self.watches.watch_metadata(&only, version)).await?;
        let mut events = pin!(events);
        let change = async {
            loop {
                match events.next().await {
                    Some(Ok(WatchEvent::Bookmark(_))) => {}
                    // An error event is an expired version as a rule: the next look has a fresh one.
                    Some(Ok(_)) | None => return Ok(()),
                    Some(Err(source)) => return Err(CallError::Failed { what, source: Box::new(source) }),
                }
            }
        };
        timeout(self.watch_timeout + WATCH_SLACK, change).await.unwrap_or(Ok(()))
    }

    fn selector(&self) -> String {
        format!("metadata.name={}", self.name)
    }
}
