//! The memory of a program: idle, with Ready pods, with pods that it only watches, and with finished records.

use std::error::Error;
use std::time::{Duration, Instant};

use lab::proxy::{Fault, Proxy, Verb, When};
use lab::snaphook::SnapHook;
use tokio::time::sleep;

use super::pod_clock::PodClock;
use super::records::create_records;
use super::results::{MemoryRow, MemoryState};
use super::testbed::Testbed;
use super::watchers::{Contestant, Watcher};
use crate::process_usage::Memory;

const POLL: Duration = Duration::from_millis(50);
/// An allocator gives memory back some seconds after its last use.
const QUIET: Duration = Duration::from_secs(12);
const QUIET_LIMIT: Duration = Duration::from_secs(180);
const RELISTS: usize = 10;
/// A listing of 100,000 objects takes minutes on a busy machine.
const LISTING_LIMIT: Duration = Duration::from_secs(600);
const PODS: &str = "pods";
const CHECKPOINTS: &str = "checkpoints";
const BOTH: [Contestant; 2] = [Contestant::Snapwatcher, Contestant::ControllerRuntime];

/// Without any pod.
pub(crate) async fn idle(testbed: &Testbed) -> Result<MemoryRow, Box<dyn Error>> {
    let mut row = MemoryRow::new(MemoryState::Idle);
    for contestant in BOTH {
        row.set(contestant, after_start(testbed, contestant, &SnapHook::start().await?).await?);
    }
    Ok(row)
}

/// A start at which `pods` pods are Ready: at work, after it, and for SnapWatcher after another start with nothing to do.
pub(crate) async fn ready(testbed: &mut Testbed, pods: usize) -> Result<Vec<MemoryRow>, Box<dyn Error>> {
    let mut at_work = MemoryRow::new(MemoryState::ReadyAtWork(pods));
    let mut after = MemoryRow::new(MemoryState::ReadyAfterWork(pods));
    let mut restarted = MemoryRow::new(MemoryState::ReadyAfterRestart(pods));
    {
        let snaphook = SnapHook::start().await?;
        let mut clock = PodClock::start(&testbed.client, &snaphook).await?;
        testbed.create_deployment(pods).await?;
        testbed.wait_for_pods(&mut clock, pods, false).await?;
    }
    // SnapWatcher is last, so that only its Checkpoints exist for its restart.
    for contestant in [Contestant::ControllerRuntime, Contestant::Snapwatcher] {
        let snaphook = SnapHook::start().await?;
        let watcher = Watcher::start(contestant, &testbed.programs, &testbed.kubeconfig(), &snaphook).await?;
        at_work.set(contestant, until_requested(testbed, &watcher, &snaphook, pods).await?);
        after.set(contestant, settled(&watcher).await?);
        watcher.stop().await?;
    }
    let snaphook = SnapHook::start().await?;
    let contestant = Contestant::Snapwatcher;
    restarted.set(contestant, after_start(testbed, contestant, &snaphook).await?);
    if !snaphook.requests().is_empty() {
        return Err("SnapWatcher sent requests again after a restart".into());
    }
    testbed.clear().await?;
    Ok(vec![at_work, after, restarted])
}

/// With `pods` Pending pods, of which `existing` exist already: after the first listing, and after ten more listings.
pub(crate) async fn watched(testbed: &Testbed, existing: usize, pods: usize) -> Result<Vec<MemoryRow>, Box<dyn Error>> {
    let mut first = MemoryRow::new(MemoryState::WatchedAfterListing(pods));
    let mut relisted = MemoryRow::new(MemoryState::WatchedAfterRelists(pods));
    testbed.create_pending(existing..pods).await?;
    for contestant in BOTH {
        let snaphook = SnapHook::start().await?;
        let proxy = Proxy::start(testbed.cluster.access()).await;
        let watcher = Watcher::start(contestant, &testbed.programs, &proxy.kubeconfig(), &snaphook).await?;
        wait_for_watches(&proxy, PODS, 1).await?;
        first.set(contestant, settled(&watcher).await?);
        for _ in 0..RELISTS {
            relist(&proxy).await?;
        }
        relisted.set(contestant, settled(&watcher).await?);
        watcher.stop().await?;
    }
    Ok(vec![first, relisted])
}

