//! The engine: the one owner of pods, Checkpoints, slots, endpoints and timers, while this replica leads.
//!
//! [`Engine::on`] takes one input and returns what is to be done. It does no I/O and reads no clock, so that a
//! simulation can run it. The way of a pod: [`pod_table`], then `claims`, then `attempts`; what became of
//! them is in `claim_results` and `operation_results`.

mod api_outage;
mod attempts;
mod candidates;
mod circuit_breaker;
mod claim_results;
mod claims;
mod endpoint_breakers;
mod kept;
mod look_passes;
mod looks;
mod message;
mod operation_results;
mod pod_action;
mod pod_entry;
mod pod_table;
mod prepared_claim;
mod record_key;
mod record_subject;
mod record_table;
mod records;
mod rejected_claims;
mod rejected_table;
mod revision_index;
mod shared_facts;
mod slot_share;
mod slots;
mod state;
mod timers;
mod unfinished_records;
mod unprepared_nodes;
mod work_queue;

use std::collections::HashSet;
use std::time::Duration;

use snapwatcher_api::pod::PodName;

use crate::operation::{Operation, OperationId};
use claims::MAX_CLAIMS;
use endpoint_breakers::Permit;
use look_passes::Looks;
use pod_action::{ContainerKey, PodAction};
use pod_table::PodTable;
use record_key::RecordKey;
use record_table::RecordTable;
use rejected_table::RejectedClaims;
use state::{Reported, Running, Task};
use timers::{Timer, Timers};

pub(crate) use circuit_breaker::EndpointSignal;
pub use kept::Kept;
pub use message::{ClaimReport, Effect, Input, Now, Report};
pub use slots::ConcurrencyLimits;
pub use state::{Engine, EngineSettings};

/// The engine wakes up at least this often.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

impl Engine {
    /// Takes one input, and returns what is to be done.
    pub fn on(&mut self, input: Input, now: Now) -> Vec<Effect> {
        match input {
            Input::Leads(leads) => self.lead(leads, now),
            Input::Stop => self.is_stopping = true,
            Input::Pods { scope, event } => {
                let actions = self.pods.apply(scope, *event, now);
                self.take(actions, now);
                self.pods_listed(scope, now);
            }
            Input::Checkpoints { scope, event } => self.checkpoint_event(scope, *event, now),
            Input::Progress { id, progress } => self.progress(id, progress, now),
            Input::Finished { id, result } => self.finished(id, result, now),
            Input::Retained => self.schedule_retention(now),
            Input::Wakeup => self.requeue_blocked(),
        }
        for _ in 0..self.settings.decisions_per_step {
            let Some(timer) = self.timers.pop(now.boot) else { break };
            self.due(timer, now);
        }
        self.slots.share(self.pods.has_several_namespaces());
        let has_expired = self.slots.drop_expired(self.last_step.boot, now);
        // What people do with other Checkpoints is no reason to try again what waits for a slot.
        if self.slots.take_changed() || has_expired {
            self.requeue_blocked();
        }
        self.last_step = now;
        self.start_work(now);
        self.report_numbers(now);
        std::mem::take(&mut self.effects)
    }

    /// When [`Self::on`] is to be called with [`Input::Wakeup`], if nothing else happens before.
    pub fn next_wakeup(&mut self, now: Now) -> Duration {
        if self.undecided_claims > 0 {
            return Duration::ZERO;
        }
        let longest = self.settings.operations.policy.longest_wait;
        let has_waiting = !self.queue.is_empty() || !self.blocked.is_empty();
        let has_claims = !self.claims.is_empty() || !self.unattempted.is_empty();
        // What has become due since the last step is due now.
        let slot = self.slots.next_expiry(self.last_step.boot);
        let probe = self.breakers.next_probe(self.last_step.boot);
        let outage = self.outage.map(|outage| outage.until).filter(|until| *until > self.last_step.boot);
        let outage = outage.filter(|_| has_waiting || has_claims);
        let of_waiting = [slot, probe].into_iter().flatten().filter(|_| has_waiting);
        let others = [outage, self.timers.next(), self.breakers.next_expiry(longest, self.last_step.boot)];
        let next = of_waiting.chain(others.into_iter().flatten()).min();
        next.map_or(LONGEST_SLEEP, |at| at.saturating_sub(now.boot).min(LONGEST_SLEEP))
    }

