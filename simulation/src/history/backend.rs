//! The back-end: it counts each request, and answers, fails, is slow, or never answers.

use std::time::Duration;

use snapwatcher_api::outcome::{Location, Outcome, Reason, Redacted};
use snapwatcher_controller::operation::OperationId;

use super::calls::{Answer, AnswerSlot};
use super::setup::LONGEST_REQUEST;
use super::time::{millis, seconds};
use super::world::{Due, Timer, World};

/// What else than success may come, each as often as it is listed.
const FAILURES: [Reason; 20] = [
    Reason::Unreachable,
    Reason::Unreachable,
    Reason::Unauthorized,
    Reason::Busy,
    Reason::Busy,
    Reason::PodNotOnNode,
    Reason::PodForbidden,
    Reason::DiskPressure,
    Reason::TooSoon,
    Reason::NodeNotPrepared,
    Reason::CheckpointApiDisabled,
    Reason::CheckpointFailed,
    Reason::BackendFailed,
    Reason::BackendError,
    Reason::BackendError,
    Reason::Rejected,
    Reason::InvalidResponse,
    Reason::NoResponse,
    Reason::NoResponse,
    Reason::CheckpointUnsupported,
];

impl World {
    /// A request leaves.
    pub(super) fn send(&mut self, number: usize, process: usize, operation: OperationId, answer: AnswerSlot) {
        self.check_send(number);
        self.evidence.requests[number].is_sent = true;
        self.coverage.requests += 1;
        let (result, delay) = self.behaviour();
        let has_effect = match &result {
            Outcome::Succeeded(_) => true,
            Outcome::Failed { reason, .. } => {
                matches!(reason, Reason::NoResponse | Reason::InvalidResponse) && self.random.bool()
            }
        };
        self.note_of(process, || {
            format!("#{} request leaves; the back-end will answer {result} after {delay:?}", operation.0)
        });
        self.coverage.event(result_name(&result));
        let entry = &mut self.evidence.requests[number];
        entry.has_effect = has_effect;
        entry.result = Some(result);
        let (at, generation) = (self.now + delay, entry.generation);
        self.timers.push(Timer { at, process, generation, operation, answer, due: Due::Response(number) });
    }

    fn behaviour(&mut self) -> (Outcome, Duration) {
        if self.is_healed {
            return (Outcome::Succeeded(location()), millis(50));
        }
        let delay = match self.random.u8(..10) {
            0..7 => millis(self.random.u64(5..500)),
            7..9 => millis(self.random.u64(500..5000)),
            _ => millis(self.random.u64(5000..19_000)),
        };
        if self.chance(self.setup.successes) {
            return (Outcome::Succeeded(location()), delay);
        }
        let reason = FAILURES[self.random.usize(..FAILURES.len())];
        let retry_after =
            matches!(reason, Reason::Busy | Reason::BackendError).then(|| seconds(self.random.u64(1..40)));
        let retry_after = retry_after.filter(|_| self.random.bool());
        let delay = match reason {
            Reason::NoResponse => LONGEST_REQUEST,
            Reason::Unreachable => millis(1),
            _ => delay,
        };
        (Outcome::Failed { reason, message: Redacted::own("simulated"), retry_after }, delay)
    }

    /// The process gets the response.
    pub(super) fn respond(&mut self, timer: &Timer, number: usize) {
        let Some(result) = self.evidence.requests.get(number).and_then(|entry| entry.result.clone()) else { return };
        if self.is_alive(timer.process, timer.generation) {
            self.note_of(timer.process, || format!("#{} response: {result}", timer.operation.0));
            self.evidence.requests[number].delivered = Some(result.clone());
        }
        self.answer((timer.process, timer.generation), timer.operation, &timer.answer, Answer::Outcome(result));
    }
}

fn location() -> Location {
    Location { archive: Some("/a".to_owned()), node: Some("n".to_owned()), ..Location::default() }
}

fn result_name(result: &Outcome) -> &'static str {
    match result {
        Outcome::Succeeded(_) => "responses Succeeded",
        Outcome::Failed { reason: Reason::NoResponse, .. } => "responses never",
        Outcome::Failed { reason, .. } => match reason.retry_class() {
            snapwatcher_api::outcome::RetryClass::NotTried => "responses not tried",
            snapwatcher_api::outcome::RetryClass::TriedAndFailed => "responses failed",
            snapwatcher_api::outcome::RetryClass::Final => "responses final",
            snapwatcher_api::outcome::RetryClass::Unknown => "responses invalid",
        },
    }
}
