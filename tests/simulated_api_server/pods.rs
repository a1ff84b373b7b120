//! Random scripts of calls on pods, on both servers.

use fastrand::Rng;
use futures::StreamExt;
use jiff::Timestamp;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use lab::objects::pod;
use serde_json::{Value, json};
use simulation::{ApiServer, EventKind, Rejection};
use snapwatcher_api::keys::{DELAY, OPTED_IN, SNAP};
use snapwatcher_api::pod::{PodFacts, WatchedPod};

const NAMES: [&str; 2] = ["a", "b"];
const NOW: Timestamp = Timestamp::constant(1_700_000_000, 0);

#[derive(Debug, Clone, Copy)]
pub(crate) enum PodCall {
    Create { is_labeled: bool, has_node: bool },
    Label(bool),
    Annotate(u32),
    SetReady(bool),
    Delete,
    Remove,
    Get,
    List,
    Watch,
}

/// The code of the answer, and what was seen: events with their types, and objects.
pub(crate) type PodAnswer = Result<Vec<(&'static str, SeenPod)>, u16>;

/// A pod without what differs between two servers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SeenPod {
    pub(crate) version: u64,
    uid: usize,
    facts: PodFacts,
}

pub(crate) fn random(rng: &mut Rng) -> Vec<(usize, PodCall)> {
    let begin = (0..NAMES.len()).map(|name| (name, PodCall::Create { is_labeled: name == 0, has_node: name == 0 }));
    let mut calls: Vec<_> = begin.collect();
    for _ in 0..rng.usize(15..=30) {
        let call = match rng.usize(..14) {
            0..2 => PodCall::Create { is_labeled: rng.bool(), has_node: rng.usize(..4) > 0 },
            2..5 => PodCall::Label(rng.bool()),
            5..7 => PodCall::Annotate(rng.u32(..2)),
            7..10 => PodCall::SetReady(rng.bool()),
            10 => PodCall::Delete,
            11 => PodCall::Remove,
            12 => PodCall::Get,
            _ => PodCall::List,
        };
        calls.push((rng.usize(..NAMES.len()), call));
    }
    calls.extend([(0, PodCall::List), (0, PodCall::Watch)]);
    calls
}

/// Carries out a script on both servers. Names and the node begin with `prefix`.
pub(crate) async fn run(
    api: &Api<WatchedPod>,
    prefix: &str,
    script: &[(usize, PodCall)],
) -> (Vec<PodAnswer>, Vec<PodAnswer>) {
    let listed = api.list(&ListParams::default()).await.unwrap();
    let (mut real, mut simulated) = (Transcript::default(), Transcript::default());
    let mut server = ApiServer::new(&["ns"]);
    let start = server.revision();
    for (name, call) in script {
        let name = format!("{prefix}{}", NAMES[*name]);
        let end = format!("{prefix}end");
        let since = listed.metadata.resource_version.as_deref().unwrap();
        if matches!(call, PodCall::Watch) {
            let create = PodCall::Create { is_labeled: true, has_node: false };
            simulated.add(in_simulation(&mut server, &end, create, start).map_err(Rejection::code));
            real.add(in_reality(api, &end, create, since, None).await);
        }
        let answer = in_simulation(&mut server, &name, *call, start).map_err(Rejection::code);
        simulated.add(answer);
        // What a kubelet writes is what the simulation has written.
        let status = server.pod("ns", &name).ok().map(|pod| json!({"status": pod.object.status}));
        real.add(in_reality(api, &name, *call, since, status).await);
    }
    (real.ranked(), simulated.ranked())
}

