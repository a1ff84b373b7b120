//! The rules of the Lease: pure, and measured by what this process observed, never by the clock of another.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::LeaseSpec;

/// The times of an election: `lease_duration` > `renew_deadline` > `renew_interval` > `retry_interval`.
#[derive(Debug, Clone, Copy)]
pub struct LeaseTimes {
    /// How long other replicas respect a Lease that is not renewed.
    pub lease_duration: Duration,
    /// The leader stops leading this long after its last successful renewal.
    pub renew_deadline: Duration,
    /// Between two renewals.
    pub renew_interval: Duration,
    /// Between two reads of a Lease that another replica holds.
    pub retry_interval: Duration,
}

impl LeaseTimes {
    /// Whether a leader that renewed so long ago has to stop leading.
    pub(super) fn has_expired(&self, since_renewal: Duration) -> bool {
        since_renewal >= self.renew_deadline
    }

    /// How long one request may take. For a leader it ends at the renew deadline at the latest.
    pub(super) fn request_limit(&self, since_renewal: Option<Duration>) -> Duration {
        self.renew_interval.min(self.until_deadline(since_renewal))
    }

    /// The wait before the next request. For a leader it ends at the renew deadline at the latest.
    pub(super) fn next_wait(&self, since_renewal: Option<Duration>, was_renewed_now: bool) -> Duration {
        let interval = if was_renewed_now { self.renew_interval } else { self.retry_interval };
        interval.min(self.until_deadline(since_renewal))
    }

    fn until_deadline(&self, since_renewal: Option<Duration>) -> Duration {
        since_renewal.map_or(Duration::MAX, |since| self.renew_deadline.saturating_sub(since))
    }
}

/// What to do about the Lease now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeaseAction {
    /// No replica holds it, or its holder did not renew it for the lease duration.
    Acquire,
    /// This replica holds it.
    Renew,
    /// Another replica holds it.
    Wait,
}

/// Decides by observation: a Lease that this process has seen unchanged for its duration has expired, whatever its times
/// say.
pub(super) fn next_action(spec: Option<&LeaseSpec>, unchanged_for: Duration, identity: &str) -> LeaseAction {
    let Some(spec) = spec else { return LeaseAction::Acquire };
    match spec.holder_identity.as_deref() {
        None | Some("") => LeaseAction::Acquire,
        Some(holder) if holder == identity => LeaseAction::Renew,
        Some(_) => {
            let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(0);
            if unchanged_for >= Duration::from_secs(seconds) { LeaseAction::Acquire } else { LeaseAction::Wait }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: LeaseTimes = LeaseTimes {
        lease_duration: Duration::from_secs(15),
        renew_deadline: Duration::from_secs(10),
        renew_interval: Duration::from_secs(5),
        retry_interval: Duration::from_secs(2),
    };

    fn held_by(holder: &str) -> LeaseSpec {
        LeaseSpec { holder_identity: Some(holder.into()), lease_duration_seconds: Some(15), ..Default::default() }
    }

    #[test]
    fn a_lease_is_acquired_renewed_or_respected() {
        let seconds = Duration::from_secs;
        for (case, spec, unchanged_for, expected) in [
            ("there is none", None, seconds(0), LeaseAction::Acquire),
            ("never held", Some(LeaseSpec::default()), seconds(0), LeaseAction::Acquire),
            ("released", Some(held_by("")), seconds(0), LeaseAction::Acquire),
            ("held by this replica", Some(held_by("me")), seconds(99), LeaseAction::Renew),
            ("held by another", Some(held_by("other")), seconds(14), LeaseAction::Wait),
            ("held by another, expired", Some(held_by("other")), seconds(15), LeaseAction::Acquire),
        ] {
            assert_eq!(next_action(spec.as_ref(), unchanged_for, "me"), expected, "{case}");
        }
    }

    #[test]
    fn a_lease_without_a_duration_is_acquired() {
        let spec = LeaseSpec { lease_duration_seconds: None, ..held_by("other") };
        assert_eq!(next_action(Some(&spec), Duration::ZERO, "me"), LeaseAction::Acquire);
    }

    #[test]
    fn a_leader_never_waits_past_its_renew_deadline() {
        let seconds = Duration::from_secs;
        for (case, since_renewal, was_renewed_now, limit, wait) in [
            ("no leader", None, false, 5, 2),
            ("renewed now", Some(0), true, 5, 5),
            ("a renewal failed", Some(4), false, 5, 2),
            ("near the deadline", Some(9), false, 1, 1),
            ("renewed by a slow request", Some(6), true, 4, 4),
            ("past the deadline", Some(11), false, 0, 0),
        ] {
            let since_renewal = since_renewal.map(seconds);
            assert_eq!(TIMES.request_limit(since_renewal), seconds(limit), "{case}");
            assert_eq!(TIMES.next_wait(since_renewal, was_renewed_now), seconds(wait), "{case}");
        }
        assert!(!TIMES.has_expired(seconds(9)) && TIMES.has_expired(seconds(10)));
    }
}