    /// Whether claims create Checkpoints.
    pub fn creates_checkpoints(&self) -> bool {
        self.settings.backend.is_some()
    }

    /// Whether no operation runs.
    pub fn is_idle(&self) -> bool {
        self.operations.is_empty()
    }

    /// What is known of pods and Checkpoints belongs to one period of leadership. Operations are finished in any case.
    fn lead(&mut self, leads: bool, now: Now) {
        self.leads = leads;
        self.pods = PodTable::new(self.settings.revision_labels.clone());
        self.records = RecordTable::new(self.settings.max_manual_checkpoints);
        self.looks = Looks::default();
        self.rejected = RejectedClaims::default();
        let busy = &self.busy;
        self.slots.forget_checkpoints(|key| busy.contains_key(key));
        self.queue.clear();
        self.blocked.clear();
        self.claims.clear();
        self.unlisted.clear();
        self.prepared.clear();
        self.unattempted.clear();
        // The end of one that has created its Checkpoint concerns no other container.
        let is_undecided = |running: &&Running| matches!(&running.task, Task::Claim(task) if !task.is_claimed);
        let claims = self.operations.values().filter(is_undecided);
        let claimed: HashSet<&RecordKey> = claims.filter_map(|running| running.record.as_ref()).collect();
        self.claiming.retain(|key, followers| {
            followers.clear();
            claimed.contains(key)
        });
        self.written.clear();
        self.ended.clear();
        self.timers = Timers::default();
        self.stale_slots_expire_at = now.boot + self.settings.longest_slot_held();
        if leads {
            self.schedule_retention(now);
        }
    }

    fn schedule_retention(&mut self, now: Now) {
        if self.leads && self.settings.backend.is_some() {
            self.timers.set(Timer::Retention, now.boot + self.settings.retention_interval);
        }
    }

    fn due(&mut self, timer: Timer, now: Now) {
        match timer {
            Timer::Pod(pod) => {
                let actions = self.pods.recheck(&pod, now);
                self.take(actions, now);
            }
            Timer::Record(key) => {
                self.forget_unshown(&key);
                self.look_at(&key, now);
            }
            Timer::Rejected(namespace) => self.retry_rejected(namespace, now),
            Timer::Look(subject) => self.look_at_next(subject, now),
            Timer::Claim(key) => self.claim_without_attempt(&key, now),
            Timer::Retention => {
                let known_pods = self.pods.uids();
                self.effects.push(Effect::Retain { known_pods });
            }
        }
    }

    /// Does what follows from an event of a pod.
    fn take(&mut self, actions: Vec<PodAction>, now: Now) {
        for action in actions {
            match action {
                PodAction::Seen(pod) => {
                    // An attempt in an annotation counts now. After the first listing, all are looked at together, unless
                    // attempts have not waited for it.
                    if self.pods.is_newcomer(&pod.name) || now.boot >= self.stale_slots_expire_at {
                        self.pod_changed(&pod.name, pod.revision(), now);
                    }
                    self.report(Report::PodSeen(pod));
                }
                PodAction::Claim(key) => self.claims.push_back(key),
                PodAction::Changed { pod, revision } => {
                    self.forget_gone_pod(&pod);
                    self.pod_changed(&pod, &revision, now);
                }
                PodAction::Recheck { pod, at } => self.timers.set(Timer::Pod(pod), at),
                PodAction::Blocked { pod, cause } => self.report(Report::PodBlocked { pod, cause }),
                PodAction::Unblocked(pod) => self.report(Report::PodUnblocked(pod)),
            }
        }
    }

