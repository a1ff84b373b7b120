//! Rules of what an engine starts, and of what it keeps.

use std::collections::HashMap;
use std::time::Duration;

use snapwatcher_api::checkpoint::{Checkpoint, CheckpointSpec, Phase};
use snapwatcher_api::outcome::{Outcome, Reason, RetryClass};
use snapwatcher_api::pod::OncePer;
use snapwatcher_controller::operation::{Claim, Operation, OperationId};

use super::calls::Request;
use super::facts;
use super::seen::{Attempting, Started};
use super::setup::{LONGEST_SLOT, SEND_WINDOW};
use super::time::{millis, seconds};
use super::world::World;

/// More operations on one Checkpoint within a second are a loop without a wait.
const MOST_STARTS: usize = 20;
/// So much may be left for some seconds of what is gone.
const TRANSIENT: usize = 20;
const MOST_WAKEUPS: usize = 100;
/// A wrong clock can have written a time that is farther away. Then the attempt starts after this time.
const LONGEST_RETRY_WAIT: Duration = seconds(600);

/// Reasons for which other pods at the same endpoint need not wait.
const ABOUT_ONE_POD: [Reason; 4] = [Reason::PodNotOnNode, Reason::PodForbidden, Reason::PodNotFound, Reason::TooSoon];

/// The key of an attempt, its node, its pod and container, and whether only an annotation shows it.
type TakenSlot = (String, Option<String>, Option<(String, String)>, bool);

impl World {
    /// An engine starts an operation.
    pub(super) fn check_start(&mut self, process: usize, id: OperationId, operation: &Operation) {
        let key = key_of(operation);
        self.check_loop(process, &key.clone().unwrap_or_else(|| format!("{operation:?}")));
        let of = &self.processes[process];
        if !of.leads || of.is_stopping {
            self.violate("starts without leading", || format!("{operation:?}"));
        }
        match operation {
            Operation::Claim(claim) => {
                self.check_claim(process, claim);
                let now = self.now;
                if !self.processes[process].seen.rejections.may_start(id, claim, now) {
                    self.violate("rejected claims tried again at once", || format!("{} beside another", claim.name));
                }
                if claim.attempts {
                    let subject = Some((claim.pod.uid.clone(), claim.container.clone()));
                    let key = key.clone().unwrap_or_default();
                    let (node, likely) = (claim.pod.node.as_deref().map(str::to_owned), subject.clone());
                    self.check_attempt(process, id, Attempting { key, node, subject, likely, since: self.now });
                }
            }
            Operation::Attempt(attempt) => {
                let next = attempt.checkpoint.status.as_ref().and_then(|status| status.next_attempt_time.as_ref());
                let of = &self.processes[process];
                let key = key.clone().unwrap_or_default();
                let shown_at = of.seen.attempts.get(&key).map(|shown| shown.at).unwrap_or_default();
                let is_early = next.is_some_and(|next| next.0 > of.clocks(self.now).wall);
                if is_early && self.age(shown_at) < LONGEST_RETRY_WAIT {
                    self.violate("attempt before its time", || format!("{operation:?}"));
                }
                let pod = self.processes[process].seen.pods.get(&attempt.pod.to_string());
                // All pods have this container, and it is the first.
                let container = attempt.checkpoint.spec.container.clone().unwrap_or_else(|| "app".to_owned());
                let of_pod = pod.map(|pod| (pod.facts.uid.clone(), container));
                let likely = of_pod.clone().or_else(|| facts::subject(&attempt.checkpoint));
                // Without a node the pod is only read.
                let (node, subject) = (attempt.node.clone(), of_pod.filter(|_| attempt.node.is_some()));
                self.check_attempt(process, id, Attempting { key, node, subject, likely, since: self.now });
            }
            _ => {}
        }
        let (now, seen) = (self.now, &mut self.processes[process].seen);
        if let Some(key) = key {
            seen.started.insert(id, Started { key, since: now, ..Started::default() });
        }
    }

    /// The same is started again and again while hardly any time passes.
    fn check_loop(&mut self, process: usize, what: &str) {
        let (now, seen) = (self.now, &mut self.processes[process].seen);
        seen.starts.push_back((now, what.to_owned()));
        while seen.starts.front().is_some_and(|(at, _)| now.saturating_sub(*at) > seconds(1)) {
            seen.starts.pop_front();
        }
        let count = seen.starts.iter().filter(|(_, started)| started == what).count();
        if count > MOST_STARTS {
            self.violate("loop", || format!("{count} operations within a second: {what}"));
        }
    }

