//! How often Checkpoints are looked at when their pods change.

use snapwatcher_api::checkpoint::WorkloadReference;
use snapwatcher_api::eligibility::{self, Choice};
use snapwatcher_api::keys::POD_TEMPLATE_HASH;

use super::*;
use crate::record::fields;

const MADE_UP: usize = 1000;

/// A Checkpoint of revision `r` of a workload that does not exist, which waits for a pod.
fn made_up(number: usize) -> Input {
    let (api_version, kind, name) = ("apps/v1".into(), "Deployment".into(), "web".into());
    let workload = WorkloadReference { api_version, kind, name, uid: format!("d{number}") };
    let object = fixtures::checkpoint("web").named(&format!("made-up-{number}")).spec(|spec| {
        spec.pod = None;
        (spec.workload, spec.revision) = (Some(workload), Some("r".to_owned()));
    });
    let message = "waiting for a Ready pod of Deployment `web`, revision r".to_owned();
    let object = object.reason(Phase::Pending, Reason::NotReady).status(|status| status.message = Some(message));
    Input::Checkpoints { scope: 0, event: Box::new(Event::Apply(object.build())) }
}

/// A pod of revision `r` without the label `snap`.
fn flapping(is_ready: bool) -> Input {
    let pod = pod("web").uid("web").label(POD_TEMPLATE_HASH, "r");
    pod_event(if is_ready { pod.ready(0) } else { pod.not_ready(0) }.watched())
}

/// How many looks an input costs, and what is due at once after it.
fn looks(engine: &mut Engine, input: Input, second: i64) -> (u64, u64) {
    let before = engine.look_count();
    engine.on(input, now(second));
    let at_once = engine.look_count() - before;
    while engine.next_wakeup(now(second)).is_zero() {
        let step = engine.look_count();
        engine.on(Input::Wakeup, now(second));
        assert!(engine.look_count() - step <= 64, "a step is short");
    }
    (at_once, engine.look_count() - before)
}

#[test]
fn a_pod_that_changes_all_the_time_costs_one_look_a_second_at_each_checkpoint_about_it() {
    let (mut engine, _) = leading(EngineSettings { max_manual_checkpoints: 2 * MADE_UP, ..settings() }, vec![]);
    engine.on(flapping(true), now(0));
    for number in 0..MADE_UP {
        engine.on(made_up(number), now(0));
    }
    let mut all = 0;
    for second in 600..610 {
        for change in 0..20 {
            let (at_once, with_steps) = looks(&mut engine, flapping(change % 2 == 0), second);
            assert!(at_once <= 64, "{at_once} looks for one event");
            all += with_steps;
        }
    }
    // Each is looked at every five minutes too. With a look at each for each change, it would be 200,000.
    assert!((1000..=12_000).contains(&all), "{all}");
}

#[test]
fn a_checkpoint_that_waits_for_a_pod_is_attempted_within_a_second() {
    let of = |is_ready: bool| {
        let pod = pod("web").uid("u").labeled();
        if is_ready { pod.ready(0) } else { pod.not_ready(0) }
    };
    let waiting = fixtures::checkpoint("web");
    let (name, target) = (of(false).facts().name, fields::target(&waiting.clone().build()).unwrap());
    let cause = eligibility::check(Some(&of(false).facts()), Choice::Target(&target), at(1)).unwrap_err();
    let message = cause.message(&name, &target);
    let waiting = waiting.reason(Phase::Pending, cause.reason()).status(|status| status.message = Some(message));
    let (mut engine, _) = leading(settings(), vec![]);
    engine.on(pod_event(of(false).watched()), now(1));
    let event = Box::new(Event::Apply(waiting.build()));
    assert!(operations(engine.on(Input::Checkpoints { scope: 0, event }, now(1))).is_empty());
    // A first change, shortly before the pod becomes Ready.
    engine.on(pod_event(of(false).not_started("app").watched()), now(1));
    let mut started = operations(engine.on(pod_event(of(true).watched()), now(1)));
    started.extend(operations(engine.on(Input::Wakeup, now(2))));
    assert!(started.iter().any(|(_, operation)| matches!(operation, Operation::Attempt(_))), "{started:?}");
}