    /// Keeps nothing of a pod that is gone, or that another one has replaced.
    fn forget_gone_pod(&mut self, pod: &PodName) {
        let uid = self.pods.get(pod).map(|entry| entry.pod.uid.clone());
        if uid.is_none() {
            self.timers.cancel(&Timer::Pod(pod.clone()));
        }
        let of_pod = self.unlisted.range(ContainerKey::first_of(pod)..).take_while(|key| key.pod == *pod);
        let gone: Vec<_> = of_pod.filter(|key| Some(&key.uid) != uid.as_ref()).cloned().collect();
        for key in gone {
            self.unlisted.remove(&key);
        }
        self.rejected.forget_pod(pod, uid.as_ref());
        // In an outage, claims can wait for longer than their pods exist.
        if self.outage.is_some() {
            self.drop_claims(|key| key.pod == *pod && Some(&key.uid) != uid.as_ref());
        }
    }

    /// Whether attempts may start, apart from slots and circuit breakers.
    fn may_attempt(&self, now: Now) -> bool {
        self.leads
            && !self.is_stopping
            && !self.settings.is_suspended
            && !self.is_outage(now)
            && self.all_are_listed(now)
    }

    /// Until every scope is listed, slots that an earlier leader took there are not known. A scope that cannot be listed
    /// delays the others for only as long as such a slot can count.
    fn all_are_listed(&self, now: Now) -> bool {
        self.are_listed() || now.boot >= self.stale_slots_expire_at
    }

    /// Whether the first listing of every scope is complete.
    fn are_listed(&self) -> bool {
        (0..self.settings.scopes.len()).all(|scope| self.records.is_listed(scope) && self.pods.is_listed(scope))
    }

    fn start_work(&mut self, now: Now) {
        self.undecided_claims = 0;
        if !self.leads || self.is_stopping {
            return;
        }
        let mut decisions = self.settings.decisions_per_step;
        loop {
            self.start_claims(&mut decisions, now);
            if self.may_attempt(now) {
                while self.start_next(now) {}
            }
            let is_busy = self.running_claims() >= MAX_CLAIMS || self.is_outage(now);
            if decisions == 0 {
                self.undecided_claims = if is_busy { 0 } else { self.claims.len() + self.unattempted.len() };
                return;
            }
            // What starts can give way to other claims.
            if is_busy || self.claims.is_empty() {
                return;
            }
        }
    }

    fn start(&mut self, task: Task, operation: Operation, record: Option<RecordKey>, permit: Permit) {
        self.last_operation += 1;
        let id = OperationId(self.last_operation);
        // A Checkpoint that was deleted during its attempt is created again beside it, and waits for its end.
        if let Some(record) = &record {
            self.busy.entry(record.clone()).or_insert(id);
        }
        self.operations.insert(id, Running { task, record, permit });
        self.effects.push(Effect::Start(id, operation));
    }

    fn report(&mut self, report: Report) {
        self.effects.push(Effect::Report(Box::new(report)));
    }

    fn requeue_blocked(&mut self) {
        for (item, node) in std::mem::take(&mut self.blocked) {
            self.queue.push(item, node);
        }
    }

    fn report_numbers(&mut self, now: Now) {
        let longest = self.settings.operations.policy.longest_wait;
        let (pods, queued) = (self.pods.len(), self.queue.attempts());
        let breakers = self.breakers.open_count(longest, now.boot);
        if pods != self.reported.pods {
            self.report(Report::PodsWatched(pods));
        }
        if queued != self.reported.queued {
            self.report(Report::AttemptsQueued(queued));
        }
        if breakers != self.reported.breakers {
            self.report(Report::BreakersOpen(breakers));
        }
        self.reported = Reported { pods, queued, breakers };
        // An attempt under way may have failed the check for another reason.
        self.had_open_breaker |= breakers > 0;
        if self.had_open_breaker && breakers == 0 && self.operations.is_empty() {
            self.had_open_breaker = false;
            self.report(Report::EndpointsReachable);
        }
    }

    fn endpoint<'n>(&'n self, node: Option<&'n str>) -> Option<&'n str> {
        self.settings.backend.as_ref().and_then(|backend| backend.endpoint(node))
    }
}

#[cfg(test)]
mod tests;