    pub(super) fn check_wakeup(&mut self, process: usize) {
        let (now, seen) = (self.now, &mut self.processes[process].seen);
        seen.wakeups.push_back(now);
        while seen.wakeups.front().is_some_and(|at| now.saturating_sub(*at) > seconds(1)) {
            seen.wakeups.pop_front();
        }
        if seen.wakeups.len() > MOST_WAKEUPS {
            self.violate("loop", || "the engine wakes up again and again".to_owned());
        }
    }

    fn check_claim(&mut self, process: usize, claim: &Claim) {
        let seen = &self.processes[process].seen;
        let scopes = self.setup.scopes();
        let scope = scopes.iter().position(|scope| scope.holds(&claim.pod.name.namespace));
        if !scope.is_some_and(|scope| seen.listed.contains(&scope)) {
            self.violate("claim before the listing", || format!("{} of pod {}", claim.name, claim.pod.name));
            return;
        }
        let of_revision = CheckpointSpec::from(&claim.target).revision;
        let image = facts::image_of(&claim.pod, &claim.container);
        let named = CheckpointSpec::from(&claim.target).image;
        let is_of_pod = of_revision.as_ref().map_or(named.as_deref() == image, |of| of == claim.pod.revision());
        if !is_of_pod {
            let shown = (image.map(str::to_owned), claim.pod.revision().to_owned());
            self.violate("claim of another image or revision", || format!("{:?}, shown {shown:?}", claim.target));
            return;
        }
        let once_per = if of_revision.is_some() { OncePer::Revision } else { OncePer::Pod };
        let mut records = seen.records.values();
        let success = records.find(|(_, record)| facts::is_success_of(record, &claim.pod, &claim.container, once_per));
        if let Some((_, success)) = success {
            let success = facts::key(success);
            self.violate("claim after a success", || format!("{} although {success} succeeded", claim.name));
        }
    }

