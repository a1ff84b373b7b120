//! The rules of a proxy and the requests that it has seen, shared by all its connections.

use std::sync::Mutex;

use tokio::sync::watch;

use super::call::Call;
use super::rule::{Fault, When};
use crate::lock::lock;

/// Identifies a rule, for [`super::Proxy::remove_rule`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleId(u64);

/// What the test decides about a call that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Deliver,
    Lose,
}

/// Where a call is held: before or after the API server has handled it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HoldPoint {
    Request,
    Response,
}

/// The proxy's half of a held call. The test's half is [`super::HeldCall`].
#[derive(Clone, Debug)]
pub(super) struct Hold {
    pub(super) point: HoldPoint,
    pub(super) received: watch::Sender<Option<Call>>,
    pub(super) decided: watch::Receiver<Option<Decision>>,
}

impl Hold {
    /// Reports that the call has arrived and waits for the decision. If the test has ended, the call is lost.
    pub(super) async fn decision(mut self, call: &Call) -> Decision {
        self.received.send_replace(Some(call.clone()));
        let decided = self.decided.wait_for(Option::is_some).await;
        decided.ok().and_then(|decision| *decision).unwrap_or(Decision::Lose)
    }
}

#[derive(Clone, Debug)]
pub(super) enum Action {
    Fail(Fault),
    Hold(Hold),
}

#[derive(Clone, Debug)]
struct Rule {
    id: u64,
    when: When,
    action: Action,
    /// How often the rule still applies; None: until it is removed.
    left: Option<usize>,
}

#[derive(Debug, Default)]
pub(super) struct Rules {
    active: Mutex<Vec<Rule>>,
    calls: Mutex<Vec<Call>>,
    /// Changes with every change of the rules, so that open watches read them again.
    version: watch::Sender<u64>,
}

impl Rules {
    pub(super) fn add(&self, when: When, action: Action, left: Option<usize>) -> RuleId {
        let id = *self.version.borrow() + 1;
        self.change(|rules| rules.push(Rule { id, when, action, left }));
        RuleId(id)
    }

    pub(super) fn remove(&self, rule: RuleId) {
        self.change(|rules| rules.retain(|other| other.id != rule.0));
    }

    pub(super) fn clear(&self) {
        self.change(Vec::clear);
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Rule>)) {
        change(&mut lock(&self.active));
        self.version.send_modify(|version| *version += 1);
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Every request so far.
    pub(super) fn calls(&self) -> Vec<Call> {
        lock(&self.calls).clone()
    }

    /// Records a request and returns the action of the first rule that matches it.
    pub(super) fn apply(&self, call: &Call) -> Option<Action> {
        lock(&self.calls).push(call.clone());
        let mut rules = lock(&self.active);
        let found = rules.iter_mut().find(|rule| rule.when.matches(call) && rule.left != Some(0))?;
        found.left = found.left.map(|left| left - 1);
        Some(found.action.clone())
    }

    /// The faults of all matching rules that apply until they are removed. They reach open watches too.
    pub(super) fn lasting_faults(&self, call: &Call) -> Vec<Fault> {
        let rules = lock(&self.active);
        let matching = rules.iter().filter(|rule| rule.left.is_none() && rule.when.matches(call));
        matching
            .filter_map(|rule| if let Action::Fail(fault) = &rule.action { Some(fault.clone()) } else { None })
            .collect()
    }
}
