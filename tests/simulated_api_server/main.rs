//! The API server of the crate `simulation` answers as a real one does.
//!
//! Random scripts of calls are carried out on both. The answers have to agree in codes and reasons, in the objects, in the
//! events of watches, and in the order of `resourceVersion`s and UIDs. STORM_SEED repeats the scripts.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod client;
mod objects;
mod pods;
mod script;
mod servers;
mod transcript;

use std::collections::BTreeMap;

use fastrand::Rng;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use lab::in_namespace;
use lab::storm::{self, Size};
use lab::terminal::print_result;
use simulation::ApiServer;
use snapwatcher_api::checkpoint::Checkpoint;
use snapwatcher_api::pod::WatchedPod;

use client::Client;
use pods::{PodAnswer, PodCall};
use script::{Call, Form};
use serde_json::json;
use servers::{Real, Server as _, Simulated};
use transcript::Answer;

#[tokio::test]
async fn the_simulated_api_server_answers_as_the_real_one() {
    in_namespace("the_simulated_api_server_answers_as_the_real_one", |ns| async move {
        let mut rng = Rng::with_seed(storm::seed("simulated_api_server"));
        let api: Api<Checkpoint> = ns.api();
        let mut counts = Counts::default();
        for number in 0..Size::chosen().of(40, 400) {
            let (script, prefix) = (script::random(&mut rng), format!("s{number}-"));
            let elsewhere = Api::namespaced(ns.client(), "elsewhere");
            let real = Real { api: api.clone(), elsewhere, token: None };
            let real = Client::new(real, &prefix).await.run(&script).await;
            let simulated = Client::new(simulated(ns.name()), &prefix).await.run(&script).await;
            compare(number, &script, &real, &simulated);
            counts.add(&script, &real);
            api.delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
            ns.until("no Checkpoint is left", async || {
                let left = api.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items.len();
                if left == 0 { Ok(()) } else { Err(format!("{left} are left")) }
            })
            .await;
        }
        counts.print("Checkpoints", &ANSWERS);
    })
    .await;
}

#[tokio::test]
async fn the_simulated_pods_change_as_the_real_ones() {
    in_namespace("the_simulated_pods_change_as_the_real_ones", |ns| async move {
        let mut rng = Rng::with_seed(storm::seed("simulated_api_server"));
        let api: Api<WatchedPod> = ns.api();
        let mut counts = Counts::default();
        for number in 0..Size::chosen().of(15, 150) {
            let script = pods::random(&mut rng);
            let (real, simulated) = pods::run(&api, &format!("s{number}-"), &script).await;
            compare_pods(number, &script, &real, &simulated);
            counts.add_pods(&script, &real);
            let now = DeleteParams::default().grace_period(0);
            api.delete_collection(&now, &ListParams::default()).await.unwrap();
            ns.until("no pod is left", async || {
                let left = api.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items.len();
                if left == 0 { Ok(()) } else { Err(format!("{left} are left")) }
            })
            .await;
        }
        counts.print("pods", &POD_ANSWERS);
    })
    .await;
}

#[tokio::test]
async fn nothing_can_be_created_in_a_namespace_that_is_being_deleted() {
    in_namespace("nothing_can_be_created_in_a_namespace", |ns| async move {
        let mut simulated = simulated(ns.name());
        let elsewhere = Api::namespaced(ns.client(), "elsewhere");
        let mut real = Real { api: ns.api(), elsewhere, token: None };
        // Its finalizer keeps the namespace.
        let held = json!({"metadata": {"name": "held", "finalizers": ["snapwatcher.invalid/held"]}});
        ns.create_object::<ConfigMap>(&serde_json::from_value(held).unwrap()).await;
        Api::<Namespace>::all(ns.client()).delete(ns.name(), &DeleteParams::default()).await.unwrap();
        simulated.server.terminate_namespace(&simulated.namespace);
        // The server's own view of the namespace is a moment behind.
        ns.until("no Checkpoint can be created", async || {
            real.create(objects::object("a", Form::Pod), false).await.is_err()
        })
        .await;
        for form in [Form::Pod, Form::Empty] {
            let real = real.create(objects::object("a", form), false).await.unwrap_err();
            let simulated = simulated.create(objects::object("a", form), false).await.unwrap_err();
            assert_eq!(real, simulated);
            assert!(real.is_namespace_terminating && real.code == 403, "{real:?}");
        }
        assert_eq!(real.get("a").await.unwrap_err(), simulated.get("a").await.unwrap_err());
        let release = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        ns.api::<ConfigMap>().patch("held", &PatchParams::default(), &release).await.unwrap();
    })
    .await;
}

/// The time of the simulated server.
const NOW: Timestamp = Timestamp::constant(1_700_000_000, 987_654_321);

