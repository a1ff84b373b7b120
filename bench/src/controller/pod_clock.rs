//! The clock of the measurements: when a watch in this process saw each pod Ready, and when SnapHook received its request.

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::{StreamExt, pin_mut};
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use kube::api::{ListParams, Request, WatchEvent, WatchParams};
use kube::core::{ObjectList, PartialObjectMeta};
use lab::snaphook::SnapHook;
use lab::webhooks::SNAP;
use serde::Deserialize;
use tokio::task::JoinSet;

use super::namespace::PODS;
use crate::load::quantile;

/// The little of a pod that has to be decoded, so that the clock needs little CPU time.
#[derive(Debug, Clone, Deserialize)]
struct ObservedPod {
    metadata: ObservedMetadata,
    #[serde(default)]
    status: ObservedStatus,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ObservedMetadata {
    #[serde(default)]
    name: String,
    resource_version: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct ObservedStatus {
    #[serde(default)]
    conditions: Vec<ObservedCondition>,
}

#[derive(Debug, Clone, Deserialize)]
struct ObservedCondition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

/// The times of all pods, by their names.
#[derive(Debug, Default)]
pub(crate) struct Times {
    ready: HashMap<String, Instant>,
    requests: HashMap<String, Instant>,
    /// What is wrong with a request that SnapHook refused.
    violation: Option<String>,
}

/// A watch that runs until it is dropped.
pub(crate) struct PodClock {
    times: Arc<Mutex<Times>>,
    watch: JoinSet<String>,
}

impl PodClock {
    /// Sees every labeled pod that becomes Ready from now on, and every request that `snaphook` receives.
    pub(crate) async fn start(client: &Client, snaphook: &SnapHook) -> Result<Self, Box<dyn Error>> {
        let times = Arc::<Mutex<Times>>::default();
        let received = Arc::clone(&times);
        snaphook.on_request(move |request| {
            let now = Instant::now();
            let mut times = lock(&received);
            match &request.violation {
                None => _ = times.requests.entry(request.subject.pod.clone()).or_insert(now),
                Some(violation) => times.violation = Some(violation.clone()),
            }
        });
        let first = Request::new(PODS).list(&ListParams::default().limit(1))?;
        let listed: ObjectList<PartialObjectMeta> = client.request(first).await?;
        let version = listed.metadata.resource_version.unwrap_or_default();
        let mut watch = JoinSet::new();
        watch.spawn(watch_pods(client.clone(), version, Arc::clone(&times)));
        Ok(Self { times, watch })
    }

    pub(crate) fn ready_count(&self) -> usize {
        lock(&self.times).ready.len()
    }

    pub(crate) fn request_count(&self) -> usize {
        lock(&self.times).requests.len()
    }

    /// Fails if the watch has ended or a request was not valid.
    pub(crate) fn check(&mut self) -> Result<(), Box<dyn Error>> {
        if let Some(violation) = lock(&self.times).violation.take() {
            return Err(format!("SnapHook refused a request: {violation}").into());
        }
        match self.watch.try_join_next() {
            None => Ok(()),
            Some(ended) => Err(format!("the watch of the measurement ended: {}", ended?).into()),
        }
    }

    /// From Ready to the request, of all pods that have both, sorted.
    pub(crate) fn latencies(&self) -> Vec<Duration> {
        lock(&self.times).latencies()
    }

    /// When each pod was Ready, by name.
    #[expect(clippy::disallowed_methods, reason = "the lab notes times of this clock")]
    pub(crate) fn ready_times(&self) -> HashMap<String, Timestamp> {
        let now = Timestamp::now();
        let at = |ready: &Instant| now.saturating_sub(SignedDuration::try_from(ready.elapsed()).unwrap_or_default());
        let times = lock(&self.times);
        times.ready.iter().filter_map(|(name, ready)| Some((name.clone(), at(ready).ok()?))).collect()
    }

    /// From the first to the last Ready pod.
    pub(crate) fn ready_span(&self) -> Duration {
        lock(&self.times).ready_span()
    }
}

impl Times {
    /// A program may see a pod before this process does. Its latency is then zero.
    fn latencies(&self) -> Vec<Duration> {
        let both = self.ready.iter().filter_map(|(name, ready)| Some((ready, self.requests.get(name)?)));
        let mut latencies: Vec<_> = both.map(|(ready, request)| request.saturating_duration_since(*ready)).collect();
        latencies.sort();
        latencies
    }

    fn ready_span(&self) -> Duration {
        let ends = self.ready.values().min().zip(self.ready.values().max());
        ends.map(|(first, last)| last.duration_since(*first)).unwrap_or_default()
    }
}

/// p50 and p99 of sorted times.
pub(crate) fn percentiles(sorted: &[Duration]) -> [Duration; 2] {
    [0.5, 0.99].map(|part| quantile(sorted, part))
}

/// Returns why the watch cannot go on.
async fn watch_pods(client: Client, mut version: String, times: Arc<Mutex<Times>>) -> String {
    loop {
        if let Err(error) = watch_once(&client, &mut version, &times).await {
            return error.to_string();
        }
    }
}

/// Watches until the API server ends the watch, which it does after some minutes.
async fn watch_once(client: &Client, version: &mut String, times: &Mutex<Times>) -> kube::Result<()> {
    let parameters = WatchParams::default().labels(&format!("{SNAP}=true"));
    let request = Request::new(PODS).watch(&parameters, version).map_err(kube::Error::BuildRequest)?;
    let events = client.request_events::<ObservedPod>(request).await?;
    pin_mut!(events);
    while let Some(event) = events.next().await {
        match event? {
            WatchEvent::Added(pod) | WatchEvent::Modified(pod) => {
                let is_ready = |condition: &ObservedCondition| condition.kind == "Ready" && condition.status == "True";
                if pod.status.conditions.iter().any(is_ready) {
                    let now = Instant::now();
                    lock(times).ready.entry(pod.metadata.name).or_insert(now);
                }
                *version = pod.metadata.resource_version;
            }
            WatchEvent::Deleted(pod) => *version = pod.metadata.resource_version,
            WatchEvent::Bookmark(bookmark) => *version = bookmark.metadata.resource_version,
            WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
        }
    }
    Ok(())
}

fn lock(times: &Mutex<Times>) -> MutexGuard<'_, Times> {
    times.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_needs_both_times_and_is_never_negative() {
        let (start, mut times) = (Instant::now(), Times::default());
        let after = |milliseconds| start + Duration::from_millis(milliseconds);
        for (name, ready, request) in [("a", 10, Some(40)), ("b", 30, Some(20)), ("c", 50, None)] {
            times.ready.insert(name.to_owned(), after(ready));
            times.requests.extend(request.map(|request| (name.to_owned(), after(request))));
        }
        assert_eq!(times.latencies(), [0, 30].map(Duration::from_millis));
        assert_eq!(times.ready_span(), Duration::from_millis(40));
    }

    #[test]
    fn no_pod_has_no_span() {
        assert_eq!(Times::default().ready_span(), Duration::ZERO);
    }

    #[test]
    fn percentiles_are_of_sorted_times() {
        let sorted: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentiles(&sorted), [101, 199].map(Duration::from_millis));
    }
}
