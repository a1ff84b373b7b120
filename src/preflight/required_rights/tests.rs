use super::*;

fn needs() -> Needs {
    Needs { records: true, service_namespace: "snap".to_owned(), ..Needs::default() }
}

fn told(needs: &Needs) -> Vec<String> {
    rules(needs).iter().map(ToString::to_string).collect()
}

#[test]
fn the_rules_follow_the_settings() {
    let base = told(&needs());
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
    for (case, settings, more) in [
        (
            "a CA of our own",
            Needs { ca_secret: Some("ca".to_owned()), ..needs() },
            &[
                "right to create secrets in namespace `snap`",
                "right to list, watch, update secrets named `ca` in namespace `snap`",
            ][..],
        ),
        (
            "several replicas",
            Needs { lease: Some("snapwatcher".to_owned()), ..needs() },
            &[
                "right to create leases of coordination.k8s.io in namespace `snap`",
                "right to get, update leases of coordination.k8s.io named `snapwatcher` in namespace `snap`",
            ],
        ),
        (
            "configurations of our own bundle",
            Needs { mutating: Some("m".to_owned()), validating: Some("v".to_owned()), keeps_bundle: true, ..needs() },
            &[
                "right to get, list, watch, patch mutatingwebhookconfigurations of admissionregistration.k8s.io named `m`",
                "right to get, list, watch, patch validatingwebhookconfigurations of admissionregistration.k8s.io named `v`",
            ],
        ),
        (
            "a configuration of somebody else's bundle",
            Needs { mutating: Some("m".to_owned()), ..needs() },
            &["right to get mutatingwebhookconfigurations of admissionregistration.k8s.io named `m`"],
        ),
        (
            "kubelets",
            Needs { kubelet_account: Some("k".to_owned()), ..needs() },
            &[
                "right to get nodes",
                "right to list nodes",
                "right to create serviceaccounts/token named `k` in namespace `snap`",
            ],
        ),
        ("a pod in a watched namespace", Needs { is_pod: true, ..needs() }, &[]),
    ] {
        let found: Vec<_> = told(&settings).into_iter().filter(|rule| !base.contains(rule)).collect();
        assert_eq!(found, more, "{case}");
    }
}

#[test]
fn a_dry_run_needs_no_records_and_reads_no_pod_again() {
    let found = told(&Needs { records: false, ..needs() });
    assert_eq!(found[0], "right to list, watch pods in all namespaces");
    assert!(!found.iter().any(|rule| rule.contains("snap.weaversoft.io")), "{found:#?}");
}

#[test]
fn named_namespaces_need_a_rule_each_and_the_own_pod_only_a_warning() {
    let namespaces = vec!["blog".to_owned(), "shop".to_owned()];
    let found = rules(&Needs { namespaces, is_pod: true, ..needs() });
    let of = |namespace: &str| found.iter().filter(|rule| rule.namespace.as_deref() == Some(namespace)).count();
    assert_eq!((of("blog"), of("shop")), (6, 6));
    let own: Vec<_> = found.iter().filter(|rule| rule.namespace.as_deref() == Some("snap")).collect();
    assert_eq!(own.iter().map(|rule| (rule.resource, rule.without)).collect::<Vec<_>>(), [("events", State::Warning)]);
}

#[test]
fn a_verdict_names_the_verbs_that_are_missing_and_the_rule_to_add() {
    let rule = in_namespace(SNAP, "checkpoints", &["get", "list"], None);
    let answers = |get: Answer, list: Answer| [("get", get), ("list", list)];
    let lost = || Answer::NotSent("could not ask".to_owned());
    for (case, answers, state, seen) in [
        ("both", answers(Answer::Allowed, Answer::Allowed), State::Ok, "allowed"),
        ("one", answers(Answer::Allowed, Answer::Denied(None)), State::Failed, "not allowed: list"),
        ("none", answers(Answer::Denied(None), Answer::Denied(None)), State::Failed, "not allowed: get, list"),
        (
            "an error",
            answers(Answer::Allowed, Answer::Denied(Some("no such role".to_owned()))),
            State::Failed,
            "not allowed: list (no such role)",
        ),
        ("no answer", answers(Answer::Allowed, lost()), State::Failed, "could not ask"),
        ("no answer to one", answers(Answer::Denied(None), lost()), State::Failed, "not allowed: get"),
    ] {
        let finding = verdict(&rule, &answers, "me");
        assert_eq!((finding.state, finding.seen.as_str()), (state, seen), "{case}");
    }
    let finding = verdict(&rule, &answers(Answer::Allowed, Answer::Denied(None)), "me");
    let expected = "add {apiGroups: [snap.weaversoft.io], resources: [checkpoints], verbs: [list]} to a ClusterRole \
                    that is bound to `me`";
    assert_eq!(finding.remedy.as_deref(), Some(expected));
}
