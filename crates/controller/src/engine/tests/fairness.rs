//! How long the pods of a namespace wait for a slot while the attempts of other namespaces take long.

use std::collections::{BTreeMap, HashMap};

use snapwatcher_api::checkpoint::CheckpointStatus;

use super::*;

/// How long an attempt of a hostile namespace has its slot: the request has no response, and then the back-end may still work.
const LONG: i64 = 280;
const SHORT: i64 = 10;
const RESPONSE_TIMEOUT: i64 = 120;

/// An attempt under way.
struct Running {
    id: OperationId,
    is_claim: bool,
    record: Checkpoint,
}

/// An engine whose operations take as long as the namespace of their pod wants.
struct Cluster {
    engine: Engine,
    second: i64,
    pods: usize,
    /// By the second of their end.
    running: BTreeMap<i64, Vec<Running>>,
    /// When each pod that waits has become Ready.
    ready: HashMap<PodName, i64>,
    /// How long the pods of each namespace waited for their attempt.
    waits: HashMap<String, Vec<i64>>,
}

impl Cluster {
    /// Each of these namespaces has a pod that has not started.
    fn new(concurrent: usize, namespaces: &[&str]) -> Self {
        let limits = ConcurrencyLimits { concurrent, ..settings().limits };
        let waiting = |namespace: &&str| pod("waiting").namespace(namespace).uid(namespace).labeled().watched();
        let (engine, _) =
            leading(EngineSettings { limits, ..settings() }, namespaces.iter().map(waiting).collect::<Vec<_>>());
        let (running, ready, waits) = (BTreeMap::new(), HashMap::new(), HashMap::new());
        Self { engine, second: 0, pods: 0, running, ready, waits }
    }

    /// Pods of a namespace become Ready, each on a node of its own.
    fn add_pods(&mut self, namespace: &str, count: usize) {
        for _ in 0..count {
            self.pods += 1;
            let name = format!("{namespace}-{}", self.pods);
            let pod = pod(&name).namespace(namespace).uid(&name).labeled().ready(self.second).node(&name).watched();
            self.ready.insert(PodFacts::from(pod.clone()).name, self.second);
            self.on(pod_event(pod));
        }
    }

    fn on(&mut self, input: Input) {
        let mut work = operations(self.engine.on(input, now(self.second)));
        while let Some((id, operation)) = work.pop() {
            let inputs = match operation {
                Operation::FindWorkload { .. } => {
                    vec![Input::Finished { id, result: OperationResult::Workload(Ok(workload())) }]
                }
                Operation::Claim(claim) => {
                    let mut record = fixtures::checkpoint("web").named(&claim.name).build();
                    record.metadata.namespace = Some(claim.pod.name.namespace.to_string());
                    record.spec = (&claim.target).into();
                    let progress = Progress::Claimed(Arc::new(record.clone()));
                    let claimed = Input::Progress { id, progress };
                    if claim.attempts {
                        self.attempt_starts(&claim.pod.name, Running { id, is_claim: true, record });
                        vec![claimed]
                    } else {
                        let result = OperationResult::Claim(Ok(ClaimResult::Created));
                        vec![claimed, Input::Finished { id, result }, shown(record)]
                    }
                }
                Operation::Attempt(attempt) => {
                    let record = (*attempt.checkpoint).clone();
                    self.attempt_starts(&attempt.pod, Running { id, is_claim: false, record });
                    vec![]
                }
                operation => panic!("{operation:?}"),
            };
            for input in inputs {
                work.extend(operations(self.engine.on(input, now(self.second))));
            }
        }
    }

    fn attempt_starts(&mut self, pod: &PodName, running: Running) {
        let namespace = pod.namespace.to_string();
        let takes = if namespace.starts_with("hostile") { LONG } else { SHORT };
        let since = self.ready.remove(pod).unwrap();
        self.waits.entry(namespace).or_default().push(self.second - since);
        self.running.entry(self.second + takes).or_default().push(running);
    }

    fn run(&mut self, seconds: i64) {
        for _ in 0..seconds {
            self.second += 1;
            for Running { id, is_claim, mut record } in self.running.remove(&self.second).unwrap_or_default() {
                record.status = Some(CheckpointStatus { phase: Some(Phase::Succeeded), ..Default::default() });
                self.on(shown(record.clone()));
                let sent = sent_with_success(Arc::new(record), true);
                let result = if is_claim {
                    OperationResult::Claim(Ok(ClaimResult::Attempted(sent)))
                } else {
                    OperationResult::Attempt(Ok(sent))
                };
                self.on(Input::Finished { id, result });
            }
            self.on(Input::Wakeup);
            while self.engine.next_wakeup(now(self.second)).is_zero() {
                self.on(Input::Wakeup);
            }
        }
    }

    /// How many pods of the namespace were attempted, and the longest wait.
    fn attempted(&self, namespace: &str) -> (usize, i64) {
        let waits = self.waits.get(namespace).cloned().unwrap_or_default();
        (waits.len(), waits.into_iter().max().unwrap_or_default())
    }
}

fn shown(record: Checkpoint) -> Input {
    Input::Checkpoints { scope: 0, event: Box::new(Event::Apply(record)) }
}

#[test]
fn many_pods_of_another_namespace_wait_less_than_a_response_takes() {
    let mut cluster = Cluster::new(8, &["hostile", "other"]);
    cluster.add_pods("hostile", 40);
    cluster.run(5);
    assert_eq!(cluster.attempted("hostile").0, 4);
    cluster.add_pods("other", 20);
    cluster.run(LONG - 10);
    let (attempted, longest) = cluster.attempted("other");
    assert!(attempted == 20 && longest < RESPONSE_TIMEOUT, "{attempted} of 20, the last after {longest} s");
}

#[test]
fn two_hostile_namespaces_delay_the_others_by_less_than_a_response_takes() {
    let mut cluster = Cluster::new(8, &["hostile-1", "hostile-2", "other", "further"]);
    for hostile in ["hostile-1", "hostile-2"] {
        cluster.add_pods(hostile, 40);
    }
    cluster.run(5);
    for _ in 0..60 {
        cluster.add_pods("other", 1);
        cluster.run(SHORT);
    }
    cluster.add_pods("further", 10);
    cluster.run(RESPONSE_TIMEOUT);
    for (namespace, pods) in [("other", 60), ("further", 10)] {
        let (attempted, longest) = cluster.attempted(namespace);
        assert!(
            attempted == pods && longest < RESPONSE_TIMEOUT,
            "{namespace}: {attempted}, the last after {longest} s"
        );
    }
}

#[test]
fn with_two_slots_one_is_left_to_the_other_namespace() {
    let mut cluster = Cluster::new(2, &["hostile", "other"]);
    cluster.add_pods("hostile", 10);
    cluster.run(5);
    cluster.add_pods("other", 10);
    cluster.run(LONG - 10);
    let (attempted, longest) = cluster.attempted("other");
    assert!(attempted == 10 && longest < RESPONSE_TIMEOUT, "{attempted} of 10, the last after {longest} s");
}

#[test]
fn the_only_namespace_has_all_slots() {
    let mut cluster = Cluster::new(8, &["hostile"]);
    cluster.add_pods("hostile", 40);
    cluster.run(5);
    assert_eq!(cluster.attempted("hostile").0, 8);
}
