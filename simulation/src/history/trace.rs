//! The words of the readable list.

use std::sync::Arc;

use kube::runtime::watcher::Event;
use snapwatcher_api::checkpoint::Checkpoint;
use snapwatcher_controller::operation::Operation;

use super::calls::{Answer, Request};
use super::facts;
use crate::Pod;

fn checkpoint(checkpoint: &Checkpoint) -> String {
    let status = checkpoint.status.as_ref();
    let attempt =
        facts::attempt(checkpoint).map(|attempt| format!(" attempt {} of {}", attempt.number, attempt.holder));
    let reason = checkpoint.reason().map(|reason| format!(" {reason}"));
    let next = status.and_then(|status| status.next_attempt_time.as_ref()).map(|next| format!(" next {}", next.0));
    let (attempt, reason, next) = (attempt.unwrap_or_default(), reason.unwrap_or_default(), next.unwrap_or_default());
    let version = checkpoint.metadata.resource_version.clone().unwrap_or_default();
    format!("{} v{version} {:?}{reason}{attempt}{next}", facts::key(checkpoint), facts::phase(checkpoint))
}

pub(super) fn operation(operation: &Operation) -> String {
    match operation {
        Operation::FindWorkload { pod } => format!("find the workload of {}", pod.name),
        Operation::Claim(claim) => {
            format!(
                "claim {} of pod {}{}",
                claim.name,
                claim.pod.name,
                if claim.attempts { ", and attempt it" } else { "" }
            )
        }
        Operation::Attempt(attempt) => format!("attempt {} on pod {}", checkpoint(&attempt.checkpoint), attempt.pod),
        Operation::WriteUnmet { checkpoint: of, reason, message } => {
            format!("write that {} is {reason}: {message}", facts::key(of))
        }
        Operation::MarkInterrupted(of) => format!("mark interrupted {}", checkpoint(of)),
        Operation::Cancel(of) => format!("cancel {}", checkpoint(of)),
    }
}

pub(super) fn call(request: &Request) -> String {
    match request {
        Request::ReadPod(pod) => format!("GET pod {pod}"),
        Request::ListPods { namespace, revision } => format!("LIST pods of {namespace}, revision {revision}"),
        Request::Workload(pod) => format!("GET workload of {}", pod.name),
        Request::Create(object) => format!("POST {}", checkpoint(object)),
        Request::Read { namespace, name } => format!("GET {namespace}/{name}"),
        Request::ReplaceStatus(object) => format!("PUT status {}", checkpoint(object)),
        Request::Backend(request) => format!("request for {}", request.pod),
        Request::Sleep(time) => format!("sleep {time:?}"),
    }
}

pub(super) fn answer(answer: &Answer) -> String {
    match answer {
        Answer::Pod(Ok(Some(pod))) => format!("{} Ready {}", pod.facts.uid, pod.facts.ready_since.is_some()),
        Answer::Pod(Ok(None)) | Answer::Found(Ok(None)) => "404".to_owned(),
        Answer::Pods(Ok(pods)) => format!("{} pods", pods.len()),
        Answer::Workload(Ok(workload)) => workload.to_string(),
        Answer::Stored(Ok(stored)) => checkpoint(stored),
        Answer::Found(Ok(Some(found))) => checkpoint(found),
        Answer::Pod(Err(error)) | Answer::Pods(Err(error)) | Answer::Stored(Err(error)) | Answer::Found(Err(error)) => {
            error.status().map_or_else(|| "no answer".to_owned(), |status| status.code.to_string())
        }
        Answer::Workload(Err(error)) => error.to_string(),
        Answer::Outcome(outcome) => outcome.to_string(),
        Answer::Slept => String::new(),
    }
}

pub(super) fn pod_event(event: &Event<Arc<Pod>>) -> String {
    match event {
        Event::Init => "a listing begins".to_owned(),
        Event::InitDone => "the listing ends".to_owned(),
        Event::InitApply(pod) | Event::Apply(pod) => {
            let facts = &pod.facts;
            format!(
                "{} {} revision {} images {:?} Ready {} terminating {}",
                facts.name,
                facts.uid,
                facts.revision(),
                facts.containers.iter().map(|container| &*container.image).collect::<Vec<_>>(),
                facts.ready_since.is_some(),
                facts.terminating
            )
        }
        Event::Delete(pod) => format!("deleted {} {}", pod.facts.name, pod.facts.uid),
    }
}

pub(super) fn checkpoint_event(event: &Event<Arc<Checkpoint>>) -> String {
    match event {
        Event::Init => "a listing of Checkpoints begins".to_owned(),
        Event::InitDone => "the listing of Checkpoints ends".to_owned(),
        Event::InitApply(of) | Event::Apply(of) => checkpoint(of),
        Event::Delete(of) => format!("deleted {}", checkpoint(of)),
    }
}
