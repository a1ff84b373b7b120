//! One object by its name: read, and watched until it changes.
//!
//! Both use a list with a field selector, since RBAC rules with `resourceNames` allow only that, see
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

/// A watch that lasts this much longer than the server should keep it open is dead.
const WATCH_SLACK: Duration = Duration::from_secs(5);

/// The object's name and the two clients for it.
pub(super) struct NamedObject<K> {
    pub(super) name: String,
    /// Kind and name for messages, such as "Secret `snap/ca`".
    pub(super) description: String,
    /// How long the server keeps a watch open.
    pub(super) watch_timeout: Duration,
    pub(super) calls: Api<K>,
    pub(super) watches: Api<K>,
}

/// The object, if it exists, and the resource version to watch from.
pub(super) struct ObjectView<K> {
    pub(super) object: Option<K>,
    pub(super) version: String,
}

impl<K: Clone + Debug + DeserializeOwned + Send + 'static> NamedObject<K> {
    /// Lists this one name: unlike a GET, a list has a version to watch from if the object does not exist.
    pub(super) async fn read(&self) -> Result<ObjectView<K>, CallError> {
        let only = ListParams::default().fields(&self.selector());
        let list = call(format!("read the {}", self.description), self.calls.list(&only)).await?;
        Ok(ObjectView {
            object: list.items.into_iter().next(),
            version: list.metadata.resource_version.unwrap_or_default(),
        })
    }

    /// Waits until the object changes or the watch ends.
    pub(super) async fn wait_for_change(&self, version: &str) -> Result<(), CallError> {
        let what = format!("watch the {}", self.description);
        let seconds = u32::try_from(self.watch_timeout.as_secs()).unwrap_or(u32::MAX);
        let only = WatchParams::default().fields(&self.selector()).timeout(seconds);
        let events = call(what.clone(), self.watches.watch_metadata(&only, version)).await?;
        let mut events = pin!(events);
        let change = async {
            loop {
                match events.next().await {
                    Some(Ok(WatchEvent::Bookmark(_))) => {}
                    // An error event is usually an expired version. The next read has a fresh one.
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
