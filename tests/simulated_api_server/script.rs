//! Random scripts of calls on a few Checkpoints.

use fastrand::Rng;

/// The names in a script. Each script puts its own number before them.
pub(crate) const NAMES: [&str; 3] = ["a", "b", "c"];

impl Call {
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::Get { .. } => "get",
            Self::ReplaceStatus { .. } => "replace status",
            Self::Replace { .. } => "replace",
            Self::Delete { .. } => "delete",
            Self::List { .. } => "list",
            Self::NextPage => "next page",
            Self::Watch { .. } => "watch",
        }
    }
}

/// One call. Versions are named by their age: 0 is the newest version of the name that the script has been given.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Call {
    Create {
        name: usize,
        form: Form,
        sent: Sent,
    },
    Get {
        name: usize,
    },
    ReplaceStatus {
        name: usize,
        sent: Sent,
        status: usize,
    },
    Replace {
        name: usize,
        sent: Sent,
        change: Change,
    },
    Delete {
        name: usize,
        sent: Sent,
    },
    /// A list in pages of this size; 0 means one page.
    List {
        limit: u32,
    },
    /// The next page of the last list.
    NextPage,
    Watch {
        since: Since,
    },
}

/// UID and `resourceVersion` in a request, each from a version of this age.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    pub(crate) uid: Option<usize>,
    pub(crate) resource_version: Option<usize>,
}

/// Where a watch begins.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Since {
    /// A revision that the server has compacted.
    Compacted,
    Start,
    LastEvent,
    LastList,
}

/// What is created.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Form {
    Pod,
    PodByName,
    Revision,
    LongestContainer,
    LongestImage,
    WithLabels,
    Empty,
    PodAndWorkload,
    WorkloadWithoutRevision,
    WorkloadWithoutContainer,
    PodWithRevision,
    EmptyName,
    LongPodName,
    LongPodUid,
    LongContainer,
    LongKind,
    LongImage,
    EmptyImage,
    WorkloadWithImage,
    BadObjectName,
    BadLabel,
    /// In a namespace that does not exist.
    Elsewhere,
    /// The same, with a spec that is not allowed either.
    EmptyElsewhere,
}

impl Form {
    const ALLOWED: [Self; 6] =
        [Self::Pod, Self::PodByName, Self::Revision, Self::LongestContainer, Self::LongestImage, Self::WithLabels];
    const REFUSED: [Self; 17] = [
        Self::Empty,
        Self::PodAndWorkload,
        Self::WorkloadWithoutRevision,
        Self::WorkloadWithoutContainer,
        Self::PodWithRevision,
        Self::EmptyName,
        Self::LongPodName,
        Self::LongPodUid,
        Self::LongContainer,
        Self::LongKind,
        Self::LongImage,
        Self::EmptyImage,
        Self::WorkloadWithImage,
        Self::BadObjectName,
        Self::BadLabel,
        Self::Elsewhere,
        Self::EmptyElsewhere,
    ];
}

/// What a PUT of the object changes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Change {
    Nothing,
    Label(usize),
    BadLabel,
    Annotation(usize),
    Spec,
    BrokenSpec,
    Status(usize),
}

/// How many statuses [`crate::objects::status`] knows, and how many of them, at the end, are not allowed.
pub(crate) const STATUSES: usize = 9;
const REFUSED_STATUSES: usize = 2;

pub(crate) fn random(rng: &mut Rng) -> Vec<Call> {
    let length = rng.usize(20..=40);
    let unset = Sent { uid: None, resource_version: None };
    let begin = [0, 1].map(|name| Call::Create { name, form: Form::ALLOWED[name], sent: unset });
    // A list and a watch at the end show the state that is left.
    let ends = [Call::List { limit: 0 }, Call::Watch { since: Since::Start }];
    begin.into_iter().chain((0..length).map(|_| call(rng))).chain(ends).collect()
}

fn call(rng: &mut Rng) -> Call {
    // One name is used more than the others, so that a script has objects with a long history.
    let name = rng.usize(..2 * NAMES.len()).saturating_sub(NAMES.len());
    match rng.usize(..20) {
        0..5 => {
            let form = if rng.usize(..4) > 0 { pick(rng, &Form::ALLOWED) } else { pick(rng, &Form::REFUSED) };
            let carries = rng.usize(..8) == 0;
            let sent = if carries { sent(rng) } else { Sent { uid: None, resource_version: None } };
            Call::Create { name, form, sent }
        }
        5 => Call::Get { name },
        6..12 => {
            let refused = rng.usize(..10) == 0;
            let allowed = STATUSES - REFUSED_STATUSES;
            // Few, so that a write often changes nothing.
            let status = if refused { rng.usize(allowed..STATUSES) } else { rng.usize(..allowed) };
            Call::ReplaceStatus { name, sent: sent(rng), status }
        }
        12..14 => {
            let changes = [
                Change::Nothing,
                Change::Label(rng.usize(..2)),
                Change::Label(rng.usize(..2)),
                Change::BadLabel,
                Change::Annotation(rng.usize(..2)),
                Change::Spec,
                Change::BrokenSpec,
                Change::Status(rng.usize(..STATUSES)),
            ];
            Call::Replace { name, sent: sent(rng), change: pick(rng, &changes) }
        }
        14 => Call::Delete { name, sent: sent(rng) },
        15..17 => Call::List { limit: rng.u32(..3) },
        17..19 => Call::NextPage,
        _ => Call::Watch { since: pick(rng, &[Since::Compacted, Since::Start, Since::LastEvent, Since::LastList]) },
    }
}

/// Mostly the newest version, as a client that has just read sends it.
fn sent(rng: &mut Rng) -> Sent {
    let mut version = |none: usize| match rng.usize(..10) {
        at if at < none => None,
        9 => Some(rng.usize(1..8)),
        8 => Some(1),
        _ => Some(0),
    };
    Sent { uid: version(3), resource_version: version(1) }
}

fn pick<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.usize(..from.len())]
}
