//! The API server of the crate `simulation` answers as a real one does.
//!
//! Random scripts of calls are carried out on both. The answers have to agree in codes and reasons, in the objects, in the
//! events of watches, and in the order of `resourceVersion`s and UIDs. STORM_SEED repeats the scripts.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod client;
mod objects;
mod script;
mod servers;
mod transcript;

use fastrand::Rng;
use jiff::Timestamp;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use lab::in_namespace;
use lab::storm::{self, Size};
use simulation::ApiServer;
use snapwatcher_api::checkpoint::Checkpoint;

use client::Client;
use script::Call;
use servers::{Real, Simulated};
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
            counts.add(&real);
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
    fn add(&mut self, answers: &[Answer]) {
        for answer in answers {
            *self.0.entry(answer.summary()).or_default() += 1;
        }
    }

    fn print(&self) {
        for (answer, count) in &self.0 {
            println!("{count:6} {answer}");
        }
    }
}
