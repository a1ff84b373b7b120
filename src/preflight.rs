//! `snapwatcher check`: whether what SnapWatcher needs is there, judged by the settings of `run`.
//!
//! Each topic has a file: what is seen is judged by a pure function, and a thin shell looks. Nothing is changed and no
//! checkpoint is asked for. A check that fails stops no other one; only where the API server can't be asked at all there is
//! nothing else to tell.

mod admission;
mod args;
mod backend;
mod certificate;
mod configuration;
mod definition;
mod finding;
mod nodes;
mod report;
mod rights;
mod rule;
mod runtime;
mod server;
mod webhook;

use futures::StreamExt as _;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream;

use crate::config::{BackendSettings, RunArgs};
use snapwatcher_certificates::{ConfigurationKind, TlsSource};
use snapwatcher_daemon::telemetry::error_chain;
use snapwatcher_kubernetes::cluster::{Cluster, WATCH_TIMEOUT, address};

use configuration::{Found, Wanted};
use rights::Needs;
use server::Server;

pub use args::CheckArgs;
pub use finding::{Finding, State, Topic};
pub use report::{Format, Report};

/// So many checks at once, each of which makes one request at a time.
const AT_ONCE: usize = 8;

/// The finding or findings of one check.
type Check<'a> = BoxFuture<'a, Vec<Finding>>;

/// Looks at everything that these settings need.
pub async fn check(args: &CheckArgs) -> Report {
    let cluster = match Cluster::connect(WATCH_TIMEOUT).await {
        Ok(cluster) => cluster,
        Err(error) => return Report { findings: vec![server::away(&error_chain(&error), None)] },
    };
    let server = match server::look(&cluster.calls).await {
        Ok(server) => server,
        Err(error) => {
            let address = address().await;
            return Report { findings: vec![server::away(&error_chain(&error), address.as_deref())] };
        }
    };
    let mut findings = vec![server.finding()];
    let checks = stream::iter(checks(args, &cluster, &server)).buffered(AT_ONCE);
    findings.extend(checks.flat_map(stream::iter).collect::<Vec<_>>().await);
    // After the others, since it asks many by itself.
    if let BackendSettings::Kubelet(settings) = args.run.checkpoint.backend() {
        findings.extend(nodes::look(*settings, &args.run.certificate.ca.service_namespace, &cluster).await);
    }
    Report { findings }
}

fn checks<'a>(args: &'a CheckArgs, cluster: &'a Cluster, server: &'a Server) -> Vec<Check<'a>> {
    let needs = needs(&args.run);
    let client = &cluster.calls;
    let mut checks: Vec<Check<'a>> = Vec::new();
    for rule in rights::rules(&needs) {
        checks.push(async move { vec![rights::look(client, &rule, server.who()).await] }.boxed());
    }
    if needs.records {
        checks.push(async { vec![definition::look(client).await] }.boxed());
    }
    for (kind, name) in
        [(ConfigurationKind::Mutating, &needs.mutating), (ConfigurationKind::Validating, &needs.validating)]
    {
        let Some(name) = name.clone() else {
            checks.push(async move { vec![configuration::unnamed(kind)] }.boxed());
            continue;
        };
        let wanted = Wanted { kind, name, keeps_bundle: needs.keeps_bundle };
        checks.push(webhook(cluster, wanted, args.is_in_cluster()).boxed());
    }
    let source = args.run.certificate.settings().source;
    checks.push(async move { certificate::look(&source).await.into_iter().collect() }.boxed());
    match args.run.checkpoint.backend() {
        BackendSettings::Log => checks.push(async { vec![backend::nobody()] }.boxed()),
        BackendSettings::SnapHook(settings) => checks.push(async { vec![backend::look(*settings).await] }.boxed()),
        BackendSettings::Kubelet(_) => {}
    }
    if let Some(namespace) = &args.dry_run_pod {
        checks.push(async move { vec![admission::look(client, namespace, server.who()).await] }.boxed());
    }
    checks
}

/// A configuration, and everybody it calls.
async fn webhook(cluster: &Cluster, wanted: Wanted, is_in_cluster: bool) -> Vec<Finding> {
    let found = configuration::read(&cluster.calls, &wanted).await;
    let mut findings = vec![configuration::verdict(&wanted, &found)];
    if let Found::Calling(clients) = found {
        for target in webhook::targets(&clients) {
            let dialled = webhook::dial(&target).await;
            findings.push(webhook::verdict(wanted.kind, &target, &dialled, is_in_cluster));
        }
    }
    findings
}

fn needs(args: &RunArgs) -> Needs {
    let backend = args.checkpoint.backend();
    let records = !matches!(backend, BackendSettings::Log);
    let kubelet_account = match backend {
        BackendSettings::Kubelet(settings) => Some(settings.service_account),
        BackendSettings::Log | BackendSettings::SnapHook(_) => None,
    };
    let certificates = args.certificate.settings();
    let (ca_secret, keeps_bundle) = match certificates.source {
        TlsSource::CaSecret { secret, .. } => (Some(secret), true),
        TlsSource::Files { .. } => (None, false),
    };
    Needs {
        namespaces: args.watch.namespaces(),
        records,
        service_namespace: args.certificate.ca.service_namespace.clone(),
        ca_secret,
        lease: (!args.leader.standalone).then(|| args.leader.lease_name.clone()),
        mutating: certificates.mutating,
        validating: certificates.validating,
        keeps_bundle,
        kubelet_account,
        is_pod: args.checkpoint.pod_name.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Command, parse};

    fn needs_of(arguments: &[&str]) -> Needs {
        let arguments = ["snapwatcher", "check"].iter().chain(arguments).map(Into::into);
        match parse(arguments) {
            Ok(Command::Check(args)) => needs(&args.run),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_needed_follows_from_the_flags_of_run() {
        let defaults = needs_of(&[]);
        assert!(defaults.records && defaults.keeps_bundle && !defaults.is_pod);
        assert_eq!(defaults.service_namespace, "snap");
        assert_eq!(defaults.ca_secret.as_deref(), Some("snapwatcher-webhook-ca"));
        assert_eq!((defaults.lease, defaults.mutating, defaults.validating), (None, None, None));

        let dry_run = needs_of(&["--snap-back-api-url", "", "--namespaces", "b,a"]);
        assert_eq!((dry_run.records, dry_run.namespaces), (false, vec!["a".to_owned(), "b".to_owned()]));

        let several = needs_of(&["--standalone=false", "--lease-name=l", "--mutating-webhook-configuration=m"]);
        assert_eq!((several.lease.as_deref(), several.mutating.as_deref()), (Some("l"), Some("m")));

        let kubelet = needs_of(&["--backend=kubelet", "--kubelet-service-account=k"]);
        assert_eq!((kubelet.records, kubelet.kubelet_account.as_deref()), (true, Some("k")));

        let given = needs_of(&["--tls-cert=c", "--tls-key=k"]);
        assert_eq!((given.ca_secret, given.keeps_bundle), (None, false));
    }
}
