//! The end of a history: all faults end, and what is eligible has to be done within a bounded time.

use std::time::Duration;

use jiff::SignedDuration;
use snapwatcher_api::checkpoint::{Checkpoint, CheckpointTarget, Phase, WorkloadReference};
use snapwatcher_api::checkpoint_name::is_derived;
use snapwatcher_api::eligibility::{self, Choice};
use snapwatcher_api::outcome::{Outcome, Reason};
use snapwatcher_api::pod::{OncePer, PodFacts};

use super::facts;
use super::process::State;
use super::server_calls::workload_of;
use super::setup::{Flags, NAMESPACES};
use super::time::{seconds, true_time};
use super::world::World;

/// Within this time all has to be done. Clocks were wrong by ten minutes at most, and waits are two minutes at most.
const LIMIT: Duration = seconds(3600);

/// More inputs and calls at one moment are a loop.
const MOST_MOVES: usize = 20_000;

impl World {
    /// All faults end: one process leads, all watches and calls work, all clocks are right, and the back-end succeeds.
    pub(super) fn heal(&mut self) {
        self.random = fastrand::Rng::with_seed(self.setup.seed ^ 1);
        self.note("world", || "ALL FAULTS END".to_owned());
        self.is_healed = true;
        self.outage_until = Duration::ZERO;
        self.quota_until = [Duration::ZERO; NAMESPACES.len()];
        for namespace in NAMESPACES {
            if self.server.is_terminating(namespace) {
                let _ = self.server.remove_namespace(namespace, true_time(self.now));
                self.server.create_namespace(namespace);
            }
        }
        for pod in self.all_pods().into_iter().filter(|pod| pod.terminating) {
            let _ = self.server.remove_pod(&pod.name.namespace, &pod.name.name, true_time(self.now));
        }
        self.restart_updated();
        let leader = self.random.usize(..self.processes.len());
        for process in 0..self.processes.len() {
            self.set_skew(process, SignedDuration::ZERO);
            if self.processes[process].state == State::Paused {
                self.resume(process);
            }
            if self.processes[process].is_stopping {
                self.kill(process);
            }
            if process == leader && self.processes[process].state == State::Ended {
                let (instance, flags) =
                    (self.processes[process].holder.instance.clone(), self.processes[process].flags);
                self.boot(process, Some(instance), flags);
            }
            for watch in &mut self.processes[process].watches {
                watch.blocked_until = Duration::ZERO;
            }
        }
        for process in 0..self.processes.len() {
            if self.processes[process].is_running() && self.processes[process].leads != (process == leader) {
                self.lead(process, process == leader);
            }
        }
        self.run_until_done(leader);
        self.check_end(leader);
    }

    fn run_until_done(&mut self, leader: usize) {
        let until = self.now + LIMIT;
        let mut moves = 0;
        while self.violation.is_none() && self.now < until {
            if self.has_moves() {
                moves += 1;
                if moves > MOST_MOVES {
                    return self.violate("loop", || "it never comes to rest".to_owned());
                }
                self.go_on_fairly();
                continue;
            }
            if self.is_done(leader) {
                return;
            }
            self.advance_to_next(seconds(60));
        }
    }

    fn has_moves(&self) -> bool {
        let has_moves = |process: usize| {
            let watches = 0..self.processes[process].watches.len();
            !self.processes[process].inbox.is_empty() || watches.into_iter().any(|watch| self.has_news(process, watch))
        };
        !self.calls.is_empty() || !self.late.is_empty() || self.running().into_iter().any(has_moves)
    }

    fn go_on_fairly(&mut self) {
        while let Some(call) = self.calls.pop() {
            self.complete(&call);
        }
        while !self.late.is_empty() {
            self.take_effect_late(0);
        }
        self.drain_inboxes();
        for process in self.running() {
            for watch in 0..self.processes[process].watches.len() {
                if self.has_news(process, watch) {
                    self.deliver(process, watch, usize::MAX);
                }
            }
        }
    }

