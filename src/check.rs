//! `snapwatcher check`: whether everything that SnapWatcher needs exists, with the settings of `run`.
//!
//! Each topic has a file, with a pure function that evaluates what was seen, and a thin shell that reads. The tests change
//! nothing and request no checkpoint. A failed test does not stop the others; only if the API server cannot be called, nothing
//! else is tested.

mod admission;
mod args;
mod backend;
mod certificate;
mod configuration;
mod definition;
mod finding;
mod labels;
mod nodes;
mod report;
mod required_rights;
mod rights;
mod rule;
mod runtime_support;
mod saving;
mod server;
mod webhook;

use futures::StreamExt as _;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream;

use crate::config::BackendSettings;
use snapwatcher_certificates::ConfigurationKind;
use snapwatcher_daemon::telemetry::error_chain;
use snapwatcher_kubernetes::cluster::{Cluster, WATCH_TIMEOUT, address};

use configuration::{ConfigurationRead, NamedConfiguration};
use required_rights::RightsSettings;
use server::Server;

pub use args::CheckArgs;
pub use finding::{Finding, State, Topic};
pub use report::{Format, Report};
pub use required_rights::required_rules;
pub use rule::{ResourceScope, Rule};

/// How many tests run at the same time, each with one request at a time.
const CONCURRENT_TESTS: usize = 8;

/// The findings of one test.
type Test<'a> = BoxFuture<'a, Vec<Finding>>;

/// Tests everything that these settings need.
pub async fn check(args: &CheckArgs) -> Report {
    let cluster = match Cluster::connect(WATCH_TIMEOUT).await {
        Ok(cluster) => cluster,
        Err(error) => return Report { findings: vec![server::unreachable(&error_chain(&error), None)] },
    };
    let server = match server::read(&cluster.calls).await {
        Ok(server) => server,
        Err(error) => {
            let address = address();
            return Report { findings: vec![server::unreachable(&error_chain(&error), address.as_deref())] };
        }
    };
    let mut findings = vec![server.finding()];
    let tests = stream::iter(tests(args, &cluster, &server)).buffered(CONCURRENT_TESTS);
    findings.extend(tests.flat_map(stream::iter).collect::<Vec<_>>().await);
    // After the others, because it sends many requests at the same time.
    if let BackendSettings::Kubelet(settings) = args.run.checkpoint.backend.settings() {
        findings.extend(nodes::check(*settings, &args.run.certificate.ca.service_namespace, &cluster).await);
    }
    Report { findings }
}

fn tests<'a>(args: &'a CheckArgs, cluster: &'a Cluster, server: &'a Server) -> Vec<Test<'a>> {
    let settings = RightsSettings::of(&args.run);
    let client = &cluster.calls;
    let mutating = settings.mutating.clone();
    let mut tests: Vec<Test<'a>> = Vec::new();
    for rule in required_rights::rules(&settings) {
        tests.push(async move { vec![rights::check(client, &rule, server.account()).await] }.boxed());
    }
    if settings.creates_checkpoints {
        tests.push(async { vec![definition::check(client).await] }.boxed());
    }
    for (kind, name) in
        [(ConfigurationKind::Mutating, settings.mutating), (ConfigurationKind::Validating, settings.validating)]
    {
        let Some(name) = name else {
            if args.run.admission.webhook {
                tests.push(async move { vec![configuration::unnamed(kind)] }.boxed());
            }
            continue;
        };
        let named = NamedConfiguration { kind, name, updates_ca_bundle: settings.updates_ca_bundle };
        tests.push(webhook(cluster, named, args.is_in_cluster()).boxed());
    }
    if args.run.admission.webhook {
        let source = args.run.certificate.source();
        tests.push(async move { certificate::check(&source, cluster).await.into_iter().collect() }.boxed());
    } else {
        tests.push(async { vec![webhook::not_served()] }.boxed());
    }
    match args.run.checkpoint.backend.settings() {
        BackendSettings::Log => tests.push(async { vec![backend::dry_run()] }.boxed()),
        BackendSettings::SnapHook(settings) => tests.push(backend::check(*settings).boxed()),
        BackendSettings::Kubelet(_) => {}
    }
    if args.run.checkpoint.is_suspended() {
        tests.push(async { vec![backend::suspended()] }.boxed());
    }
    tests.push(async move { labels::check(client, &args.run.watch.namespaces(), mutating.as_deref()).await }.boxed());
    if args.run.save.save {
        tests.push(saving::check(cluster, &args.run).boxed());
    }
    if let Some(namespace) = &args.dry_run_pod {
        tests.push(async move { vec![admission::check(client, namespace, server.account()).await] }.boxed());
    }
    tests
}

/// Tests a configuration, and each server that it calls.
async fn webhook(cluster: &Cluster, named: NamedConfiguration, is_in_cluster: bool) -> Vec<Finding> {
    let read = configuration::read(&cluster.calls, &named).await;
    let mut findings = vec![configuration::evaluate(&named, &read)];
    if let ConfigurationRead::Found(clients) = read {
        for server in webhook::servers(&clients) {
            let result = webhook::call(&server).await;
            findings.push(webhook::evaluate(&named, &server, &result, is_in_cluster));
        }
    }
    findings
}
