//! What is the same during a whole history, and the flags of one process.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use snapwatcher_api::outcome::{Location, Outcome};
use snapwatcher_api::pod::{OncePer, OncePerSetting, RevisionLabels};
use snapwatcher_backends::backend::{CheckpointBackend, CheckpointRequest};
use snapwatcher_controller::operation::OperationSettings;
use snapwatcher_controller::{ConcurrencyLimits, EngineSettings, Holder, RetryPolicy, UnknownResult};
use snapwatcher_kubernetes::cluster::Scope;

use super::time::seconds;

/// The longest time that one request to the back-end takes.
pub(super) const LONGEST_REQUEST: Duration = seconds(20);
/// How long a written attempt may still be sent.
pub(super) const SEND_WINDOW: Duration = seconds(15);
/// How long after its longest duration an attempt is left to its holder.
pub(super) const HOLDER_GRACE: Duration = seconds(30);
/// How long a back-end may work on after a request without a response.
pub(super) const RESPONSE_TIMEOUT: Duration = seconds(20);
/// How long a slot is held after the write of its attempt: a request, and then the back-end may still work.
pub(super) const LONGEST_SLOT: Duration = seconds(LONGEST_REQUEST.as_secs() + RESPONSE_TIMEOUT.as_secs());
/// When the client of the API server gives up.
pub(super) const CALL_TIMEOUT: Duration = seconds(10);
pub(super) const MAX_PODS_PER_REVISION: usize = 3;
pub(super) const NAMESPACES: [&str; 2] = ["a", "b"];
pub(super) const NODES: [&str; 3] = ["n1", "n2", "n3"];

/// Drawn once for each history.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "independent choices, each read on its own")]
pub(super) struct Setup {
    pub(super) processes: usize,
    /// One scope for each namespace; otherwise one for all.
    pub(super) has_scopes: bool,
    /// Each node has its own endpoint; otherwise all share one.
    pub(super) has_endpoint_per_node: bool,
    /// All processes keep unknown results, for the whole history.
    pub(super) keeps_unknown: bool,
    /// Of 100 steps, about so many are faults, and so many are changes by people and controllers.
    pub(super) faults: u32,
    pub(super) changes: u32,
    /// Clocks are wrong and jump.
    pub(super) has_wrong_clocks: bool,
    /// Of 100 requests, about so many succeed.
    pub(super) successes: u32,
    /// A person forges attempts.
    pub(super) has_forger: bool,
    pub(super) page: usize,
    /// For what is drawn outside of steps.
    pub(super) seed: u64,
}

impl Setup {
    pub(super) fn draw(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        Self {
            processes: random.usize(1..=3),
            has_scopes: random.u8(..4) == 0,
            has_endpoint_per_node: random.bool(),
            keeps_unknown: random.u8(..3) > 0,
            faults: [0, 4, 12, 25][random.usize(..4)],
            changes: [8, 15, 30][random.usize(..3)],
            has_wrong_clocks: random.u8(..3) == 0,
            successes: [30, 60, 95][random.usize(..3)],
            has_forger: random.u8(..3) == 0,
            page: [1, 2, 500][random.usize(..3)],
            seed: random.u64(..),
        }
    }

    pub(super) fn scopes(&self) -> Vec<Scope> {
        if self.has_scopes {
            NAMESPACES.iter().map(|name| Scope::Namespace((*name).to_owned())).collect()
        } else {
            vec![Scope::All]
        }
    }
}

/// The flags of one process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flags {
    pub(super) unknown_result: UnknownResult,
    pub(super) once_per: OncePerSetting,
    pub(super) concurrent: usize,
    pub(super) per_node: usize,
    pub(super) is_suspended: bool,
}

impl Flags {
    pub(super) fn draw(setup: &Setup, random: &mut fastrand::Rng) -> Self {
        let retries = !setup.keeps_unknown && random.u8(..3) > 0;
        Self {
            unknown_result: if retries { UnknownResult::Retry } else { UnknownResult::Keep },
            once_per: OncePerSetting {
                default: if random.u8(..3) == 0 { OncePer::Revision } else { OncePer::Pod },
                is_limit: setup.has_endpoint_per_node,
            },
            concurrent: random.usize(1..=4),
            per_node: random.usize(1..=2),
            is_suspended: random.u8(..20) == 0,
        }
    }

    pub(super) fn settings(self, setup: &Setup, holder: Holder, seed: u64) -> EngineSettings {
        let policy = RetryPolicy {
            unknown_result: self.unknown_result,
            max_attempts: 3,
            longest_wait: seconds(120),
            holder_grace: HOLDER_GRACE,
        };
        EngineSettings {
            scopes: setup.scopes(),
            operations: OperationSettings {
                holder,
                policy,
                max_pods_per_revision: MAX_PODS_PER_REVISION,
                longest_request: LONGEST_REQUEST,
            },
            limits: ConcurrencyLimits {
                concurrent: self.concurrent,
                per_node: self.per_node,
                response_timeout: RESPONSE_TIMEOUT,
            },
            once_per: self.once_per,
            revision_labels: RevisionLabels::default(),
            is_suspended: self.is_suspended,
            longest_slot: LONGEST_SLOT,
            retention_interval: seconds(300),
            decisions_per_step: usize::from(seed.to_le_bytes()[0] % 4) + 1,
            max_manual_checkpoints: usize::from(seed.to_le_bytes()[1] % 4) + 2,
            backend: Some(Arc::new(Endpoints { is_per_node: setup.has_endpoint_per_node })),
            seed,
        }
    }
}

/// The back-end as the engine sees it. Its requests go through the operations' I/O.
struct Endpoints {
    is_per_node: bool,
}

impl CheckpointBackend for Endpoints {
    fn longest_attempt(&self) -> Duration {
        LONGEST_REQUEST
    }

    fn endpoint<'a>(&self, node: Option<&'a str>) -> Option<&'a str> {
        if self.is_per_node { node } else { Some("snaphook") }
    }

    fn checkpoint<'a>(&'a self, _: &'a CheckpointRequest) -> BoxFuture<'a, Outcome> {
        Box::pin(std::future::ready(Outcome::Succeeded(Location::default())))
    }
}