    fn check_attempt(&mut self, process: usize, id: OperationId, attempting: Attempting) {
        let of = &self.processes[process];
        if of.flags.is_suspended {
            self.violate("attempt under suspend", || attempting.key.clone());
            return;
        }
        if let Some(endpoint) = self.endpoint(attempting.node.as_deref())
            && !of.seen.is_clock_wrong
            && of.seen.closed_endpoints.get(&endpoint).is_some_and(|until| *until > self.now)
        {
            self.violate("attempt at a closed endpoint", || format!("{} at {endpoint}", attempting.key));
            return;
        }
        let wall = of.clocks(self.now).wall;
        let me = of.name();
        let own = of.seen.attempting.values();
        let mut answered = of.seen.answered.values();
        let has_second = own.clone().any(|own| own.subject.is_some() && own.subject == attempting.subject)
            || answered.any(|subject| attempting.subject.as_ref() == Some(subject));
        let own = own.map(|own| (own.key.as_str(), own.node.clone(), own.likely.clone(), false));
        let others = of.seen.records.iter().filter_map(|(key, (_, record))| {
            // What an operation works on counts by that operation.
            let is_own = of.seen.started.values().any(|own| own.key == *key);
            let (uid, node, until) = facts::slot(record)?;
            let name = record.spec.container.clone().unwrap_or_default();
            let holder = facts::attempt(record)?.holder;
            let shown_at = of.seen.attempts.get(key).map(|shown| shown.at).unwrap_or_default();
            let is_known = || {
                let pods = &of.seen.pods;
                facts::has_status(record)
                    || of.seen.can_be_of_former_leader(shown_at)
                        && pods.values().any(|pod| {
                            let image = facts::annotated_image(record);
                            let is_same = facts::image_of(&pod.facts, &name) == image.as_deref();
                            pod.facts.uid == uid
                                && pod.facts.node.as_deref() == node.as_deref()
                                && pod.facts.running
                                && is_same
                        })
            };
            let is_outdated = of.seen.written.get(key).is_some_and(|written| version(record) < *written);
            // A slot that has expired by a wrong clock is forgotten.
            let is_unclear = is_own || is_outdated || of.seen.is_clock_wrong;
            // Whatever a wrong clock has written, no slot is held for longer.
            let is_held = until > wall && self.age(shown_at) < SEND_WINDOW + LONGEST_SLOT;
            let counts = !is_unclear && holder != me && is_held && is_known();
            let resolved = || record.status.as_ref().and_then(|status| status.container.clone());
            let subject = record.spec.container.clone().or_else(resolved).map(|container| (uid, container));
            counts.then_some((key.as_str(), node, subject, !facts::has_status(record)))
        });
        let others: Vec<_> = others.collect();
        let has_second =
            has_second || others.iter().any(|(_, _, subject, _)| subject.is_some() && *subject == attempting.subject);
        let all: Vec<_> =
            own.chain(others).map(|(key, node, subject, claimed)| (key.to_owned(), node, subject, claimed)).collect();
        // Forged attempts of one container take one slot, and those of one node no more than the limit.
        let flags = of.flags;
        let mut on_node = all.clone();
        on_node.retain(|(_, node, ..)| node.is_some() && *node == attempting.node);
        let namespace = |key: &str| key.split_once('/').map(|(namespace, _)| namespace.to_owned());
        let is_own = |key: &str| namespace(key) == namespace(&attempting.key);
        let (own, others): (Vec<_>, Vec<_>) = all.iter().cloned().partition(|(key, ..)| is_own(key));
        // A namespace has half of the slots that the others leave, rounded up.
        let share = |others: usize| flags.concurrent.saturating_sub(others).div_ceil(2);
        let is_shared = of.seen.has_pods_of_several_namespaces();
        let count = |mut slots: Vec<TakenSlot>| {
            slots.sort_by(|(_, _, one, one_claimed), (_, _, other, other_claimed)| {
                (one, one_claimed).cmp(&(other, other_claimed))
            });
            slots.dedup_by(|(_, _, one, _), (_, _, other, _)| one.is_some() && one == other);
            let mut by_node: HashMap<Option<&str>, usize> = HashMap::new();
            // All of them, and those that are certain.
            let mut by_namespace: HashMap<Option<String>, (usize, usize)> = HashMap::new();
            for (key, node, _, is_claimed) in &slots {
                *by_node.entry(node.as_deref()).or_default() += usize::from(*is_claimed);
                let (all, certain) = by_namespace.entry(namespace(key)).or_default();
                (*all, *certain) = (*all + 1, *certain + usize::from(!is_claimed));
            }
            let certain = slots.iter().filter(|(.., is_claimed)| !is_claimed).count();
            let on_nodes = certain + by_node.into_values().map(|on_node| on_node.min(flags.per_node)).sum::<usize>();
            let mut by_namespace: Vec<_> = by_namespace.into_values().collect();
            by_namespace.sort_unstable();
            let in_namespaces =
                by_namespace.into_iter().rev().fold(0, |sum, (all, certain)| sum + all.min(share(sum)).max(certain));
            if is_shared { on_nodes.min(in_namespaces) } else { on_nodes }
        };
        let of_one_namespace = if is_shared { share(count(others)) } else { flags.concurrent };
        let is_over = count(all.clone()) >= flags.concurrent
            || count(on_node) >= flags.per_node
            || count(own) >= of_one_namespace;
        let text = || format!("{} at {:?} beside {all:?}, limits {flags:?}", attempting.key, attempting.node);
        if is_over {
            self.violate("budget", text);
        } else if has_second {
            self.violate("two attempts of one container", text);
        }
        self.processes[process].seen.attempting.insert(id, attempting);
    }

    fn endpoint(&self, node: Option<&str>) -> Option<String> {
        if self.setup.has_endpoint_per_node { node.map(str::to_owned) } else { Some("snaphook".to_owned()) }
    }

