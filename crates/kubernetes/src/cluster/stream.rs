//! A watch that goes on for ever: it relists when it must, backs off when the server is away, and skips what it can't
//! decode.
//!
//! kube's watcher resumes by itself after most faults. Two it does not survive: HTTP 410 answered to the watch request
//! is repeated for ever with the same version, and one undecodable object fails a whole listing. The first is cured by
//! dropping the stream and making a new one, the second by `DeserializeGuard`. And it resumes without a word: where
//! nothing happens to the objects, only the answer to the watch request shows that a fault is over.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use backon::ExponentialBackoff;
use futures::{Stream, StreamExt, stream};
use http::Request;
use kube::client::Body;
use kube::core::{DeserializeGuard, NamespaceResourceScope, Resource};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use serde::de::DeserializeOwned;

/// The shortest and the longest wait after a fault, each up to doubled by chance. Short enough for two in a row within
/// the 30 s after the API server's return.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Which namespaces are watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    All,
    Namespace(String),
}

impl Scope {
    /// One scope for each namespace, or the one of all when none is named.
    pub fn of(namespaces: &[String]) -> Vec<Self> {
        if namespaces.is_empty() { vec![Self::All] } else { namespaces.iter().cloned().map(Self::Namespace).collect() }
    }

    /// Whether objects of that namespace are watched.
    pub fn holds(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Namespace(name) => name == namespace,
        }
    }

    pub fn api<K>(&self, client: &Client) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        match self {
            Self::All => Api::all(client.clone()),
            Self::Namespace(name) => Api::namespaced(client.clone(), name),
        }
    }
}

/// What went wrong on a watch; it goes on by itself after each of them.
#[derive(Debug, thiserror::Error)]
pub enum WatchFault {
    /// The watch or its listing failed and is tried again after a wait.
    #[error("watch interrupted")]
    Interrupted { source: watcher::Error },
    /// One object was skipped.
    #[error("skipped `{name}`, which can't be decoded: {error}")]
    Undecodable { name: String, error: String },
}

/// Watches objects, page by page at first; `timeout` is how long the server keeps a watch open. Items are kube's events,
/// with what [`Event::Init`] and [`Event::InitDone`] promise, and faults for the caller to tell and count. `stands` is
/// called each time a watch was begun: whatever fault there was before is over.
pub fn watch<K, F>(
    client: &Client,
    scope: &Scope,
    timeout: Duration,
    config: watcher::Config,
    stands: F,
) -> impl Stream<Item = Result<Event<K>, WatchFault>> + Send + use<K, F>
where
    F: Fn() + Send + Sync + 'static,
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let config = config.timeout(u32::try_from(timeout.as_secs()).unwrap_or(u32::MAX)).page_size(500);
    let api: Api<DeserializeGuard<K>> = scope.api(&telling(client, stands));
    let begin = move || watcher(api.clone(), config.clone()).boxed();
    let first = (begin(), waits(), None);
    stream::unfold((first, begin), |((mut events, mut waits_left, due), begin)| async move {
        if let Some(wait) = due {
            tokio::time::sleep(wait).await;
        }
        loop {
            match events.next().await {
                Some(Ok(event)) => {
                    let Some(item) = decoded(event) else { continue };
                    return Some((item, ((events, waits(), None), begin)));
                }
                Some(Err(source)) => {
                    if is_gone(&source) {
                        events = begin();
                    }
                    if is_too_old(&source) {
                        // The server is there: what it was away before has no part in this wait.
                        waits_left = waits();
                    }
                    let due = waits_left.next().or(Some(LONGEST_WAIT));
                    return Some((Err(WatchFault::Interrupted { source }), ((events, waits_left, due), begin)));
                }
                None => events = begin(),
            }
        }
    })
}

/// A client that says when a watch was begun.
fn telling(client: &Client, stands: impl Fn() + Send + Sync + 'static) -> Client {
    let (inner, stands) = (client.clone(), Arc::new(stands));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, stands) = (inner.clone(), Arc::clone(&stands));
        async move {
            let is_watch = is_watch(&request);
            let answer = client.send(request).await?;
            if is_watch && answer.status().is_success() {
                stands();
            }
            Ok::<_, kube::Error>(answer)
        }
    });
    Client::new(service, client.default_namespace())
}

fn is_watch(request: &Request<Body>) -> bool {
    request.uri().query().is_some_and(|query| query.split('&').any(|parameter| parameter == "watch=true"))
}

fn waits() -> ExponentialBackoff {
    super::waits(FIRST_WAIT, LONGEST_WAIT)
}

/// The version to resume from is too old, as answered to the watch request itself.
fn is_gone(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchStartFailed(kube::Error::Api(status)) if status.code == 410)
}

/// The same, answered to the request or told by an event, after which the watcher lists again.
fn is_too_old(error: &watcher::Error) -> bool {
    is_gone(error) || matches!(error, watcher::Error::WatchError(status) if status.code == 410)
}

/// Unwraps the guard. An undecodable object that was deleted needs no word.
fn decoded<K>(event: Event<DeserializeGuard<K>>) -> Option<Result<Event<K>, WatchFault>> {
    let guarded = |guard: DeserializeGuard<K>, wrap: fn(K) -> Event<K>| match guard.0 {
        Ok(object) => Ok(wrap(object)),
        Err(invalid) => {
            let namespace = invalid.metadata.namespace.unwrap_or_default();
            let name = format!("{namespace}/{}", invalid.metadata.name.unwrap_or_default());
            Err(WatchFault::Undecodable { name, error: invalid.error })
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