    fn is_done(&self, leader: usize) -> bool {
        let is_idle = self.running().into_iter().all(|process| self.processes[process].engine.is_idle());
        let kept = self.processes[leader].engine.kept();
        // Claims can wait for the end of a pause after an outage. A write of a Checkpoint that was deleted meanwhile is forgotten later.
        let has_work = kept.claims + kept.written > 0 || kept.queued > 0 && !self.processes[leader].flags.is_suspended;
        is_idle
            && !has_work
            && self.records().iter().all(|record| self.is_settled(record, leader))
            && self.lost(leader).is_none()
    }

    /// Whether a Checkpoint may stay as it is.
    fn is_settled(&self, record: &Checkpoint, leader: usize) -> bool {
        match facts::phase(record) {
            Phase::Succeeded | Phase::Failed | Phase::Unknown => true,
            Phase::InProgress => false,
            Phase::Pending if self.processes[leader].flags.is_suspended => true,
            Phase::Pending => record.reason() == Some(Reason::NotReady.as_str()) && !self.has_eligible_pod(record),
        }
    }

    fn has_eligible_pod(&self, record: &Checkpoint) -> bool {
        let now = true_time(self.now);
        let Some(target) = facts::target(record) else { return true };
        let tried = record.status.as_ref().map(|status| status.tried_pods.clone()).unwrap_or_default();
        let namespace = record.metadata.namespace.clone().unwrap_or_default();
        match &target {
            CheckpointTarget::Pod { name, .. } | CheckpointTarget::Manual { name, .. } => {
                let pod = self.server.pod(&namespace, name).ok();
                let waits = eligibility::check(pod.as_ref().map(|pod| &pod.facts), Choice::Target(&target), now);
                // Its containers do not run again, whatever the eligibility rule says.
                let has_ended = pod.as_ref().is_some_and(|pod| pod.facts.ended);
                has_ended || waits.map_or_else(|cause| cause.reason() != Reason::NotReady, |_| true)
            }
            CheckpointTarget::Revision { workload, revision, .. } => {
                let mut pods = self.server.labeled_pods_of(&namespace, revision);
                pods.any(|pod| {
                    workload_of(&pod.facts).uid == workload.uid
                        && !tried.contains(&pod.facts.uid)
                        && eligibility::check(Some(&pod.facts), Choice::Target(&target), now).is_ok()
                })
            }
        }
    }

    /// An eligible container without a Checkpoint.
    fn lost(&self, leader: usize) -> Option<String> {
        let now = true_time(self.now);
        let flags = self.processes[leader].flags;
        let records = self.records();
        for pod in self.all_pods() {
            for container in eligibility::check(Some(&pod), Choice::Annotated, now).unwrap_or_default() {
                let has_one = records.iter().any(|record| is_about(record, &pod, &container, flags));
                if !has_one {
                    return Some(format!("container {container} of pod {} ({}) has no Checkpoint", pod.name, pod.uid));
                }
            }
        }
        None
    }

    /// An eligible container with two Checkpoints of its image or revision.
    fn twice(&self, leader: usize) -> Option<String> {
        // Under a name that is taken by a forged one, another one is created.
        if self.setup.has_forger {
            return None;
        }
        let (now, flags, records) = (true_time(self.now), self.processes[leader].flags, self.records());
        for pod in self.all_pods() {
            for container in eligibility::check(Some(&pod), Choice::Annotated, now).unwrap_or_default() {
                let of_it = records.iter().filter(|record| is_derived_for(record, &pod, &container, flags));
                let keys: Vec<_> = of_it.map(|record| facts::key(record)).collect();
                if keys.len() > 1 {
                    return Some(format!("container {container} of pod {} has {keys:?}", pod.name));
                }
            }
        }
        None
    }