type Outcome<E> = Result<Vec<(&'static str, WatchedPod)>, E>;

fn template(name: &str, is_labeled: bool, has_node: bool) -> Value {
    // No scheduler sees it, and its node does not exist. So nothing but the script writes to it.
    let mut object = serde_json::to_value(pod(name).label("pod-template-hash", "r1").build()).unwrap();
    object["spec"]["schedulerName"] = json!("none");
    object["spec"]["terminationGracePeriodSeconds"] = json!(30);
    if is_labeled {
        object["metadata"]["labels"][SNAP] = json!(OPTED_IN);
    }
    if has_node {
        object["spec"]["nodeName"] = json!(format!("{name}-node"));
    }
    object
}

fn in_simulation(server: &mut ApiServer, name: &str, call: PodCall, since: u64) -> Outcome<Rejection> {
    let pod = match call {
        PodCall::Create { is_labeled, has_node } => {
            let mut object: WatchedPod = serde_json::from_value(template(name, is_labeled, has_node)).unwrap();
            object.metadata.namespace = Some("ns".to_owned());
            server.create_pod(object, NOW)?
        }
        PodCall::Label(is_labeled) => server.change_pod("ns", name, |pod| {
            let labels = pod.metadata.labels.get_or_insert_default();
            labels.remove(SNAP);
            labels.extend(is_labeled.then(|| (SNAP.to_owned(), OPTED_IN.to_owned())));
        })?,
        PodCall::Annotate(number) => server.change_pod("ns", name, |pod| {
            let annotations = pod.metadata.annotations.get_or_insert_default();
            annotations.insert(DELAY.to_owned(), format!("{number}s"));
        })?,
        PodCall::SetReady(is_ready) => server.set_pod_ready("ns", name, is_ready, NOW)?,
        PodCall::Delete => return server.delete_pod("ns", name, NOW).map(|()| Vec::new()),
        PodCall::Remove => return server.remove_pod("ns", name, NOW).map(|()| Vec::new()),
        PodCall::Get => server.pod("ns", name)?,
        PodCall::List => {
            let page = server.list_labeled_pods(Some("ns"), 0, None)?;
            return Ok(page.items.iter().map(|pod| ("", pod.object.clone())).collect());
        }
        PodCall::Watch => {
            let events = server.labeled_pod_events(Some("ns"), since)?.map(|event| {
                let kind = match event.kind {
                    EventKind::Added => "ADDED",
                    EventKind::Modified => "MODIFIED",
                    EventKind::Deleted => "DELETED",
                };
                (kind, event.object.object.clone())
            });
            return Ok(events.collect());
        }
    };
    Ok(vec![("", pod.object.clone())])
}

async fn in_reality(
    api: &Api<WatchedPod>,
    name: &str,
    call: PodCall,
    since: &str,
    status: Option<Value>,
) -> Outcome<u16> {
    let code = |error| match error {
        kube::Error::Api(status) => status.code,
        other => panic!("{other:?}"),
    };
    let patch = async |patch: Value| api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
    let selector = format!("{SNAP}={OPTED_IN}");
    let outcome = match call {
        PodCall::Create { is_labeled, has_node } => {
            // The type of the watch lacks fields that a creation needs.
            let object = serde_json::from_value(template(name, is_labeled, has_node)).unwrap();
            let pods =
                Api::<k8s_openapi::api::core::v1::Pod>::namespaced(api.clone().into_client(), api.namespace().unwrap());
            match pods.create(&PostParams::default(), &object).await {
                Ok(created) => Ok(serde_json::from_value(serde_json::to_value(created).unwrap()).unwrap()),
                Err(error) => Err(error),
            }
        }
        PodCall::Label(is_labeled) => {
            patch(json!({"metadata": {"labels": {SNAP: is_labeled.then_some(OPTED_IN)}}})).await
        }
        PodCall::Annotate(number) => patch(json!({"metadata": {"annotations": {DELAY: format!("{number}s")}}})).await,
        PodCall::SetReady(_) => {
            let patch = Patch::Merge(status.unwrap_or_else(|| json!({"status": {"phase": "Running"}})));
            api.patch_status(name, &PatchParams::default(), &patch).await
        }
        PodCall::Delete => {
            return api.delete(name, &DeleteParams::default()).await.map(|_| Vec::new()).map_err(code);
        }
        PodCall::Remove => {
            return api.delete(name, &DeleteParams::default().grace_period(0)).await.map(|_| Vec::new()).map_err(code);
        }
        PodCall::Get => api.get(name).await,
        PodCall::List => {
            let listed = api.list(&ListParams::default().labels(&selector)).await.map_err(code)?;
            return Ok(listed.items.into_iter().map(|pod| ("", pod)).collect());
        }
        PodCall::Watch => return Ok(watch(api, &WatchParams::default().timeout(60).labels(&selector), since).await),
    };
    outcome.map(|pod| vec![("", pod)]).map_err(code)
}

/// The events up to the creation of the pod whose name ends with `end`.
async fn watch(api: &Api<WatchedPod>, params: &WatchParams, since: &str) -> Vec<(&'static str, WatchedPod)> {
    let mut stream = std::pin::pin!(api.watch(params, since).await.unwrap());
    let mut events = Vec::new();
    while let Some(event) = stream.next().await {
        events.push(match event.unwrap() {
            WatchEvent::Added(pod) => ("ADDED", pod),
            WatchEvent::Modified(pod) => ("MODIFIED", pod),
            WatchEvent::Deleted(pod) => ("DELETED", pod),
            other => panic!("{other:?}"),
        });
        if events.last().is_some_and(|(_, pod)| pod.metadata.name.as_ref().unwrap().ends_with("end")) {
            return events;
        }
    }
    panic!("the watch ended: {events:?}");
}

#[derive(Default)]
struct Transcript {
    answers: Vec<PodAnswer>,
    uids: Vec<String>,
}

impl Transcript {
    fn add(&mut self, outcome: Outcome<u16>) {
        let answer = outcome.map(|pods| pods.into_iter().map(|(kind, pod)| (kind, self.seen(pod))).collect());
        self.answers.push(answer);
    }

    fn seen(&mut self, pod: WatchedPod) -> SeenPod {
        let version = pod.metadata.resource_version.as_ref().unwrap().parse().unwrap();
        let mut facts = PodFacts::from(pod);
        facts.created = None;
        facts.name.namespace = "".into();
        let uid = std::mem::take(&mut facts.uid);
        let known = self.uids.iter().position(|known| *known == uid).unwrap_or(self.uids.len());
        if known == self.uids.len() {
            self.uids.push(uid);
        }
        SeenPod { version, uid: known, facts }
    }

    /// Replaces each version by its rank.
    fn ranked(mut self) -> Vec<PodAnswer> {
        let mut versions: Vec<u64> = self.answers.iter().flatten().flatten().map(|(_, pod)| pod.version).collect();
        versions.sort_unstable();
        versions.dedup();
        for (_, pod) in self.answers.iter_mut().flatten().flatten() {
            pod.version = versions.iter().position(|version| *version == pod.version).unwrap() as u64;
        }
        self.answers
    }
}