/// A simulated server that has forgotten what was before.
fn simulated(namespace: &str) -> Simulated {
    let mut server = ApiServer::new(&["default", namespace]);
    server.compact(server.revision());
    Simulated { server, namespace: namespace.to_owned(), token: None, now: NOW }
}

fn compare(number: usize, script: &[Call], real: &[Answer], simulated: &[Answer]) {
    let Some(at) = (0..script.len()).find(|at| real[*at] != simulated[*at]) else { return };
    let before: Vec<_> = (0..at).map(|at| format!("  {at}: {:?}: {:?}", script[at], real[at].refusal)).collect();
    panic!(
        "script {number}, call {at}: {:?}\n     real: {:#?}\nsimulated: {:#?}\nbefore:\n{}",
        script[at],
        real[at],
        simulated[at],
        before.join("\n")
    );
}

fn compare_pods(number: usize, script: &[(usize, PodCall)], real: &[PodAnswer], simulated: &[PodAnswer]) {
    let Some(at) = (0..real.len()).find(|at| real[*at] != simulated[*at]) else { return };
    let before: Vec<_> = script.iter().take(at + 1).map(|call| format!("  {call:?}")).collect();
    panic!(
        "script {number}, answer {at}:\n     real: {:#?}\nsimulated: {:#?}\ncalls:\n{}",
        real[at],
        simulated[at],
        before.join("\n")
    );
}

/// How often each answer was seen, so that scripts that show nothing are noticed.
#[derive(Default)]
struct Counts(BTreeMap<String, usize>);

/// Answers that have to be seen.
const ANSWERS: [&str; 25] = [
    "create: 404 NotFound",
    "create: 409 AlreadyExists",
    "create: 422 Invalid",
    "create: 500 ",
    "create: done",
    "delete: 404 NotFound",
    "delete: 409 Conflict",
    "delete: done",
    "get: 404 NotFound",
    "get: done",
    "list: done",
    "list: more",
    "next page: done",
    "next page: more",
    "replace status: 404 NotFound",
    "replace status: 409 Conflict",
    "replace status: 422 Invalid",
    "replace status: done",
    "replace status: nothing changed",
    "replace: 404 NotFound",
    "replace: 409 Conflict",
    "replace: 422 Invalid",
    "replace: done",
    "watch: 410 Expired",
    "watch: done",
];
const POD_ANSWERS: [&str; 15] = [
    "Annotate: 404",
    "Annotate: done",
    "Create: 409",
    "Create: done",
    "Delete: 404",
    "Delete: done",
    "Get: 404",
    "Get: done",
    "Label: 404",
    "Label: done",
    "List: done",
    "Remove: 404",
    "Remove: done",
    "SetReady: done",
    "Watch: done",
];

impl Counts {
    fn add(&mut self, script: &[Call], answers: &[Answer]) {
        let mut newest = BTreeMap::new();
        for (call, answer) in script.iter().zip(answers) {
            let written = answer.seen.first().map(|(_, seen)| seen.clone());
            let is_known = written.as_ref().is_some_and(|seen| newest.get(&seen.name) == Some(seen));
            let is_write = matches!(call, Call::Replace { .. } | Call::ReplaceStatus { .. });
            let summary = match &answer.refusal {
                Some(refusal) => format!("{} {}", refusal.code, refusal.reason),
                None if answer.has_more => "more".to_owned(),
                None if is_write && is_known => "nothing changed".to_owned(),
                None => "done".to_owned(),
            };
            newest.extend(written.map(|seen| (seen.name.clone(), seen)));
            *self.0.entry(format!("{}: {summary}", call.kind())).or_default() += 1;
        }
    }

    fn add_pods(&mut self, script: &[(usize, PodCall)], answers: &[PodAnswer]) {
        // The watch is the last call. Before it, the object that ends it was created.
        let answers = answers.iter().take(script.len() - 1).chain(answers.last());
        for ((_, call), answer) in script.iter().zip(answers) {
            let kind = format!("{call:?}").chars().take_while(char::is_ascii_alphabetic).collect::<String>();
            let summary = answer.as_ref().map_or_else(ToString::to_string, |_| "done".to_owned());
            *self.0.entry(format!("{kind}: {summary}")).or_default() += 1;
        }
    }

    fn print(&self, what: &str, expected: &[&str]) {
        let lines: Vec<_> = self.0.iter().map(|(answer, count)| format!("  {count:6} {answer}")).collect();
        print_result(&format!("simulated_api_server, answers about {what}:\n{}", lines.join("\n")));
        // The short form is too short for the rare ones.
        for answer in expected.iter().filter(|_| Size::chosen() == Size::Long) {
            assert!(self.0.contains_key(*answer), "no call was answered by `{answer}`");
        }
    }
}
