//! Rules of requests: when one is decided, and when it leaves.

use snapwatcher_api::checkpoint::{Checkpoint, Phase};
use snapwatcher_api::eligibility::{self, Choice};
use snapwatcher_backends::backend::CheckpointRequest;
use snapwatcher_controller::operation::OperationId;

use super::calls::AnswerSlot;
use super::evidence::RequestEntry;
use super::facts;
use super::seen::Started;
use super::setup::SEND_WINDOW;
use super::time::seconds;
use super::world::{Unsent, World};

/// How old the live read of a pod may be when the request leaves: a look-up of the workload, then the send window.
const OLDEST_READ: std::time::Duration = seconds(30);

impl World {
    /// A process has decided to send a request.
    pub(super) fn decided(&mut self, process: usize, id: OperationId, request: CheckpointRequest, answer: AnswerSlot) {
        let started = self.processes[process].seen.started.get(&id).cloned().unwrap_or_default();
        let Some(requested) = started.requested.clone() else {
            return self.violate("request without a report", || format!("#{} {request:?}", id.0));
        };
        let Some(attempt) = facts::attempt(&requested) else {
            return self.violate("request without an attempt", || facts::key(&requested));
        };
        self.check_decision(process, &requested, &request, &started);
        let status = requested.status.clone().unwrap_or_default();
        let pod = status.pod.clone().and_then(|pod| pod.uid).unwrap_or_default();
        let was_paused = !self.is_healed && self.setup.faults > 0 && self.chance(3);
        let number = self.evidence.requests.len();
        self.evidence.requests.push(RequestEntry {
            record: facts::uid(&requested),
            attempt,
            pod,
            container: request.container,
            generation: self.processes[process].generation,
            is_sent: false,
            was_paused,
            result: None,
            has_effect: false,
            delivered: None,
        });
        if was_paused {
            self.note_of(process, || format!("#{} is paused between its last check and the send", id.0));
            self.unsent.push(Unsent { number, operation: id, answer });
            self.pause(process);
            if self.random.bool() {
                self.take_over();
            }
        } else {
            self.send(number, process, id, answer);
        }
    }

