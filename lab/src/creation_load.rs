//! A load on the webhook: 50 labeled pods per second, created as dry runs.
//!
//! Half of them are created one at a time, which shows a short outage. The other half come in bursts. The API server
//! keeps 25 idle connections to a webhook, so each burst opens new connections, and only a handshake checks
//! certificates.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::lock::lock;
use crate::must::must;
use crate::namespace::Namespace;
use crate::objects::pod;
use crate::webhooks::MUTATED;

/// Time between two single creations.
const EVERY: Duration = Duration::from_millis(40);
/// Every 50th tick creates a burst of 50.
const BURST: usize = 50;
/// Limit of creations under way, for a machine that cannot keep up.
const MOST: usize = 2 * BURST;

/// A running load.
#[derive(Debug)]
pub struct CreationLoad {
    failed: Arc<Mutex<Vec<String>>>,
    stop: CancellationToken,
    task: JoinHandle<usize>,
}

impl CreationLoad {
    pub fn start(ns: &Namespace) -> Self {
        let (failed, stop) = (Arc::<Mutex<Vec<String>>>::default(), CancellationToken::new());
        let task = tokio::spawn(create(ns.api(), Arc::clone(&failed), stop.clone()));
        Self { failed, stop, task }
    }

    /// The errors of the creations that failed so far.
    pub fn failed(&self) -> Vec<String> {
        lock(&self.failed).clone()
    }

    /// Waits for the creations under way. Returns the number of creations and the errors of those that failed.
    pub async fn end(self) -> (usize, Vec<String>) {
        self.stop.cancel();
        let count = must("end the load", self.task.await);
        let failed = lock(&self.failed).clone();
        (count, failed)
    }
}

async fn create(pods: Api<Pod>, failed: Arc<Mutex<Vec<String>>>, stop: CancellationToken) -> usize {
    let (mut pace, mut under_way, mut count) = (interval(EVERY), JoinSet::new(), 0);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for tick in 1.. {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = pace.tick() => {}
        }
        while under_way.try_join_next().is_some() {}
        let wanted = if tick % BURST == 0 { 1 + BURST } else { 1 };
        for _ in 0..wanted.min(MOST.saturating_sub(under_way.len())) {
            count += 1;
            let (pods, failed) = (pods.clone(), Arc::clone(&failed));
            under_way.spawn(async move {
                if let Err(error) = create_one(&pods, count).await {
                    lock(&failed).push(error);
                }
            });
        }
    }
    while under_way.join_next().await.is_some() {}
    count
}

async fn create_one(pods: &Api<Pod>, number: usize) -> Result<(), String> {
    let wanted = pod(&format!("web-{number}")).labelled().build();
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let created = pods.create(&dry_run, &wanted).await.map_err(|error| error.to_string())?;
    let is_labeled = created.metadata.labels.is_some_and(|labels| labels.contains_key(MUTATED));
    if is_labeled { Ok(()) } else { Err("the API server returned the pod without the mutated label".to_owned()) }
}
