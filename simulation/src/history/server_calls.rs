//! Calls that reach the API server.

use std::sync::Arc;

use snapwatcher_api::checkpoint::Checkpoint;
use snapwatcher_api::pod::PodFacts;
use snapwatcher_kubernetes::cluster::{CallError, LivePod, PodDetail};
use snapwatcher_kubernetes::workload::Workload;

use super::calls::{Answer, Call, Request, error, failed};
use super::coverage::Fault;
use super::facts;
use super::setup::NAMESPACES;
use super::time::true_time;
use super::world::World;
use crate::Rejection;

impl World {
    /// A call takes its ordinary way.
    pub(super) fn complete(&mut self, call: &Call) {
        let kind = call.request.kind();
        let answer = if self.is_outage() {
            kind.inspect(|kind| self.coverage.fault(Fault::Outage, *kind));
            self.note_of(call.process, || {
                format!("#{} {}: no connection", call.operation.0, super::trace::call(&call.request))
            });
            failed(&call.request, error(None))
        } else {
            let answer = self.carry_out(call.generation, &call.request);
            self.note_of(call.process, || {
                format!(
                    "#{} {}: {}",
                    call.operation.0,
                    super::trace::call(&call.request),
                    super::trace::answer(&answer)
                )
            });
            answer
        };
        self.answer_call(call, answer);
    }

    /// The client gets this answer.
    pub(super) fn answer_call(&mut self, call: &Call, answer: Answer) {
        if let Answer::Pod(Ok(Some(live))) = &answer
            && self.is_alive(call.process, call.generation)
            && let Some(started) = self.processes[call.process].seen.started.get_mut(&call.operation)
        {
            started.live_read = Some((live.facts.clone(), self.now));
        }
        if let Answer::Stored(Ok(stored)) = &answer
            && self.is_alive(call.process, call.generation)
        {
            let (key, version) = (facts::key(stored), super::check_starts::version(stored));
            self.processes[call.process].seen.written.insert(key, version);
        }
        self.answer((call.process, call.generation), call.operation, &call.answer, answer);
    }

    /// A call has its effect.
    pub(super) fn carry_out(&mut self, generation: u64, request: &Request) -> Answer {
        match request {
            Request::ReadPod(pod) => Answer::Pod(match self.server.pod(&pod.namespace, &pod.name) {
                Ok(pod) => Ok(Some(LivePod { facts: pod.facts.clone(), detail: PodDetail::Nothing })),
                Err(_) => Ok(None),
            }),
            Request::ListPods { namespace, revision } => {
                let pods = self.server.labeled_pods_of(namespace, revision);
                Answer::Pods(Ok(pods.map(|pod| pod.facts.clone()).collect()))
            }
            Request::Workload(pod) => Answer::Workload(Ok(workload_of(pod))),
            Request::Create(object) if self.has_full_quota(object) => {
                self.coverage.event("claims rejected by a quota");
                Answer::Stored(Err(error(Some(403))))
            }
            Request::Create(object) => {
                let created = self.server.create_checkpoint((**object).clone(), true_time(self.now));
                if let Ok(created) = &created {
                    self.check_created(created);
                }
                Answer::Stored(created.map(Arc::unwrap_or_clone).map_err(rejected))
            }
            Request::Read { namespace, name } => Answer::Found(match self.server.checkpoint(namespace, name) {
                Ok(found) => Ok(Some(Arc::unwrap_or_clone(found))),
                Err(_) => Ok(None),
            }),
            Request::ReplaceStatus(object) => {
                let before = self.find(object);
                let written = self.server.replace_status((**object).clone());
                if let (Ok(written), Some(before)) = (&written, before) {
                    self.check_status_written(&before, written, generation);
                }
                Answer::Stored(written.map(Arc::unwrap_or_clone).map_err(rejected))
            }
            Request::Backend(_) | Request::Sleep(_) => Answer::Slept,
        }
    }
}

impl World {
    fn has_full_quota(&self, object: &Checkpoint) -> bool {
        let namespaces = NAMESPACES.iter().zip(self.quota_until);
        let mut full = namespaces.filter(|(_, until)| self.now < *until).map(|(namespace, _)| *namespace);
        full.any(|namespace| object.metadata.namespace.as_deref() == Some(namespace))
    }
}

fn rejected(rejection: Rejection) -> CallError {
    CallError::Failed { what: String::new(), source: Box::new(kube::Error::Api(Box::new(rejection.status()))) }
}

/// A ReplicaSet `web-1` belongs to the Deployment `web`.
pub(super) fn workload_of(pod: &PodFacts) -> Workload {
    let Some(controller) = &pod.controller else {
        let (name, uid) = (pod.name.name.to_string(), pod.uid.clone());
        return Workload { api_version: "v1".into(), kind: "Pod".into(), name, uid };
    };
    let name = controller.name.split('-').next().unwrap_or_default().to_owned();
    let uid = format!("deployment-{}-{name}", pod.name.namespace);
    Workload { api_version: "apps/v1".into(), kind: "Deployment".into(), name, uid }
}
