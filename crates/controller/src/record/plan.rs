//! What an unfinished Checkpoint needs next.

use std::time::Duration;

use jiff::Timestamp;

use snapwatcher_api::checkpoint::{Checkpoint, Phase};
use snapwatcher_backends::backend::LONGEST_RETRY_AFTER;

use super::transitions::{Holder, RetryPolicy};

/// What a Checkpoint needs now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NextStep {
    /// Nothing until it changes.
    Rest,
    /// Nothing before this time has passed.
    After(Duration),
    /// An attempt.
    Attempt,
    /// Its attempt is to be marked Interrupted.
    MarkInterrupted,
    /// Its attempt is one of this process that was never sent. It is to be written back to Pending.
    Cancel,
}

/// What this process knows of an attempt.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct AttemptKnowledge {
    /// How long this process has seen the Checkpoint in this attempt and phase.
    pub age: Duration,
    /// This process has sent its request.
    pub was_sent: bool,
}

/// Decides the next step of a Checkpoint that no operation of this process works on.
///
/// For the attempt of another holder only `age` counts, because the holder's clock may be wrong.
pub(crate) fn plan(
    checkpoint: &Checkpoint,
    me: &Holder,
    policy: &RetryPolicy,
    known: AttemptKnowledge,
    now: Timestamp,
) -> NextStep {
    let status = checkpoint.status.as_ref();
    match checkpoint.phase() {
        Phase::Succeeded | Phase::Failed | Phase::Unknown => NextStep::Rest,
        Phase::Pending => {
            let next = status.and_then(|status| status.next_attempt_time.as_ref());
            let stated = next.and_then(|next| Duration::try_from(next.0.duration_since(now)).ok());
            // No wait is longer, its jitter included. If the stated time is later, a clock was set.
            let longest = 2 * policy.longest_wait.max(LONGEST_RETRY_AFTER);
            let longest = longest.saturating_sub(known.age);
            match stated.map(|stated| stated.min(longest)) {
                Some(wait) if !wait.is_zero() => NextStep::After(wait),
                _ => NextStep::Attempt,
            }
        }
        Phase::InProgress => {
            let holder = status.and_then(|status| status.holder.as_deref()).unwrap_or_default();
            let is_my_instance = holder.rsplit_once('/').is_some_and(|(instance, _)| instance == me.instance);
            if is_my_instance && (holder != me.to_string() || known.was_sent) {
                return NextStep::MarkInterrupted;
            }
            if is_my_instance {
                // The write of an attempt that was abandoned can take effect later.
                return NextStep::Cancel;
            }
            let times = status.and_then(|status| status.deadline.as_ref().zip(status.start_time.as_ref()));
            let stated = times.map(|(deadline, start)| deadline.0.duration_since(start.0));
            let stated = stated.and_then(|stated| Duration::try_from(stated).ok()).unwrap_or_default();
            match (stated + policy.holder_grace).checked_sub(known.age) {
                Some(left) if !left.is_zero() => NextStep::After(left),
                _ => NextStep::MarkInterrupted,
            }
        }
    }
}