    /// The engine takes note of a response.
    pub(super) fn response_seen(&mut self, process: usize, id: OperationId, outcome: &Outcome) {
        let seen = &mut self.processes[process].seen;
        let Some(attempting) = seen.attempting.remove(&id) else { return };
        // After NoResponse the container has its slot for some time instead.
        let is_unanswered = matches!(outcome, Outcome::Failed { reason: Reason::NoResponse, .. });
        if let Some(subject) = attempting.subject.clone().filter(|_| !is_unanswered) {
            seen.answered.insert(id, subject);
        }
        let Some(endpoint) = self.endpoint(attempting.node.as_deref()) else { return };
        let now = self.now;
        let seen = &mut self.processes[process].seen;
        let closed = &mut seen.closed_endpoints;
        let is_about_one_namespace = matches!(outcome, Outcome::Failed { reason: Reason::NodeNotPrepared, .. }) && {
            let namespaces = seen.unprepared.entry(endpoint.clone()).or_default();
            namespaces.insert(attempting.key.split('/').next().unwrap_or_default().to_owned());
            namespaces.len() < 2
        };
        match outcome {
            // Nothing was sent.
            Outcome::Failed { reason: Reason::TooSoon, .. } => {}
            _ if is_about_one_namespace => drop(closed.remove(&endpoint)),
            Outcome::Failed { reason, retry_after, .. }
                if reason.retry_class() == RetryClass::NotTried && !ABOUT_ONE_POD.contains(reason) =>
            {
                // An attempt that started before the endpoint was closed adds nothing.
                if closed.get(&endpoint).is_none_or(|until| *until <= attempting.since) {
                    // The shortest wait, a bit shorter.
                    let wait = retry_after.unwrap_or_default().max(millis(1400)).saturating_sub(millis(1));
                    closed.insert(endpoint, now + wait);
                }
            }
            _ => {
                closed.remove(&endpoint);
                seen.unprepared.remove(&endpoint);
            }
        }
    }

    /// Since when an operation writes its attempt.
    pub(super) fn check_write_started(&mut self, process: usize, id: OperationId, request: &Request) {
        let (Request::Create(object) | Request::ReplaceStatus(object)) = request else { return };
        if facts::phase(object) != Phase::InProgress {
            return;
        }
        let start = facts::attempt(object).and_then(|attempt| attempt.start);
        let now = self.now;
        let Some(started) = self.processes[process].seen.started.get_mut(&id) else { return };
        if started.writes_since.as_ref().is_none_or(|(known, _)| *known != start) {
            started.writes_since = Some((start, now));
        }
    }

    /// The event of a pod costs no look at each Checkpoint that names it, of which people can create any number. What is due, and
    /// what waited for a slot, is looked at too.
    pub(super) fn check_looks(&mut self, process: usize, before: u64, queued: usize) {
        let of = &self.processes[process];
        let looks = of.engine.look_count() - before;
        let most = of.decisions_per_step + 2 * queued + 1;
        if looks > most as u64 {
            self.violate("looks", || format!("{looks} after the event of one pod, at most {most}"));
        }
    }

    /// What an engine keeps is bounded by what it watches and does.
    pub(super) fn check_memory(&mut self, process: usize) {
        let kept = self.processes[process].engine.kept();
        let containers = 2 * kept.pods;
        let limits = [
            ("claims", kept.claims, 2 * containers + TRANSIENT),
            ("queued", kept.queued, containers + kept.records + kept.operations + TRANSIENT),
            ("timers", kept.timers, kept.pods + containers + kept.records + kept.looks + kept.operations + TRANSIENT),
            // Of a pod, of a revision, and of the pod of an attempt.
            ("rejected", kept.rejected, 2 * containers + TRANSIENT),
            ("looks", kept.looks, 3 * kept.records + TRANSIENT),
            ("busy", kept.busy, kept.operations),
        ];
        if let Some((name, count, limit)) = limits.into_iter().find(|(_, count, limit)| count > limit) {
            self.violate("memory", || format!("{count} {name}, at most {limit}: {kept:?}"));
        }
    }

    /// When an operation has read its pod last.
    pub(super) fn age(&self, since: Duration) -> Duration {
        self.now.saturating_sub(since)
    }
}

pub(super) fn version(checkpoint: &Checkpoint) -> u64 {
    checkpoint.metadata.resource_version.as_ref().and_then(|version| version.parse().ok()).unwrap_or_default()
}

/// `namespace/name` of the Checkpoint.
fn key_of(operation: &Operation) -> Option<String> {
    match operation {
        Operation::FindWorkload { .. } => None,
        Operation::Claim(claim) => Some(format!("{}/{}", claim.pod.name.namespace, claim.name)),
        Operation::Attempt(attempt) => Some(facts::key(&attempt.checkpoint)),
        Operation::WriteUnmet { checkpoint, .. }
        | Operation::MarkInterrupted(checkpoint)
        | Operation::Cancel(checkpoint) => Some(facts::key(checkpoint)),
    }
}
