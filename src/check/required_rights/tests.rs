use clap::Parser;

use super::*;

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    run: RunArgs,
}

fn settings_of(arguments: &[&str]) -> RightsSettings {
    RightsSettings::of(&Flags::parse_from(["snapwatcher"].iter().chain(arguments)).run)
}

fn settings() -> RightsSettings {
    RightsSettings { creates_checkpoints: true, service_namespace: "snap".to_owned(), ..RightsSettings::default() }
}

fn texts(settings: &RightsSettings) -> Vec<String> {
    rules(settings).iter().map(ToString::to_string).collect()
}

#[test]
fn the_rules_follow_the_settings() {
    let base = texts(&settings());
    for rule in [
        "right to get, list, watch pods in all namespaces",
        "right to get replicasets of apps in all namespaces",
        "right to get jobs of batch in all namespaces",
        "right to create, patch events of events.k8s.io in all namespaces",
        "right to get, list, watch, create, delete checkpoints of snap.weaversoft.io in all namespaces",
        "right to update checkpoints/status of snap.weaversoft.io in all namespaces",
        "right to get customresourcedefinitions of apiextensions.k8s.io named `checkpoints.snap.weaversoft.io`",
    ] {
        assert!(base.contains(&rule.to_owned()), "{rule}: {base:#?}");
    }
    assert_eq!(base.len(), 7, "{base:#?}");
    for (case, case_settings, more) in [
        (
            "a CA in a Secret",
            RightsSettings { ca_secret: Some("ca".to_owned()), ..settings() },
            &["right to list, watch, update secrets named `ca` in namespace `snap`"][..],
        ),
        (
            "several replicas",
            RightsSettings { lease: Some("snapwatcher".to_owned()), ..settings() },
            &[
                "right to create leases of coordination.k8s.io in namespace `snap`",
                "right to get, update leases of coordination.k8s.io named `snapwatcher` in namespace `snap`",
            ],
        ),
        (
            "configurations that SnapWatcher updates",
            RightsSettings {
                mutating: Some("m".to_owned()),
                validating: Some("v".to_owned()),
                updates_ca_bundle: true,
                ..settings()
            },
            &[
                "right to get, list, watch, patch mutatingwebhookconfigurations of admissionregistration.k8s.io named `m`",
                "right to get, list, watch, patch validatingwebhookconfigurations of admissionregistration.k8s.io named `v`",
            ],
        ),
        (
            "a configuration that SnapWatcher only reads",
            RightsSettings { mutating: Some("m".to_owned()), ..settings() },
            &["right to get mutatingwebhookconfigurations of admissionregistration.k8s.io named `m`"],
        ),
        (
            "kubelets",
            RightsSettings { kubelet_account: Some("k".to_owned()), ..settings() },
            &[
                "right to get nodes",
                "right to list nodes",
                "right to create serviceaccounts/token named `k` in namespace `snap`",
            ],
        ),
        (
            "Snapshots",
            RightsSettings { saving: Some(SavingRights { keys_secret: Some("k".to_owned()) }), ..settings() },
            &[
                "right to get, list, watch, create, delete snapshots of snap.weaversoft.io in all namespaces",
                "right to patch snapshots/status of snap.weaversoft.io in all namespaces",
                "right to get, patch secrets named `k` in namespace `snap`",
            ],
        ),
        ("a pod in a watched namespace", RightsSettings { is_webhook_pod: true, ..settings() }, &[]),
    ] {
        let found: Vec<_> = texts(&case_settings).into_iter().filter(|rule| !base.contains(rule)).collect();
        assert_eq!(found, more, "{case}");
    }
}

#[test]
fn a_dry_run_needs_no_rights_on_checkpoints_and_reads_no_pod_again() {
    let found = texts(&RightsSettings { creates_checkpoints: false, ..settings() });
    assert_eq!(found[0], "right to list, watch pods in all namespaces");
    assert!(!found.iter().any(|rule| rule.contains("snap.weaversoft.io")), "{found:#?}");
}

#[test]
fn each_watched_namespace_needs_its_rules_and_events_of_the_own_pod_are_only_a_warning() {
    let namespaces = vec!["blog".to_owned(), "shop".to_owned()];
    let found = rules(&RightsSettings { namespaces, is_webhook_pod: true, ..settings() });
    let of = |namespace: &str| found.iter().filter(|rule| rule.namespace.as_deref() == Some(namespace)).count();
    assert_eq!((of("blog"), of("shop")), (6, 6));
    let own: Vec<_> = found.iter().filter(|rule| rule.namespace.as_deref() == Some("snap")).collect();
    assert_eq!(
        own.iter().map(|rule| (rule.resource, rule.if_missing)).collect::<Vec<_>>(),
        [("events", State::Warning)]
    );
}

#[test]
fn the_settings_of_rights_follow_from_the_flags_of_run() {
    let defaults = settings_of(&[]);
    assert!(defaults.creates_checkpoints && defaults.updates_ca_bundle && !defaults.is_webhook_pod);
    assert_eq!(defaults.service_namespace, "snap");
    assert_eq!(defaults.ca_secret.as_deref(), Some("snapwatcher-webhook-ca"));
    assert_eq!((defaults.lease, defaults.mutating, defaults.validating), (None, None, None));

    let dry_run = settings_of(&["--snap-back-api-url", "", "--namespaces", "b,a"]);
    assert_eq!((dry_run.creates_checkpoints, dry_run.namespaces), (false, vec!["a".to_owned(), "b".to_owned()]));

    let several = settings_of(&["--standalone=false", "--lease-name=l", "--mutating-webhook-configuration=m"]);
    assert_eq!((several.lease.as_deref(), several.mutating.as_deref()), (Some("l"), Some("m")));

    let kubelet = settings_of(&["--backend=kubelet", "--kubelet-service-account=k"]);
    assert_eq!((kubelet.creates_checkpoints, kubelet.kubelet_account.as_deref()), (true, Some("k")));

    let saving = settings_of(&["--save"]);
    let keys_secret = Some("snapwatcher-snapshot-keys".to_owned());
    assert_eq!((saving.saving, settings_of(&[]).saving), (Some(SavingRights { keys_secret }), None));
    let not_encrypted = settings_of(&["--save", "--snapshot-encryption=none"]);
    assert_eq!(not_encrypted.saving, Some(SavingRights { keys_secret: None }));

    let files = settings_of(&["--tls-cert=c", "--tls-key=k"]);
    assert_eq!((files.ca_secret, files.updates_ca_bundle), (None, false));

    let no_webhook = settings_of(&["--webhook=false", "--pod-name=p", "--mutating-webhook-configuration=m"]);
    assert_eq!((no_webhook.ca_secret, no_webhook.updates_ca_bundle, no_webhook.is_webhook_pod), (None, false, false));
}