/// A start with `records` finished Checkpoints whose pods are gone.
pub(crate) async fn finished_records(testbed: &Testbed, records: usize) -> Result<MemoryRow, Box<dyn Error>> {
    let mut row = MemoryRow::new(MemoryState::FinishedCheckpoints(records));
    create_records(testbed, records).await?;
    let (contestant, snaphook) = (Contestant::Snapwatcher, SnapHook::start().await?);
    let proxy = Proxy::start(testbed.cluster.access()).await;
    let watcher = Watcher::start(contestant, &testbed.programs, &proxy.kubeconfig(), &snaphook).await?;
    wait_for_watches(&proxy, CHECKPOINTS, 1).await?;
    row.set(contestant, settled(&watcher).await?);
    watcher.stop().await?;
    Ok(row)
}

/// Makes the program list all pods again, as when its version of them is too old.
async fn relist(proxy: &Proxy) -> Result<(), Box<dyn Error>> {
    let watch = When::call(Verb::Watch, PODS);
    let before = proxy.count(&watch);
    // The first rule answers the request that follows the reset of the open watch.
    let expired = proxy.fail_times(1, watch.clone(), Fault::ErrorEvent(410));
    let reset = proxy.fail(watch, Fault::Reset);
    let result = wait_for_watches(proxy, PODS, before + 1).await;
    proxy.remove_rule(reset);
    proxy.remove_rule(expired);
    result?;
    wait_for_watches(proxy, PODS, before + 2).await
}

/// Waits until the program has sent this many requests to watch these objects. It sends the first one after its listing.
async fn wait_for_watches(proxy: &Proxy, objects: &str, count: usize) -> Result<(), Box<dyn Error>> {
    let (watch, deadline) = (When::call(Verb::Watch, objects), Instant::now() + LISTING_LIMIT);
    while proxy.count(&watch) < count {
        if Instant::now() > deadline {
            return Err(format!("the program did not watch {objects} within {LISTING_LIMIT:?}").into());
        }
        sleep(POLL).await;
    }
    Ok(())
}

/// The median of the memory until SnapHook has received `pods` requests, and the peak.
async fn until_requested(
    testbed: &mut Testbed,
    watcher: &Watcher,
    snaphook: &SnapHook,
    pods: usize,
) -> Result<Memory, Box<dyn Error>> {
    let usage = watcher.usage().ok_or("no program runs")?;
    let mut clock = PodClock::start(&testbed.client, snaphook).await?;
    let mut samples = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(60 + pods as u64 / 3);
    while clock.request_count() < pods {
        // Right after the start, the process is still another program that replaces itself.
        if let Ok(memory) = usage.memory()
            && clock.request_count() > 0
        {
            samples.push(memory.now);
        }
        clock.check()?;
        testbed.cluster.check_running()?;
        if Instant::now() > deadline {
            return Err(format!("SnapHook received {} of {pods} requests", clock.request_count()).into());
        }
        sleep(POLL).await;
    }
    let peak = usage.memory()?.peak;
    Ok(Memory { now: crate::results::median(samples.into_iter()), peak })
}

/// Starts a program, and returns its memory as soon as it watches and has nothing to do.
async fn after_start(testbed: &Testbed, contestant: Contestant, snaphook: &SnapHook) -> Result<Memory, Box<dyn Error>> {
    let mut watcher = Watcher::start(contestant, &testbed.programs, &testbed.kubeconfig(), snaphook).await?;
    watcher.wait_until_watching().await?;
    let memory = settled(&watcher).await?;
    watcher.stop().await?;
    Ok(memory)
}

/// The memory as soon as the program has nothing to do.
async fn settled(watcher: &Watcher) -> Result<Memory, Box<dyn Error>> {
    watcher.wait_until_idle(QUIET, QUIET_LIMIT).await?;
    Ok(watcher.usage().ok_or("no program runs")?.memory()?)
}