    fn check_end(&mut self, leader: usize) {
        if self.violation.is_some() {
            return;
        }
        if let Some(lost) = self.lost(leader) {
            return self.violate("lost", || lost);
        }
        if let Some(twice) = self.twice(leader) {
            return self.violate("twice", || twice);
        }
        if let Some(record) = self.records().iter().find(|record| !self.is_settled(record, leader)) {
            let text = format!(
                "{} is still {:?} {:?}: {:?}",
                facts::key(record),
                facts::phase(record),
                record.reason(),
                record.status.as_ref().map(|status| (&status.message, &status.next_attempt_time))
            );
            return self.violate("not finished", || text);
        }
        if let Some(busy) = self.running().into_iter().find(|process| !self.processes[*process].engine.is_idle()) {
            let kept = self.processes[busy].engine.kept();
            return self.violate("operations never end", || format!("{kept:?}"));
        }
        self.check_truth();
        self.check_rest(leader);
    }

    /// A process that lives has written what it got.
    fn check_truth(&mut self) {
        // With `retry`, others may begin anew after a pause.
        if !self.setup.keeps_unknown {
            return;
        }
        let records = self.records();
        let unreported = self.evidence.requests.iter().find(|request| {
            let is_success = matches!(request.delivered, Some(Outcome::Succeeded(_)));
            let lives = !self.evidence.killed.contains(&request.generation);
            let record = records.iter().find(|record| facts::uid(record) == request.record);
            let is_last = |record: &Checkpoint| facts::is_same(facts::attempt(record).as_ref(), Some(&request.attempt));
            let is_told = record.is_none_or(|record| record.phase() == Phase::Succeeded || !is_last(record));
            is_success && lives && !is_told
        });
        if unreported.is_some_and(|request| request.was_paused) {
            // Another replica has marked it Interrupted and has gone on, by the rules.
            self.coverage.event("truths that came too late");
        } else if let Some(unreported) = unreported.cloned() {
            self.violate("outcome not written", || format!("{unreported:?}"));
        }
    }

    /// When all is done, nothing is kept but what is watched.
    fn check_rest(&mut self, leader: usize) {
        let kept = self.processes[leader].engine.kept();
        let rest = [
            ("operations", kept.operations),
            ("busy", kept.busy),
            ("queued", kept.queued),
            ("claims", kept.claims),
            ("claiming", kept.claiming),
            ("written", kept.written),
            ("sent without a Checkpoint", kept.sent.saturating_sub(kept.records)),
        ];
        // A suspended process keeps what waits.
        let may_wait = self.processes[leader].flags.is_suspended;
        if let Some((name, count)) =
            rest.into_iter().find(|(name, count)| *count > 0 && !(may_wait && *name == "queued"))
        {
            self.violate("memory at the end", || format!("{count} {name}: {kept:?}"));
        }
    }
}

/// Whether the Checkpoint is the one of that container as it is now, or makes one unnecessary.
fn is_about(record: &Checkpoint, pod: &PodFacts, container: &str, flags: Flags) -> bool {
    facts::is_success_of(record, pod, container, once_per(pod, flags)) || is_derived_for(record, pod, container, flags)
}

fn once_per(pod: &PodFacts, flags: Flags) -> OncePer {
    flags.once_per.of(pod.options.as_ref().ok().and_then(|options| options.once_per))
}

/// Whether SnapWatcher creates it for that container as it is now.
fn is_derived_for(record: &Checkpoint, pod: &PodFacts, container: &str, flags: Flags) -> bool {
    let container = container.to_owned();
    let target = if once_per(pod, flags) == OncePer::Pod {
        let image = facts::image_of(pod, &container).unwrap_or_default().to_owned();
        CheckpointTarget::Pod { name: pod.name.name.to_string(), uid: pod.uid.clone(), container, image }
    } else {
        let of = workload_of(pod);
        let workload = WorkloadReference { api_version: of.api_version, kind: of.kind, name: of.name, uid: of.uid };
        CheckpointTarget::Revision { workload, revision: pod.revision().to_owned(), container }
    };
    let name = record.metadata.name.as_deref().unwrap_or_default();
    let is_in_namespace = record.metadata.namespace.as_deref() == Some(&pod.name.namespace);
    is_in_namespace && record.spec == (&target).into() && is_derived(name, &target)
}
