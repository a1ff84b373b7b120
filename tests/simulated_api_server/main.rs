//! The API server of the crate `simulation` answers as a real one does.
//!
//! Random scripts of calls are carried out on both. The answers have to agree in codes and reasons, in the objects, in the
//! events of watches, and in the order of `resourceVersion`s and UIDs. STORM_SEED repeats the scripts.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod client;
mod objects;
mod pods;
mod script;
mod servers;
mod transcript;

use fastrand::Rng;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use lab::in_namespace;
use lab::storm::{self, Size};
use simulation::ApiServer;
use snapwatcher_api::checkpoint::Checkpoint;
use snapwatcher_api::pod::WatchedPod;

use client::Client;
use pods::PodAnswer;
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
        counts.print();
    })
    .await;
}

#[tokio::test]
async fn the_simulated_pods_change_as_the_real_ones() {
    in_namespace("the_simulated_pods_change_as_the_real_ones", |ns| async move {
        let mut rng = Rng::with_seed(storm::seed("simulated_api_server"));
        let api: Api<WatchedPod> = ns.api();
        for number in 0..Size::chosen().of(15, 150) {
            let script = pods::random(&mut rng);
            let (real, simulated) = pods::run(&api, &format!("s{number}-"), &script).await;
            let lines = |answers: &[PodAnswer]| answers.iter().map(|answer| format!("{answer:?}")).collect::<Vec<_>>();
            for (at, (one, other)) in lines(&real).iter().zip(lines(&simulated)).enumerate() {
                eprintln!("{at}: {:?}\n  {one}\n  {other}", script.get(at));
            }
            assert_eq!(real, simulated);
            let now = DeleteParams::default().grace_period(0);
            api.delete_collection(&now, &ListParams::default()).await.unwrap();
            ns.until("no pod is left", async || {
                let left = api.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items.len();
                if left == 0 { Ok(()) } else { Err(format!("{left} are left")) }
            })
            .await;
        }
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

/// A simulated server that has forgotten what was before.
fn simulated(namespace: &str) -> Simulated {
    let mut server = ApiServer::new(&["default", namespace]);
    server.compact(server.revision());
    Simulated { server, namespace: namespace.to_owned(), token: None, now: Timestamp::now() }
}

fn compare(number: usize, script: &[Call], real: &[Answer], simulated: &[Answer]) {
    let Some(at) = (0..script.len()).find(|at| real[*at] != simulated[*at]) else { return };
    let before: Vec<_> = (0..at).map(|at| format!("  {at}: {:?}: {}", script[at], real[at].summary())).collect();
    panic!(
        "script {number}, call {at}: {:?}\n     real: {:#?}\nsimulated: {:#?}\nbefore:\n{}",
        script[at],
        real[at],
        simulated[at],
        before.join("\n")
    );
}

/// How often each answer was seen, so that scripts that show nothing are noticed.
#[derive(Default)]
struct Counts(std::collections::BTreeMap<String, usize>);

impl Counts {
    fn add(&mut self, script: &[Call], answers: &[Answer]) {
        for (call, answer) in script.iter().zip(answers) {
            *self.0.entry(format!("{}: {}", call.kind(), answer.summary())).or_default() += 1;
        }
    }

    fn print(&self) {
        for (answer, count) in &self.0 {
            println!("{count:6} {answer}");
        }
    }
}