    fn check_decision(
        &mut self,
        process: usize,
        requested: &Checkpoint,
        request: &CheckpointRequest,
        started: &Started,
    ) {
        let key = facts::key(requested);
        let attempt = facts::attempt(requested);
        let stored = self.find(requested);
        match &stored {
            None => self.coverage.event("requests of deleted Checkpoints"),
            Some(stored) => {
                let is_written = facts::is_same(facts::attempt(stored).as_ref(), attempt.as_ref());
                if facts::phase(stored) != Phase::InProgress || !is_written {
                    let phase = facts::phase(stored);
                    return self.violate("request without its written attempt", || {
                        format!("{key}: {attempt:?}, but it is {phase:?} with {:?}", facts::attempt(stored))
                    });
                }
            }
        }
        let status = requested.status.clone().unwrap_or_default();
        let pod = status.pod.clone().unwrap_or_default();
        let of = &self.processes[process];
        let (wall, window) =
            (of.clocks(self.now).wall, started.writes_since.as_ref().map(|(_, since)| self.age(*since)));
        if of.flags.is_suspended {
            return self.violate("request under suspend", || key);
        }
        if status.deadline.as_ref().is_none_or(|deadline| deadline.0 <= wall) {
            return self.violate("request after the deadline", || format!("{key}: {:?}", status.deadline));
        }
        if window.is_none_or(|window| window > SEND_WINDOW) {
            return self.violate("request after the send window", || format!("{key}: {window:?}"));
        }
        if pod.uid.as_ref().is_some_and(|uid| status.tried_pods.contains(uid)) {
            return self.violate("request for a tried pod", || format!("{key}: {:?}", pod.uid));
        }
        let Some((live, read_at)) = &started.live_read else {
            return self.violate("request without a live read", || key);
        };
        let age = self.age(*read_at);
        if age > OLDEST_READ && !started.was_paused {
            return self.violate("request after an old live read", || format!("{key}: {age:?}"));
        }
        let Some(target) = facts::target(requested) else {
            return self.violate("request of an invalid spec", || key);
        };
        let image = facts::image_of(live, &request.container).map(str::to_owned);
        if requested.spec.image.is_some() && requested.spec.image != image || status.image != image {
            let text = format!("{key}: {:?}, status {:?}, read {image:?}", requested.spec.image, status.image);
            return self.violate("request for another image", || text);
        }
        let shown = self.processes[process].seen.pods.get(&live.name.to_string());
        let shown = shown.filter(|shown| shown.facts.uid == live.uid);
        if shown.is_some_and(|shown| shown.is_outdated(live, &request.container, started.since)) {
            return self.violate("request before the restart with a new image", || key);
        }
        if requested.spec.revision.as_ref().is_some_and(|revision| revision != live.revision()) {
            let text = format!("{key}: {:?}, read {}", requested.spec.revision, live.revision());
            return self.violate("request for another revision", || text);
        }
        let named = requested.spec.pod.as_ref().and_then(|pod| pod.uid.as_ref());
        if named.is_some_and(|uid| *uid != live.uid) {
            return self.violate("request for a pod of another UID", || format!("{key}: {named:?}, read {}", live.uid));
        }
        let eligible = eligibility::check(Some(live), Choice::Target(&target), wall);
        let is_same_pod = Some(&live.uid) == pod.uid.as_ref() && live.name == request.pod;
        if !is_same_pod || eligible.as_ref().is_ok_and(|containers| !containers.contains(&request.container)) {
            return self
                .violate("request for another pod than was read", || format!("{key}: {pod:?}, read {}", live.uid));
        }
        if let Err(cause) = eligible {
            return self.violate("request for a pod that is not eligible", || format!("{key}: {cause:?}"));
        }
        if Some(request.node.as_str()) != live.node.as_deref() {
            self.violate("request to another node", || format!("{key}: {}, read {:?}", request.node, live.node));
        }
    }

    /// The stored version of the same Checkpoint.
    pub(super) fn find(&self, checkpoint: &Checkpoint) -> Option<std::sync::Arc<Checkpoint>> {
        let metadata = &checkpoint.metadata;
        let (namespace, name) = (metadata.namespace.as_deref()?, metadata.name.as_deref()?);
        self.server.checkpoint(namespace, name).ok().filter(|stored| stored.metadata.uid == metadata.uid)
    }

    /// A request leaves.
    pub(super) fn check_send(&mut self, number: usize) {
        let entry = self.evidence.requests[number].clone();
        let of_record = |other: &&RequestEntry| other.is_sent && other.record == entry.record;
        let earlier: Vec<_> = self.evidence.requests[..number].iter().filter(of_record).cloned().collect();
        let later: Vec<_> = self.evidence.requests[number..].iter().filter(of_record).cloned().collect();
        if earlier.iter().chain(&later).any(|other| facts::is_same(Some(&other.attempt), Some(&entry.attempt))) {
            return self.violate("doubled", || format!("two requests for one written attempt: {entry:?}"));
        }
        if self.evidence.succeeded.contains(&entry.record) {
            if entry.was_paused {
                self.coverage.repeated_after_pause += 1;
                return;
            }
            return self.violate("request after success", || format!("{entry:?}"));
        }
        let keeps = self.setup.keeps_unknown;
        let is_open = |other: &&RequestEntry| {
            let same_pod = other.pod == entry.pod && other.container == entry.container;
            same_pod && !other.is_known_to_have_failed()
        };
        if keeps && let Some(open) = earlier.iter().chain(&later).find(is_open) {
            self.violate("repeated under keep", || format!("{entry:?} after {open:?}"));
        }
    }
}
