//! The state of the engine.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use snapwatcher_api::checkpoint::Checkpoint;
use snapwatcher_api::pod::{OncePerSetting, PodFacts, RevisionLabels};
use snapwatcher_backends::backend::CheckpointBackend;
use snapwatcher_kubernetes::cluster::Scope;

use super::api_outage::ApiOutage;
use super::endpoint_breakers::{EndpointBreakers, Permit};
use super::look_passes::Looks;
use super::message::{Effect, Now};
use super::pod_action::ContainerKey;
use super::pod_table::PodTable;
use super::prepared_claim::PreparedClaim;
use super::record_key::RecordKey;
use super::record_table::RecordTable;
use super::rejected_table::RejectedClaims;
use super::slots::{ConcurrencyLimits, Slots};
use super::timers::Timers;
use super::work_queue::{WorkItem, WorkQueue};
use crate::log_block::BlockEvent;
use crate::operation::{OperationId, OperationSettings, SEND_WINDOW};

/// The settings of the engine.
#[derive(Clone)]
pub struct EngineSettings {
    pub scopes: Vec<Scope>,
    pub operations: OperationSettings,
    pub limits: ConcurrencyLimits,
    pub once_per: OncePerSetting,
    pub revision_labels: RevisionLabels,
    /// Checkpoints are created but not attempted.
    pub is_suspended: bool,
    /// The longest time for which one attempt can hold its slot, counted from the write of the attempt.
    pub longest_slot: Duration,
    /// The time between two rounds of retention.
    pub retention_interval: Duration,
    /// How many timers, and how many claims, one step deals with. The rest is due at once, and meanwhile the thread can do other
    /// work, such as the renewal of the lease.
    pub decisions_per_step: usize,
    /// How many unfinished manual Checkpoints of a namespace are attempted. Further ones are Failed at once.
    pub max_manual_checkpoints: usize,
    /// `None`: claims are only reported, and no Checkpoints are created.
    pub backend: Option<Arc<dyn CheckpointBackend>>,
    /// Of the numbers by which waits differ.
    pub seed: u64,
}

impl EngineSettings {
    /// The longest time for which one attempt can hold its slot, with the time until its request leaves.
    pub(super) fn longest_slot_held(&self) -> Duration {
        SEND_WINDOW + self.longest_slot
    }
}

/// The engine: see the module [`engine`](super).
pub struct Engine {
    pub(super) settings: EngineSettings,
    pub(super) random: fastrand::Rng,
    pub(super) leads: bool,
    pub(super) is_stopping: bool,
    pub(super) pods: PodTable,
    pub(super) records: RecordTable,
    pub(super) looks: Looks,
    /// How many times a Checkpoint was looked at.
    pub(super) look_count: u64,
    pub(super) slots: Slots,
    pub(super) breakers: EndpointBreakers,
    pub(super) queue: WorkQueue,
    /// Work that found its slot taken although its node is free. It is queued again when a slot may be free.
    pub(super) blocked: Vec<(WorkItem, Option<String>)>,
    /// Containers to claim, in the order of their events.
    pub(super) claims: VecDeque<ContainerKey>,
    /// Containers to claim as soon as the Checkpoints of their scope are listed.
    pub(super) unlisted: BTreeSet<ContainerKey>,
    /// Claims that wait for a slot.
    pub(super) prepared: HashMap<ContainerKey, PreparedClaim>,
    /// Claims to make without an attempt.
    pub(super) unattempted: VecDeque<(ContainerKey, PreparedClaim)>,
    /// The Checkpoints that are being claimed, each with the other containers that would have the same one.
    pub(super) claiming: HashMap<RecordKey, Vec<ContainerKey>>,
    /// Containers whose last claim was rejected.
    pub(super) rejected: RejectedClaims,
    /// How many claims the last step has left to the next one.
    pub(super) undecided_claims: usize,
    pub(super) timers: Timers,
    pub(super) operations: HashMap<OperationId, Running>,
    /// The Checkpoints on which an operation works.
    pub(super) busy: HashMap<RecordKey, OperationId>,
    /// Those of them that became final meanwhile, as the watch has shown them.
    pub(super) ended: HashMap<RecordKey, Arc<Checkpoint>>,
    /// Those of them that were deleted meanwhile.
    pub(super) gone: HashSet<RecordKey>,
    /// The version of the last write of this process, of Checkpoints whose watch is behind it.
    pub(super) written: HashMap<RecordKey, u64>,
    /// When the last attempt started that this process has sent, by Checkpoint.
    pub(super) sent: HashMap<RecordKey, Timestamp>,
    pub(super) last_operation: u64,
    /// The time of the last input.
    pub(super) last_step: Now,
    pub(super) outage: Option<ApiOutage>,
    /// A slot that was taken before this leadership and that no listing has shown does not count after this time.
    pub(super) stale_slots_expire_at: Duration,
    pub(super) had_open_breaker: bool,
    pub(super) reported: Reported,
    pub(super) effects: Vec<Effect>,
}

/// An operation that runs.
pub(super) struct Running {
    pub(super) task: Task,
    /// The Checkpoint that it works on.
    pub(super) record: Option<RecordKey>,
    pub(super) permit: Permit,
}

/// What an operation is for.
pub(super) enum Task {
    FindWorkload(ContainerKey),
    Claim(Box<ClaimTask>),
    Attempt(Arc<Checkpoint>),
    WriteUnmet(Arc<Checkpoint>),
    MarkInterrupted(Arc<Checkpoint>),
    Cancel(Arc<Checkpoint>),
}

/// A claim under way.
pub(super) struct ClaimTask {
    pub(super) key: ContainerKey,
    pub(super) claim: PreparedClaim,
    pub(super) pod: PodFacts,
    pub(super) event: BlockEvent,
    /// It is the first attempt, too.
    pub(super) attempts: bool,
    /// It has created the Checkpoint.
    pub(super) is_claimed: bool,
}

/// The last reported numbers, so that each is reported when it changes.
#[derive(Default)]
pub(super) struct Reported {
    pub(super) pods: usize,
    pub(super) queued: usize,
    pub(super) breakers: usize,
}

impl Engine {
    pub fn new(settings: EngineSettings) -> Self {
        Self {
            random: fastrand::Rng::with_seed(settings.seed),
            leads: false,
            is_stopping: false,
            pods: PodTable::new(settings.revision_labels.clone()),
            records: RecordTable::new(settings.max_manual_checkpoints),
            looks: Looks::default(),
            look_count: 0,
            slots: Slots::new(settings.limits, settings.longest_slot_held()),
            breakers: EndpointBreakers::default(),
            queue: WorkQueue::default(),
            blocked: Vec::new(),
            claims: VecDeque::new(),
            unlisted: BTreeSet::new(),
            prepared: HashMap::new(),
            unattempted: VecDeque::new(),
            claiming: HashMap::new(),
            rejected: RejectedClaims::default(),
            undecided_claims: 0,
            timers: Timers::default(),
            operations: HashMap::new(),
            busy: HashMap::new(),
            ended: HashMap::new(),
            gone: HashSet::new(),
            written: HashMap::new(),
            sent: HashMap::new(),
            last_operation: 0,
            last_step: Now { wall: Timestamp::UNIX_EPOCH, boot: Duration::ZERO },
            outage: None,
            stale_slots_expire_at: Duration::ZERO,
            had_open_breaker: false,
            reported: Reported::default(),
            effects: Vec::new(),
            settings,
        }
    }
}
