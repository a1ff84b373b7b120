//! Claims that the API server rejects, for all pods of a namespace and for long.

use std::collections::HashMap;

use super::*;

/// An API server that rejects the claims of one namespace, by a quota.
struct Cluster {
    engine: Engine,
    has_room: bool,
    /// How many times each pod was claimed.
    tries: HashMap<String, usize>,
    created: usize,
}

impl Cluster {
    fn new(pods: Vec<WatchedPod>) -> Self {
        let (engine, effects) = leading(settings(), pods);
        let mut cluster = Self { engine, has_room: false, tries: HashMap::new(), created: 0 };
        cluster.take(effects, 0);
        cluster
    }

    fn take(&mut self, effects: Vec<Effect>, second: i64) {
        let mut work = operations(effects);
        while let Some((id, operation)) = work.pop() {
            match operation {
                Operation::FindWorkload { .. } => {
                    work.extend(operations(finish(
                        &mut self.engine,
                        id,
                        OperationResult::Workload(Ok(workload())),
                        second,
                    )));
                }
                Operation::Claim(claim) => {
                    *self.tries.entry(claim.pod.name.to_string()).or_default() += 1;
                    let is_accepted = self.has_room || &*claim.pod.name.namespace != "default";
                    let result = if is_accepted {
                        self.created += 1;
                        let record = Arc::new(fixtures::checkpoint("web").named(&claim.name).build());
                        let input = Input::Progress { id, progress: Progress::Claimed(record) };
                        work.extend(operations(self.engine.on(input, now(second))));
                        Ok(ClaimResult::Created)
                    } else {
                        Err(ClaimError::Call(quota_exceeded()))
                    };
                    work.extend(operations(finish(&mut self.engine, id, OperationResult::Claim(result), second)));
                }
                operation => panic!("{operation:?}"),
            }
        }
    }

    fn on(&mut self, input: Input, second: i64) {
        let effects = self.engine.on(input, now(second));
        self.take(effects, second);
    }

    /// Waits for the next operation, without carrying it out.
    fn next_operation(&mut self, second: &mut i64) -> (OperationId, Operation) {
        loop {
            if let Some(started) = operations(self.engine.on(Input::Wakeup, now(*second))).pop() {
                return started;
            }
            *second += 1;
            assert!(*second < 1000, "no operation starts");
        }
    }

    /// The next claim that is tried again. The search for its workload takes so many seconds.
    fn next_claim(&mut self, second: &mut i64, takes: i64) -> (OperationId, Operation) {
        let (id, _) = self.next_operation(second);
        *second += takes;
        only(finish(&mut self.engine, id, OperationResult::Workload(Ok(workload())), *second))
    }

    /// Runs through these seconds. Returns how many claims there were.
    fn run(&mut self, seconds: std::ops::Range<i64>) -> usize {
        let before: usize = self.tries.values().sum();
        for second in seconds {
            self.on(Input::Wakeup, second);
            while self.engine.next_wakeup(now(second)).is_zero() {
                self.on(Input::Wakeup, second);
            }
        }
        self.tries.values().sum::<usize>() - before
    }
}

fn quota_exceeded() -> CallError {
    let status = kube::core::Status::failure("exceeded quota: few-checkpoints", "Forbidden").with_code(403);
    CallError::Failed { what: "create a Checkpoint".into(), source: Box::new(kube::Error::Api(Box::new(status))) }
}

fn many() -> Vec<WatchedPod> {
    (0..500).map(|number| pod(&format!("p{number}")).uid(&format!("p{number}")).labeled().ready(0).watched()).collect()
}

#[test]
fn one_pod_of_a_namespace_whose_claims_are_rejected_is_tried_again_at_a_time() {
    let mut cluster = Cluster::new(many());
    cluster.run(0..30);
    assert_eq!(cluster.tries.len(), 500, "each is tried once");
    let again = cluster.run(30..630);
    assert!((8..=20).contains(&again), "{again} claims in ten minutes");
    let most = cluster.tries.values().max().copied();
    assert!(most <= Some(2), "one after another: {most:?}");
}

#[test]
fn all_pods_follow_within_a_minute_when_a_quota_has_room() {
    let mut cluster = Cluster::new(many());
    cluster.run(0..300);
    cluster.has_room = true;
    cluster.run(300..380);
    assert_eq!(cluster.created, 500);
    assert_eq!(cluster.engine.kept().rejected, 0);
}

#[test]
fn a_new_pod_is_tried_at_once_beside_those_that_were_rejected() {
    let mut cluster = Cluster::new(many());
    cluster.run(0..300);
    cluster.on(pod_event(ready("new")), 300);
    cluster.on(pod_event(pod("web").namespace("other").uid("other").labeled().ready(0).watched()), 300);
    cluster.run(300..304);
    assert_eq!(cluster.tries.get("default/new"), Some(&1));
    assert_eq!(cluster.created, 1, "the other namespace");
}

#[test]
fn a_quota_with_room_for_one_leads_to_few_tries_more() {
    let mut cluster = Cluster::new(many());
    cluster.run(0..300);
    let before: usize = cluster.tries.values().sum();
    let mut second = 300;
    let (id, claim) = cluster.next_claim(&mut second, 0);
    let Operation::Claim(claim) = claim else { panic!("{claim:?}") };
    let record = Arc::new(fixtures::checkpoint("web").named(&claim.name).build());
    cluster.has_room = false;
    cluster.created = 1;
    cluster.on(Input::Progress { id, progress: Progress::Claimed(record) }, second);
    let created = Input::Finished { id, result: OperationResult::Claim(Ok(ClaimResult::Created)) };
    cluster.on(created, second);
    second += 1;
    cluster.run(second..second + 60);
    let more = cluster.tries.values().sum::<usize>() - before;
    assert!(more <= 40, "{more}");
}

#[test]
fn the_next_claim_is_tried_a_minute_after_the_one_before_has_started() {
    let mut cluster = Cluster::new(many().into_iter().take(2).collect());
    cluster.run(0..1);
    let mut second = 1;
    let (_, claim) = cluster.next_claim(&mut second, 50);
    assert!(matches!(claim, Operation::Claim(_)), "{claim:?}");
    let claimed = second;
    let (_, next) = cluster.next_operation(&mut second);
    assert!(matches!(next, Operation::FindWorkload { .. }), "{next:?}");
    assert!((60..=62).contains(&(second - claimed)), "{} s", second - claimed);
}

#[test]
fn nothing_is_kept_of_rejected_claims_of_pods_that_are_gone() {
    let mut cluster = Cluster::new(many());
    cluster.run(0..30);
    for pod in many() {
        cluster.on(Input::Pods { scope: 0, event: Box::new(Event::Delete(pod)) }, 30);
    }
    cluster.run(30..150);
    assert_eq!(cluster.engine.kept().rejected, 0);
    assert_eq!(cluster.engine.kept().timers, 1, "retention");
}

#[test]
fn a_container_whose_image_changes_is_tried_with_the_new_one() {
    let of =
        |image: &str, restarts| pod("p0").uid("p0").labeled().image(image).ready(0).restarts("app", restarts).watched();
    let mut cluster = Cluster::new(many());
    cluster.run(0..300);
    let before = cluster.tries["default/p0"];
    cluster.on(pod_event(of("web:2", 1)), 300);
    cluster.run(300..304);
    assert_eq!(cluster.tries["default/p0"], before + 1);
    assert_eq!(cluster.engine.kept().rejected, 500, "those of the earlier image are not kept");
}
