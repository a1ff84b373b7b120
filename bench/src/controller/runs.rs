//! The measurements with pods that become Ready: bursts, steady rates, and the times of calls.

use std::error::Error;
use std::time::Duration;

use lab::proxy::Proxy;
use lab::snaphook::{Behaviour, SnapHook};
use tokio::time::sleep;

use super::call_times::CallTimes;
use super::pod_clock::{PodClock, percentiles};
use super::results::{BurstRound, ProgramRun};
use super::testbed::Testbed;
use super::watchers::{Contestant, Watcher};

/// From the last request until the program counts as done.
const QUIET: Duration = Duration::from_secs(2);
const QUIET_LIMIT: Duration = Duration::from_secs(60);
/// From the start of a program to the first pod. The program is then idle.
const WARM_UP: Duration = Duration::from_secs(2);

/// Creates `pods` pods in one burst, and measures all that the table shows of it.
pub(crate) async fn burst(
    testbed: &mut Testbed,
    contestant: Contestant,
    pods: usize,
) -> Result<BurstRound, Box<dyn Error>> {
    testbed.wait_until_quiet().await?;
    let snaphook = SnapHook::start().await?;
    let kubeconfig = testbed.kubeconfig();
    let mut watcher = Watcher::start(contestant, &testbed.programs, &kubeconfig, &snaphook).await?;
    watcher.wait_until_watching().await?;
    sleep(WARM_UP).await;
    let mut clock = PodClock::start(&testbed.client, &snaphook).await?;
    let (api_before, cpu_before) = (testbed.api_server.read().await?, watcher.cpu_time()?);
    testbed.create_deployment(pods).await?;
    testbed.wait_for_pods(&mut clock, pods, contestant != Contestant::Without).await?;
    finish(&watcher).await?;
    let work = testbed.api_server.work_since(api_before).await?;
    let cpu_seconds = watcher.cpu_time()?.saturating_sub(cpu_before).as_secs_f64();
    watcher.stop().await?;
    testbed.clear().await?;
    let run = ProgramRun { latency: percentiles(&clock.latencies()), ready_span: clock.ready_span(), cpu_seconds };
    Ok(BurstRound { run, api_cpu_seconds: work.cpu_seconds, api_calls: work.calls })
}

/// Creates pods at a rate for some time; returns p50 and p99 from Ready to the request. SnapHook takes `snaphook_time` for
/// each request.
pub(crate) async fn steady(
    testbed: &mut Testbed,
    contestant: Contestant,
    rate: u32,
    time: Duration,
    snaphook_time: Duration,
) -> Result<[Duration; 2], Box<dyn Error>> {
    testbed.wait_until_quiet().await?;
    let snaphook = SnapHook::start().await?;
    if !snaphook_time.is_zero() {
        snaphook.answer_with(Behaviour::Delay(snaphook_time));
    }
    let kubeconfig = testbed.kubeconfig();
    let mut watcher = Watcher::start(contestant, &testbed.programs, &kubeconfig, &snaphook).await?;
    watcher.wait_until_watching().await?;
    sleep(WARM_UP).await;
    let mut clock = PodClock::start(&testbed.client, &snaphook).await?;
    let pods = usize::try_from(time.as_secs() * u64::from(rate))?;
    testbed.create_at_rate(pods, rate).await?;
    testbed.wait_for_pods(&mut clock, pods, true).await?;
    finish(&watcher).await?;
    watcher.stop().await?;
    testbed.clear().await?;
    Ok(percentiles(&clock.latencies()))
}

/// When the calls of SnapWatcher were made in a burst of `pods` pods. A proxy in front of the API server sees them.
pub(crate) async fn call_times(testbed: &mut Testbed, pods: usize) -> Result<CallTimes, Box<dyn Error>> {
    testbed.wait_until_quiet().await?;
    let snaphook = SnapHook::start().await?;
    let proxy = Proxy::start(testbed.cluster.access()).await;
    let contestant = Contestant::Snapwatcher;
    let mut watcher = Watcher::start(contestant, &testbed.programs, &proxy.kubeconfig(), &snaphook).await?;
    watcher.wait_until_watching().await?;
    let mut clock = PodClock::start(&testbed.client, &snaphook).await?;
    testbed.create_deployment(pods).await?;
    testbed.wait_for_pods(&mut clock, pods, true).await?;
    finish(&watcher).await?;
    watcher.stop().await?;
    testbed.clear().await?;
    Ok(CallTimes::of(&clock.ready_times(), &snaphook.requests(), &proxy.calls())?)
}

/// Waits until the program has written everything.
async fn finish(watcher: &Watcher) -> Result<(), Box<dyn Error>> {
    sleep(QUIET).await;
    watcher.wait_until_idle(QUIET, QUIET_LIMIT).await
}
