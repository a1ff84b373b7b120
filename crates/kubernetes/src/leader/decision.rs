//! What a Lease asks of us: pure, and measured by our own observation, never by another's clock.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::LeaseSpec;

/// What to do about the Lease now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nobody holds it, or its holder was not heard of for its own term.
    Acquire,
    /// It is ours.
    Renew,
    /// Its holder is alive.
    Wait,
}

/// Decides by what was observed: a Lease that we have seen unchanged for the term it states has run out, whatever its
/// times say.
pub(super) fn evaluate(spec: Option<&LeaseSpec>, unchanged_for: Duration, identity: &str) -> Turn {
    let Some(spec) = spec else { return Turn::Acquire };
    match spec.holder_identity.as_deref() {
        None | Some("") => Turn::Acquire,
        Some(holder) if holder == identity => Turn::Renew,
        Some(_) => {
            let term = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(0);
            if unchanged_for >= Duration::from_secs(term) { Turn::Acquire } else { Turn::Wait }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held_by(holder: &str) -> LeaseSpec {
        LeaseSpec { holder_identity: Some(holder.into()), lease_duration_seconds: Some(15), ..Default::default() }
    }

    #[test]
    fn a_lease_is_taken_kept_or_respected() {
        let seconds = Duration::from_secs;
        for (case, spec, unchanged_for, expected) in [
            ("there is none", None, seconds(0), Turn::Acquire),
            ("never held", Some(LeaseSpec::default()), seconds(0), Turn::Acquire),
            ("released", Some(held_by("")), seconds(0), Turn::Acquire),
            ("ours", Some(held_by("me")), seconds(99), Turn::Renew),
            ("another's, alive", Some(held_by("other")), seconds(14), Turn::Wait),
            ("another's, not heard of for its term", Some(held_by("other")), seconds(15), Turn::Acquire),
        ] {
            assert_eq!(evaluate(spec.as_ref(), unchanged_for, "me"), expected, "{case}");
        }
    }

    #[test]
    fn a_lease_without_a_term_is_not_respected_for_ever() {
        let spec = LeaseSpec { lease_duration_seconds: None, ..held_by("other") };
        assert_eq!(evaluate(Some(&spec), Duration::ZERO, "me"), Turn::Acquire);
    }
}
