use serde_json::json;

use super::marks::{Marks, mistakes};
use super::*;

fn marks(label: Option<&str>, annotation: Option<&str>) -> Marks {
    Marks { label: label.map(str::to_owned), annotation: annotation.map(str::to_owned), ..Marks::default() }
}

fn with(labels: &[&str], annotations: &[&str]) -> Marks {
    let values =
        |keys: &[&str]| keys.iter().map(|key| (format!("snap.weaversoft.io/{key}"), "true".to_owned())).collect();
    Marks::of(&values(labels), &values(annotations))
}

#[test]
fn a_label_counts_on_pods_and_with_the_value_true_only() {
    use LabelsOfPods::{InTemplate, Nowhere, Own};
    use Mistake::{Annotation, NotOnPods, OtherValue};
    let none = || marks(None, None);
    for (case, place, own, template, expected) in [
        ("a labeled pod", Own, marks(Some("true"), None), none(), None),
        ("a pod that is opted out", Own, marks(Some("false"), None), none(), None),
        ("another value", Own, marks(Some("True"), None), none(), Some(OtherValue)),
        ("an empty value", Own, marks(Some(""), None), none(), Some(OtherValue)),
        ("an annotation of a pod", Own, none(), none(), None),
        ("an annotation in place of the label", Own, marks(None, Some("true")), none(), Some(Annotation)),
        ("an annotation beside the label", Own, marks(Some("true"), Some("true")), none(), None),
        ("a labeled template", InTemplate, none(), marks(Some("true"), None), None),
        ("both labeled", InTemplate, marks(Some("true"), None), marks(Some("true"), None), None),
        ("the workload alone", InTemplate, marks(Some("true"), None), none(), Some(NotOnPods)),
        ("the workload alone, another value", InTemplate, marks(Some("yes"), None), none(), Some(NotOnPods)),
        ("a workload that is opted out", InTemplate, marks(Some("false"), None), none(), None),
        ("another value in the template", InTemplate, none(), marks(Some("yes"), None), Some(OtherValue)),
        ("an annotation of the template", InTemplate, none(), marks(None, Some("true")), Some(Annotation)),
        ("an annotation of the workload", InTemplate, marks(None, Some("true")), none(), Some(Annotation)),
        ("a labeled namespace", Nowhere, marks(Some("true"), None), none(), Some(NotOnPods)),
        ("an annotated namespace", Nowhere, marks(None, Some("true")), none(), Some(Annotation)),
        ("a namespace", Nowhere, none(), none(), None),
    ] {
        let found: Vec<Mistake> = mistakes(place, &own, &template).into_iter().map(|(mistake, _)| mistake).collect();
        assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "{case}");
    }
}

#[test]
fn annotations_that_pods_do_not_get_and_keys_that_are_not_read_are_mistakes() {
    use LabelsOfPods::{InTemplate, Nowhere, Own};
    use Mistake::{OptionsNotOnPods, Unread};
    let none = || with(&[], &[]);
    let options = ["containers", "delay", "once-per", "revision-label"];
    let all = "`containers`, `delay`, `once-per`, `revision-label`";
    for (case, place, own, template, expected) in [
        ("options of a pod", Own, with(&["snap", "mutated"], &options), none(), None),
        ("of a template", InTemplate, none(), with(&["snap"], &options), None),
        ("of both", InTemplate, with(&[], &options), with(&["snap"], &options), None),
        ("of the workload alone", InTemplate, with(&[], &options), with(&["snap"], &[]), Some((OptionsNotOnPods, all))),
        (
            "one of them",
            InTemplate,
            with(&[], &["delay"]),
            with(&[], &["once-per"]),
            Some((OptionsNotOnPods, "`delay`")),
        ),
        ("of a namespace", Nowhere, with(&[], &["delay"]), none(), Some((OptionsNotOnPods, "`delay`"))),
        ("written by the webhook", Own, with(&["snap"], &["admission"]), none(), None),
        ("a misspelled annotation", Own, with(&["snap"], &["delays"]), none(), Some((Unread, "annotation `delays`"))),
        ("in a template", InTemplate, none(), with(&["snap"], &["delays"]), Some((Unread, "annotation `delays`"))),
        ("of a workload", InTemplate, with(&["snaps"], &[]), none(), Some((Unread, "label `snaps`"))),
        ("an option as a label", InTemplate, none(), with(&["snap", "delay"], &[]), Some((Unread, "label `delay`"))),
    ] {
        let expected: Vec<_> =
            expected.into_iter().map(|(mistake, detail)| (mistake, Some(detail.to_owned()))).collect();
        assert_eq!(mistakes(place, &own, &template), expected, "{case}");
    }
}

#[test]
fn a_mistake_is_a_warning_that_names_ten_objects() {
    let objects: BTreeSet<String> = (10..22).map(|number| format!("Deployment `shop/web-{number}`")).collect();
    let found = Found { mistakes: [(Mistake::NotOnPods, objects)].into(), ..Found::default() };
    let [finding] = evaluate(&found, None).try_into().unwrap();
    assert_eq!(finding.state, State::Warning);
    assert!(finding.seen.starts_with("Deployment `shop/web-10`, Deployment `shop/web-11`"), "{finding:?}");
    assert!(finding.seen.ends_with("Deployment `shop/web-19`, and 2 more"), "{finding:?}");
    assert!(finding.remedy.unwrap().contains("spec.template.metadata.labels"));
}

#[test]
fn kinds_that_were_not_looked_at_are_skipped_with_the_reason() {
    let unread = [
        (Unread::NotAllowed, BTreeSet::from(["deployments", "cronjobs"])),
        (Unread::TooMany(1000), BTreeSet::from(["pods"])),
        (Unread::Failed("the API server did not answer".to_owned()), BTreeSet::from(["jobs"])),
    ];
    let findings = evaluate(&Found { unread: unread.into(), ..Found::default() }, None);
    let states: Vec<_> = findings.iter().map(|finding| finding.state).collect();
    assert_eq!(states, [State::Ok, State::Skipped, State::Skipped, State::Skipped]);
    assert!(findings[1].what.ends_with("of cronjobs, deployments"), "{findings:?}");
    let remedy = findings[1].remedy.as_deref().unwrap();
    assert!(remedy.ends_with("kubectl get cronjobs,deployments -A -l snap.weaversoft.io/snap"), "{remedy}");
    assert!(findings[2].seen.contains("only 1000") && findings[3].seen.contains("did not answer"), "{findings:?}");
}

#[test]
fn labeled_pods_in_a_namespace_that_the_webhook_does_not_select_are_a_warning() {
    let excluded = json!({"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system"]});
    let configuration: MutatingWebhookConfiguration = serde_json::from_value(json!({
        "metadata": {"name": "snapwatcher"},
        "webhooks": [{
            "name": "pods.snap.weaversoft.io", "clientConfig": {}, "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "namespaceSelector": {"matchExpressions": [excluded]},
        }],
    }))
    .unwrap();
    let not_mutated = BTreeMap::from([("kube-system".to_owned(), 3), ("shop".to_owned(), 1)]);
    let found = Found { not_mutated, ..Found::default() };
    let [ok, finding] = evaluate(&found, Some(&configuration)).try_into().unwrap();
    assert_eq!((ok.state, finding.state), (State::Ok, State::Warning));
    assert_eq!(finding.seen, "in the namespaces `kube-system` (3)");
    assert_eq!(evaluate(&found, None).len(), 1, "no configuration is known");
}
