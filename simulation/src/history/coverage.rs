//! How often each kind of fault met each kind of call, and each change of a phase was seen.

use std::collections::BTreeMap;

use snapwatcher_api::checkpoint::Phase;

use super::calls::CallKind;

/// What can happen to a call, or to its process while it is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Fault {
    /// It never reached the server.
    Lost,
    /// It had its effect, and the answer was lost.
    AnswerLost,
    /// The client gave up, and it takes effect later.
    Late,
    /// The server could not be reached.
    Outage,
    Answered429,
    Answered500,
    Answered503,
    Answered504,
    Crash,
    Pause,
    LeadershipLost,
    RecordDeleted,
}

impl Fault {
    pub(super) const ALL: [Self; 12] = [
        Self::Lost,
        Self::AnswerLost,
        Self::Late,
        Self::Outage,
        Self::Answered429,
        Self::Answered500,
        Self::Answered503,
        Self::Answered504,
        Self::Crash,
        Self::Pause,
        Self::LeadershipLost,
        Self::RecordDeleted,
    ];

    /// Whether this can happen at all.
    fn meets(self, call: CallKind) -> bool {
        use Fault::{AnswerLost, Answered429, Answered500, Answered503, Answered504, Late, Outage};
        let is_of_server = matches!(self, Outage | Answered429 | Answered500 | Answered503 | Answered504);
        match self {
            _ if is_of_server => call != CallKind::Backend,
            AnswerLost | Late => call.is_write() || self == AnswerLost && call == CallKind::Backend,
            _ => true,
        }
    }
}

/// What was seen.
#[derive(Debug, Clone, Default)]
pub struct Coverage {
    faults: BTreeMap<(Fault, CallKind), u64>,
    phases: BTreeMap<(&'static str, &'static str), u64>,
    events: BTreeMap<&'static str, u64>,
    /// How often a pause between the last check and the send repeated a request, with `unknown_result` Retry.
    pub(super) repeated_after_pause: u64,
    pub steps: u64,
    pub histories: u64,
    pub requests: u64,
    pub succeeded: u64,
}

/// The changes of a phase that each long run must show.
const PHASES: [(&str, &str); 11] = [
    ("new", "Pending"),
    ("new", "InProgress"),
    ("Pending", "InProgress"),
    ("Pending", "Failed"),
    ("InProgress", "Pending"),
    ("InProgress", "Succeeded"),
    ("InProgress", "Failed"),
    ("InProgress", "Unknown"),
    ("Unknown", "Succeeded"),
    ("Unknown", "Failed"),
    ("Pending", "Succeeded"),
];

/// What each long run must show of people.
const EVENTS: [&str; 5] = [
    "updates in place",
    "Checkpoints whose image has changed",
    "restarts after an update in place",
    "pods that ended",
    "claims rejected by a quota",
];

impl Coverage {
    pub(super) fn fault(&mut self, fault: Fault, call: CallKind) {
        *self.faults.entry((fault, call)).or_default() += 1;
    }

    pub(super) fn phase(&mut self, before: Option<Phase>, after: Phase) {
        *self.phases.entry((before.map_or("new", Phase::as_str), after.as_str())).or_default() += 1;
    }

    /// Counts something that people, controllers, back-ends or clocks did.
    pub(super) fn event(&mut self, name: &'static str) {
        *self.events.entry(name).or_default() += 1;
    }

    pub fn add(&mut self, other: &Self) {
        for (key, count) in &other.faults {
            *self.faults.entry(*key).or_default() += count;
        }
        for (key, count) in &other.phases {
            *self.phases.entry(*key).or_default() += count;
        }
        for (key, count) in &other.events {
            *self.events.entry(key).or_default() += count;
        }
        self.repeated_after_pause += other.repeated_after_pause;
        self.steps += other.steps;
        self.histories += other.histories;
        self.requests += other.requests;
        self.succeeded += other.succeeded;
    }

    /// What a long run must have shown and did not.
    pub fn missing(&self) -> Vec<String> {
        let pairs = Fault::ALL.into_iter().flat_map(|fault| CallKind::ALL.into_iter().map(move |call| (fault, call)));
        let faults = pairs.filter(|(fault, call)| fault.meets(*call) && !self.faults.contains_key(&(*fault, *call)));
        let phases = PHASES.into_iter().filter(|pair| !self.phases.contains_key(pair));
        let faults = faults.map(|(fault, call)| format!("{fault:?} never met {call:?}"));
        let phases = phases.map(|(before, after)| format!("no phase changed from {before} to {after}"));
        let events = EVENTS.into_iter().filter(|name| !self.events.contains_key(name));
        faults.chain(phases).chain(events.map(|name| format!("no {name}"))).collect()
    }

    /// The counts as lines of text.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("{:<16}{}", "fault", CallKind::ALL.map(|call| format!("{call:>14?}")).concat())];
        for fault in Fault::ALL {
            let count = |call: CallKind| {
                let count = self.faults.get(&(fault, call)).copied().unwrap_or_default();
                if fault.meets(call) { format!("{count:>14}") } else { format!("{:>14}", "-") }
            };
            lines.push(format!("{:<16}{}", format!("{fault:?}"), CallKind::ALL.map(count).concat()));
        }
        let pairs = self.phases.iter().map(|((before, after), count)| format!("{before}->{after} {count}"));
        lines.push(format!("phases: {}", pairs.collect::<Vec<_>>().join(", ")));
        let events = self.events.iter().map(|(name, count)| format!("{name} {count}"));
        lines.push(format!("events: {}", events.collect::<Vec<_>>().join(", ")));
        lines.push(format!(
            "requests: {}, succeeded: {}, repeated after a pause between check and send (Retry only): {}",
            self.requests, self.succeeded, self.repeated_after_pause
        ));
        lines
    }
}
