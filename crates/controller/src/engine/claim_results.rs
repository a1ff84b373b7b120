//! What follows from the end of a claim, for its container and for those that waited for the same Checkpoint.

use snapwatcher_api::checkpoint_name;
use snapwatcher_kubernetes::workload::WorkloadError;

use super::message::{ClaimReport, Now, Report};
use super::pod_action::{ContainerKey, PodAction};
use super::pod_table::{CLAIM_RETRY, REJECTED_RETRY};
use super::prepared_claim::PreparedClaim;
use super::record_key::RecordKey;
use super::state::Engine;
use crate::operation::{ClaimError, ClaimResult};

impl Engine {
    /// A claim has created its Checkpoint.
    pub(super) fn claimed(&mut self, key: &ContainerKey, report: ClaimReport, now: Now) {
        self.outage_over();
        let name = report.checkpoint.clone().unwrap_or_default();
        self.report(Report::Claimed(Box::new(report)));
        self.claim_done(key, now);
        self.claim_accepted(key, now);
        self.followers_are_claimed(&RecordKey::new(&key.pod.namespace, &name), &name, now);
    }

    /// A claim that did not create its Checkpoint has ended.
    pub(super) fn claim_ended(
        &mut self,
        key: ContainerKey,
        claim: PreparedClaim,
        result: Result<ClaimResult, ClaimError>,
        now: Now,
    ) {
        let record = RecordKey::new(&key.pod.namespace, &claim.name);
        match result {
            Ok(ClaimResult::Created | ClaimResult::Attempted(_) | ClaimResult::Stopped) => {}
            Ok(ClaimResult::AlreadyClaimed) => {
                self.outage_over();
                self.claim_accepted(&key, now);
                self.already_claimed(&key, Some(claim.name.clone()), now);
                self.followers_are_claimed(&record, &claim.name, now);
            }
            Ok(ClaimResult::NameTaken) => {
                self.outage_over();
                match checkpoint_name::next(&claim.target, &claim.name) {
                    // The claim was started under an earlier leadership of this process.
                    Some(_) if !self.has_listed_checkpoints(&key) => drop(self.unlisted.insert(key)),
                    Some(name) => self.unattempted.push_back((key, PreparedClaim { name, ..claim })),
                    None => self.claim_failed(&key, ClaimError::NoName(claim.name), now),
                }
                self.resume_followers(&record);
            }
            Err(error) => {
                let is_rejection = error.is_rejection();
                self.claim_failed(&key, error, now);
                if is_rejection {
                    // Theirs would be the same.
                    for follower in self.claiming.remove(&record).unwrap_or_default() {
                        self.hold_back(follower, now);
                    }
                }
                self.resume_followers(&record);
            }
        }
    }

    pub(super) fn already_claimed(&mut self, key: &ContainerKey, checkpoint: Option<String>, now: Now) {
        let ContainerKey { pod, uid, container, image: _ } = key.clone();
        self.report(Report::AlreadyClaimed { pod, uid, container, checkpoint });
        self.retry_ended(key, now);
        self.claim_done(key, now);
    }

    pub(super) fn claim_done(&mut self, key: &ContainerKey, now: Now) {
        let again = self.pods.claim_done(key, now);
        self.take(again.into_iter().collect(), now);
    }

    pub(super) fn claim_failed(&mut self, key: &ContainerKey, error: ClaimError, now: Now) {
        let jitter = self.random.f64();
        let retry = if error.is_about_object() { REJECTED_RETRY } else { CLAIM_RETRY };
        match (error.unreachable(), &error) {
            (Some(call), _) => self.start_outage(call, now),
            // No call may have been made.
            (None, ClaimError::NoName(_) | ClaimError::Workload(WorkloadError::Gone { .. })) => {}
            (None, _) => self.outage_over(),
        }
        let is_rejection = error.is_rejection();
        if !is_rejection {
            self.retry_ended(key, now);
        }
        let again: Option<PodAction> = match &error {
            _ if is_rejection => {
                self.claim_rejected(key, jitter, now);
                None
            }
            // The watch can be behind the live read, or ahead of it.
            ClaimError::Ineligible { .. } if self.pods.is_claimable(key, now) => {
                self.pods.claim_failed(key, retry, jitter, now)
            }
            // The next state of the pod decides. A pod whose controller is gone will be garbage-collected.
            ClaimError::Ineligible { .. } | ClaimError::Workload(WorkloadError::Gone { .. }) => {
                self.pods.claim_ineligible(key, now)
            }
            ClaimError::NamespaceTerminating(_) => self.pods.claim_done(key, now),
            ClaimError::NoDefinition
            | ClaimError::Workload(WorkloadError::Lookup { .. })
            | ClaimError::NoName(_)
            | ClaimError::Call(_) => self.pods.claim_failed(key, retry, jitter, now),
        };
        if let Some(pod) = self.pods.get(&key.pod).map(|entry| entry.pod.clone()).filter(|pod| pod.uid == key.uid) {
            self.report(Report::ClaimFailed { pod, container: key.container.clone(), error });
        }
        self.take(again.into_iter().collect(), now);
    }

    /// Containers that waited for the claim of another one have its Checkpoint, of that name.
    fn followers_are_claimed(&mut self, record: &RecordKey, name: &str, now: Now) {
        for follower in self.claiming.remove(record).unwrap_or_default() {
            self.already_claimed(&follower, Some(name.to_owned()), now);
        }
    }

    /// Containers that waited for the claim of another one are claimed themselves.
    pub(super) fn resume_followers(&mut self, record: &RecordKey) {
        self.claims.extend(self.claiming.remove(record).unwrap_or_default());
    }
}
