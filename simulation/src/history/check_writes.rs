//! Rules of what is written to Checkpoints.

use snapwatcher_api::checkpoint::{Checkpoint, Phase};
use snapwatcher_api::outcome::{Outcome, Reason};

use super::evidence::{WrittenAttempt, is_of_request};
use super::facts::{self, AttemptId};
use super::setup::{HOLDER_GRACE, LONGEST_REQUEST, SEND_WINDOW};
use super::world::World;

const INTERRUPTED: &str = "Interrupted";

impl World {
    /// A process has created a Checkpoint.
    pub(super) fn check_created(&mut self, created: &Checkpoint) {
        self.coverage.phase(None, facts::phase(created));
        if facts::phase(created) == Phase::InProgress {
            self.attempt_written(created);
        }
    }

    fn attempt_written(&mut self, checkpoint: &Checkpoint) {
        let Some(attempt) = facts::attempt(checkpoint) else { return };
        let at = self.now;
        self.evidence.attempts.entry(facts::uid(checkpoint)).or_default().push(WrittenAttempt { attempt, at });
    }

    /// A process has written a status.
    pub(super) fn check_status_written(&mut self, before: &Checkpoint, after: &Checkpoint, generation: u64) {
        let (from, to) = (facts::phase(before), facts::phase(after));
        if from != to {
            self.coverage.phase(Some(from), to);
        }
        if to == Phase::Succeeded && from != to {
            self.evidence.succeeded.insert(facts::uid(after));
            self.coverage.succeeded += 1;
        }
        let (old, new) = (facts::attempt(before), facts::attempt(after));
        let writer = self.evidence.holders.iter().find(|(_, (_, of))| *of == generation);
        let (writer, instance) =
            writer.map(|(holder, (instance, _))| (holder.clone(), instance.clone())).unwrap_or_default();
        let is_same = facts::is_same(old.as_ref(), new.as_ref());
        let is_holder = old.as_ref().is_some_and(|old| old.holder == writer);
        let reason = after.reason().unwrap_or_default().to_owned();
        let key = facts::key(after);
        if from != to && reason == Reason::ImageChanged.as_str() {
            self.coverage.event("Checkpoints whose image has changed");
        }
        let text = || format!("{key}: {from:?} {old:?} -> {to:?} {reason} {new:?}, by {writer}");
        let is_from_backup = reason == Reason::FromBackup.as_str();
        if is_from_backup && facts::has_derived_name(before) && !facts::has_original(before) {
            return self.violate("from no backup", text);
        }
        if let Some(invisible) = facts::invisible_text(after) {
            return self.violate("a text of a person in a status", || format!("{key}: {invisible:?}"));
        }
        if facts::number(after) < facts::number(before) {
            return self.violate("attempt numbers only grow", text);
        }
        if to == Phase::InProgress && !is_same {
            if from != Phase::Pending || facts::number(after) != facts::number(before) + 1 {
                return self.violate("an attempt begins in Pending", text);
            }
            return self.attempt_written(after);
        }
        let is_unchanged = before.status == after.status;
        match from {
            Phase::Succeeded | Phase::Failed if !is_unchanged => return self.violate("a final status stays", text),
            Phase::Unknown if !is_same || !is_holder || before.reason() != Some(INTERRUPTED) => {
                return self.violate("only an interrupted attempt gets its truth", text);
            }
            Phase::Pending if reason == INTERRUPTED && before.reason() != Some(INTERRUPTED) => {
                return self.violate("interrupted without an attempt", text);
            }
            // People can write any number of attempts into annotations. Beyond the limit of a namespace they are not waited for.
            Phase::InProgress if reason == Reason::TooManyCheckpoints.as_str() && !facts::has_status(before) => {
                return self.coverage.event("attempts in annotations that were ended beyond a limit");
            }
            Phase::InProgress if to != Phase::InProgress && !is_holder => {
                if reason != INTERRUPTED {
                    return self.violate("outcome by another process", text);
                }
                if let Some(old) = &old
                    && !self.may_interrupt(&facts::uid(before), old, &instance)
                {
                    return self.violate("interrupted too early", text);
                }
            }
            _ => {}
        }
        self.check_outcome(before, after, &text());
    }

    /// Whether the holder of an attempt may be taken to be gone.
    fn may_interrupt(&self, uid: &str, attempt: &AttemptId, instance: &str) -> bool {
        let Some((of, generation)) = self.evidence.holders.get(&attempt.holder) else {
            return true; // A forged holder.
        };
        if of == instance {
            return self.evidence.killed.contains(generation);
        }
        let attempts = self.evidence.attempts.get(uid).map(Vec::as_slice).unwrap_or_default();
        let written = attempts.iter().find(|written| facts::is_same(Some(&written.attempt), Some(attempt)));
        written.is_none_or(|written| {
            self.age(written.at) + super::time::millis(1) >= SEND_WINDOW + LONGEST_REQUEST + HOLDER_GRACE
        })
    }

    /// What is written of a request is what the process got.
    fn check_outcome(&mut self, before: &Checkpoint, after: &Checkpoint, text: &str) {
        let reason = after.reason().unwrap_or_default();
        let requests =
            self.evidence.requests.iter().filter(|request| request.record == facts::uid(after) && request.is_sent);
        let attempt = facts::attempt(after);
        let was_sent = requests.clone().next().is_some();
        let of_attempt: Vec<_> =
            requests.filter(|request| facts::is_same(Some(&request.attempt), attempt.as_ref())).collect();
        let delivered = of_attempt.last().and_then(|request| request.delivered.clone());
        let is_changed = before.reason() != after.reason() || facts::phase(before) != facts::phase(after);
        if !is_changed || facts::phase(after) == Phase::InProgress {
            return;
        }
        let is_true = match Reason::named(reason) {
            None => reason != "Succeeded" || matches!(delivered, Some(Outcome::Succeeded(_))),
            Some(Reason::NotSent) => facts::phase(after) == Phase::Pending && of_attempt.is_empty(),
            // A made-up attempt leaves its number in the status.
            Some(Reason::TooManyCheckpoints) => !was_sent || before.reason() == Some(INTERRUPTED),
            Some(Reason::FromBackup) => of_attempt.is_empty() && facts::attempt(after).is_none(),
            Some(named) if is_of_request(named) => {
                matches!(&delivered, Some(Outcome::Failed { reason, .. }) if *reason == named)
            }
            Some(_) => true,
        };
        if !is_true {
            self.violate("false outcome", || format!("{text}, delivered {delivered:?}"));
        }
    }
}
