//! Pods whose node is not prepared for checkpoints.

use snapwatcher_api::outcome::Redacted;

use super::*;

/// A pod becomes Ready, and its attempt ends. Returns how many circuit breakers are open then.
fn attempt(engine: &mut Engine, namespace: &str, name: &str, outcome: Outcome, second: i64) -> usize {
    let pod = pod(name).namespace(namespace).uid(name).labeled().ready(second).watched();
    let effects = engine.on(pod_event(pod), now(second));
    let (id, attempts) = claim_of(engine, effects);
    assert!(attempts, "{namespace}/{name} waits");
    engine.on(Input::Progress { id, progress: Progress::Responded { outcome, deadline: None } }, now(second));
    engine.breakers.open_count(Duration::from_secs(300), now(second).boot)
}

fn not_prepared() -> Outcome {
    Outcome::Failed { reason: Reason::NodeNotPrepared, message: Redacted::own("no CRIU"), retry_after: None }
}

#[test]
fn pods_of_one_namespace_whose_runtime_finds_no_criu_delay_no_other_pod_of_their_node() {
    let (mut engine, _) = leading(settings(), Vec::new());
    for (second, name) in (0..).zip(["h1", "h2", "h3", "h4"]) {
        assert_eq!(attempt(&mut engine, "hostile", name, not_prepared(), second), 0);
    }
    assert_eq!(attempt(&mut engine, "shop", "a", Outcome::Succeeded(Location::default()), 9), 0);
    assert_eq!(attempt(&mut engine, "hostile", "h5", not_prepared(), 10), 0);
    assert_eq!(attempt(&mut engine, "shop", "b", not_prepared(), 11), 1, "two namespaces in a row");
}
