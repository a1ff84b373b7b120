//! A watch without end. It lists again when it has to, backs off while the API server can't be reached, and skips objects
//! that it can't decode.
//!
//! kube's watcher resumes after most errors by itself. Two it does not survive. It repeats a watch request that was answered
//! with HTTP 410 for ever with the same version: the cure is to drop the stream and make a new one. One undecodable object
//! fails a whole listing: the cure is [`Guarded`]. And it resumes silently: if no object changes, only the answer to
//! the watch request shows that the watch works again.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use http::Request;
use kube::client::Body;
use kube::core::{NamespaceResourceScope, Resource};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use serde::de::DeserializeOwned;

use crate::backoff::Backoff;

use super::guarded::Guarded;
use super::scope::Scope;

/// The waits after errors in a row. They are short enough for two within the 30 s after the API server's return.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(750), Duration::from_millis(7500));

/// The number of objects in one page of a listing. A page is in memory as text and as objects.
const PAGE_SIZE: u32 = 100;

/// What went wrong on a watch. The watch continues after each of them.
#[derive(Debug, thiserror::Error)]
pub enum WatchStreamError {
    /// The watch or its listing failed. It is repeated after a wait.
    #[error("watch interrupted")]
    Interrupted { source: watcher::Error },
    /// One object was skipped.
    #[error("skipped `{name}`, which can't be decoded: {error}")]
    Undecodable { name: String, error: String },
}

/// Watches objects; the listing before comes in pages. `timeout` is how long the server keeps a watch open.
///
/// Items are kube's events, with what [`Event::Init`] and [`Event::InitDone`] promise, and errors for the caller to log and
/// count. `on_established` is called after each successful watch request: errors before it are over.
pub fn watch<K, F>(
    client: &Client,
    scope: &Scope,
    timeout: Duration,
    config: watcher::Config,
    on_established: F,
) -> impl Stream<Item = Result<Event<K>, WatchStreamError>> + Send + use<K, F>
where
    F: Fn() + Send + Sync + 'static,
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let config = config.timeout(u32::try_from(timeout.as_secs()).unwrap_or(u32::MAX)).page_size(PAGE_SIZE);
    let api: Api<Guarded<K>> = scope.api(&reporting_client(client, on_established));
    let start = move || watcher(api.clone(), config.clone()).boxed();
    let first = (start(), BACKOFF.retries(), None);
    stream::unfold((first, start), |((mut events, mut retries, due), start)| async move {
        if let Some(wait) = due {
            tokio::time::sleep(wait).await;
        }
        loop {
            match events.next().await {
                Some(Ok(event)) => {
                    let Some(item) = decoded(event) else { continue };
                    retries.reset();
                    return Some((item, ((events, retries, None), start)));
                }
                Some(Err(source)) => {
                    if is_gone(&source) {
                        events = start();
                    }
                    if is_too_old(&source) {
                        // The server answered, so earlier failures to reach it don't lengthen this wait.
                        retries.reset();
                    }
                    let due = Some(retries.next_wait());
                    return Some((Err(WatchStreamError::Interrupted { source }), ((events, retries, due), start)));
                }
                None => events = start(),
            }
        }
    })
}

/// A client that calls `on_established` after each successful watch request.
fn reporting_client(client: &Client, on_established: impl Fn() + Send + Sync + 'static) -> Client {
    let (inner, on_established) = (client.clone(), Arc::new(on_established));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, on_established) = (inner.clone(), Arc::clone(&on_established));
        async move {
            let is_watch = is_watch(&request);
            let response = client.send(request).await?;
            if is_watch && response.status().is_success() {
                on_established();
            }
            Ok::<_, kube::Error>(response)
        }
    });
    Client::new(service, client.default_namespace())
}

fn is_watch(request: &Request<Body>) -> bool {
    request.uri().query().is_some_and(|query| query.split('&').any(|parameter| parameter == "watch=true"))
}

/// The watch request was answered with 410: the version to resume from is too old.
fn is_gone(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchStartFailed(kube::Error::Api(status)) if status.code == 410)
}

/// The version is too old, by the answer or by an event of the watch. After the event the watcher lists again.
fn is_too_old(error: &watcher::Error) -> bool {
    is_gone(error) || matches!(error, watcher::Error::WatchError(status) if status.code == 410)
}

/// Unwraps the guard. `None`: an undecodable object was deleted, which needs no error.
fn decoded<K>(event: Event<Guarded<K>>) -> Option<Result<Event<K>, WatchStreamError>> {
    let guarded = |guard: Guarded<K>, wrap: fn(K) -> Event<K>| match guard.0 {
        Ok(object) => Ok(wrap(object)),
        Err(undecodable) => {
            let namespace = undecodable.metadata.namespace.unwrap_or_default();
            let name = format!("{namespace}/{}", undecodable.metadata.name.unwrap_or_default());
            Err(WatchStreamError::Undecodable { name, error: undecodable.error })
        }
    };
    match event {
        Event::Init => Some(Ok(Event::Init)),
        Event::InitDone => Some(Ok(Event::InitDone)),
        Event::InitApply(guard) => Some(guarded(guard, Event::InitApply)),
        Event::Apply(guard) => Some(guarded(guard, Event::Apply)),
        Event::Delete(guard) => guarded(guard, Event::Delete).ok().map(Ok),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use snapwatcher_daemon::telemetry::error_chain;

    use super::*;

    #[test]
    fn an_answer_of_the_api_server_is_shown_as_message_and_code() {
        let status = Status::failure("leases is forbidden", "Forbidden").with_code(403);
        let api = kube::Error::Api(Box::new(status.clone()));
        let listing = WatchStreamError::Interrupted { source: watcher::Error::InitialListFailed(api) };
        let expected = "watch interrupted: failed to perform initial object list: leases is forbidden (403)";
        assert_eq!(error_chain(&listing), expected);
        let watch = watcher::Error::WatchError(Box::new(status));
        assert_eq!(error_chain(&watch), "error returned by apiserver during watch: leases is forbidden (403)");
    }
}
