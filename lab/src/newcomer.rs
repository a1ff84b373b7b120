//! Somebody who connects anew to each replica all the time, as an API server does that has no connection yet.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::caller::Caller;
use crate::namespace::{Namespace, must};
use crate::snapwatcher::Snapwatcher;

const PAUSE: Duration = Duration::from_millis(250);
/// A bundle that is older than wanted by more says nothing: this machine was busy.
const SLACK: Duration = Duration::from_millis(500);

/// Goes on until a replica is not trusted, and returns what was wrong. Each connection is verified by the bundle that
/// stood in the configuration `lag` ago: an API server hears of a change late.
pub async fn refused(ns: &Namespace, replicas: &[Arc<Snapwatcher>], lag: Duration) -> String {
    let mut reads: VecDeque<(Instant, Vec<Caller>)> = VecDeque::new();
    loop {
        let (read, mut callers) = (Instant::now(), Vec::new());
        for replica in replicas {
            callers.push(must("read the bundle", Caller::of(ns, replica).await));
        }
        reads.push_back((read, callers));
        while reads.front().is_some_and(|(read, _)| read.elapsed() >= lag) {
            let Some((read, callers)) = reads.pop_front() else { break };
            for caller in callers {
                let answer = caller.slowest_of(1, ns.name(), &["/mutate"]).await;
                if let Err(error) = answer
                    && read.elapsed() <= lag + SLACK
                {
                    return error;
                }
            }
        }
        sleep(PAUSE).await;
    }
}
