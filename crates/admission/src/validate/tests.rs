use clap::ValueEnum as _;
use serde_json::{Value, json};

use super::super::review::review_of_creation;
use super::*;
use snapwatcher_api::keys::MIRROR;

fn decision(metadata: &Value, mode: ValidationMode) -> ValidateDecision {
    let pod = json!({"metadata": metadata, "spec": {"hostIPC": true, "containers": [{"name": "app"}]}});
    let body = review_of_creation("r-1", &pod).to_string();
    decide(&AdmissionRequest::decode(body.as_bytes()).unwrap(), mode).unwrap()
}

fn warnings(metadata: &Value) -> Vec<String> {
    match decision(metadata, ValidationMode::Warn) {
        ValidateDecision::Warn(warnings) => warnings,
        ValidateDecision::Pass => Vec::new(),
        ValidateDecision::Deny(message) => panic!("denied: {message}"),
    }
}

#[test]
fn each_problem_is_a_warning() {
    for (case, metadata, expected) in [
        ("a capital", json!({"labels": {SNAP: "True"}}), &["`True` is not recognized; did you mean \"true\"?"][..]),
        ("another word", json!({"labels": {SNAP: "yes"}}), &["`yes` is not recognized; use \"true\" or \"false\""]),
        (
            "junk",
            json!({"labels": {SNAP: "false", MUTATED: "junk"}}),
            &["`junk` is treated as \"false\"; use \"true\" or \"false\""],
        ),
        (
            "annotations, all at once",
            json!({
                "labels": {SNAP: "true"},
                "annotations": {CONTAINERS: "nope", DELAY: "soon", ONCE_PER: "week"},
            }),
            &["no container `nope`", "`soon`", "`week`", "hostIPC"],
        ),
        ("the spec", json!({"labels": {SNAP: "true", MUTATED: "false"}}), &["hostIPC"]),
    ] {
        let warnings = warnings(&metadata);
        assert_eq!(warnings.len(), expected.len(), "{case}: {warnings:?}");
        for (warning, expected) in warnings.iter().zip(expected) {
            assert!(warning.contains(expected), "{case}: {warning}");
        }
    }
}

#[test]
fn a_pod_that_will_not_be_checkpointed_gets_no_warning() {
    let junk = json!({DELAY: "soon"});
    for (case, metadata) in [
        ("no label", json!({"annotations": junk})),
        ("opted out", json!({"labels": {SNAP: "false"}, "annotations": junk})),
        ("from a checkpoint", json!({"labels": {SNAP: "true", MUTATED: "true"}, "annotations": junk})),
        ("mirror", json!({"labels": {SNAP: "True"}, "annotations": {MIRROR: "x"}})),
    ] {
        assert_eq!(decision(&metadata, ValidationMode::Deny), ValidateDecision::Pass, "{case}");
    }
}

#[test]
fn the_mode_decides_what_happens_to_a_pod_with_problems() {
    let metadata = json!({"labels": {SNAP: "True", MUTATED: "junk"}});
    assert!(
        matches!(decision(&metadata, ValidationMode::Warn), ValidateDecision::Warn(warnings) if warnings.len() == 2)
    );
    assert_eq!(decision(&metadata, ValidationMode::Off), ValidateDecision::Pass);
    let ValidateDecision::Deny(message) = decision(&metadata, ValidationMode::Deny) else { panic!("not denied") };
    assert!(message.contains("did you mean") && message.contains("junk"), "{message}");
}

#[test]
fn the_proxy_of_a_service_mesh_gets_no_warning_about_its_container() {
    let proxy = json!({"name": "istio-proxy", "ports": [{"containerPort": 15090, "protocol": "SCTP"}]});
    let warnings = |annotations: Value| {
        let metadata = json!({"labels": {SNAP: "true"}, "annotations": annotations});
        let pod = json!({"metadata": metadata, "spec": {"containers": [proxy, {"name": "orders"}]}});
        let body = review_of_creation("r-1", &pod).to_string();
        decide(&AdmissionRequest::decode(body.as_bytes()).unwrap(), ValidationMode::Warn).unwrap()
    };
    assert_eq!(warnings(json!({"sidecar.istio.io/status": "{}"})), ValidateDecision::Pass);
    assert!(matches!(warnings(json!({})), ValidateDecision::Warn(_)), "the first container is chosen");
}

#[test]
fn a_sidecar_can_be_chosen_and_is_then_looked_at() {
    let decision = |containers: &str| {
        let sctp = json!([{"containerPort": 1, "protocol": "SCTP"}]);
        let pod = json!({
            "metadata": {"labels": {SNAP: "true"}, "annotations": {CONTAINERS: containers}},
            "spec": {
                "initContainers": [{"name": "migrate"}, {"name": "cache", "restartPolicy": "Always", "ports": sctp}],
                "containers": [{"name": "app"}],
            },
        });
        let body = review_of_creation("r-1", &pod).to_string();
        decide(&AdmissionRequest::decode(body.as_bytes()).unwrap(), ValidationMode::Deny).unwrap()
    };
    assert_eq!(decision("*"), ValidateDecision::Pass);
    for (containers, words) in [
        ("cache", "container `cache` has an SCTP port"),
        ("migrate", "the pod has no container `migrate`; its containers are app, cache"),
    ] {
        let ValidateDecision::Deny(message) = decision(containers) else { panic!("{containers} is not denied") };
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn a_pod_with_too_many_containers_has_this_problem_alone() {
    let containers: Vec<Value> = (0..100_000).map(|number| json!({"name": format!("c{number}")})).collect();
    let pod = json!({
        "metadata": {"labels": {SNAP: "true"}, "annotations": {CONTAINERS: "c99999"}},
        "spec": {"containers": containers},
    });
    let body = review_of_creation("r-1", &pod).to_string();
    let request = AdmissionRequest::decode(body.as_bytes()).unwrap();
    let decision = decide(&request, ValidationMode::Warn).unwrap();
    let expected = "the pod has more than 64 containers, and is not checkpointed";
    assert_eq!(decision, ValidateDecision::Warn(vec![expected.to_owned()]));
}

#[test]
fn an_unknown_key_is_no_reason_to_deny() {
    let pod = json!({
        "metadata": {"labels": {SNAP: "true"}, "annotations": {"snap.weaversoft.io/delays": "5s"}},
        "spec": {"containers": [{"name": "app"}]},
    });
    let body = review_of_creation("r-1", &pod).to_string();
    let request = AdmissionRequest::decode(body.as_bytes()).unwrap();
    for mode in [ValidationMode::Warn, ValidationMode::Deny] {
        let decision = decide(&request, mode).unwrap();
        assert!(
            matches!(&decision, ValidateDecision::Warn(warnings) if warnings.len() == 1 && warnings[0].contains("`delay`")),
            "{mode:?}: {decision:?}"
        );
    }
    assert_eq!(decide(&request, ValidationMode::Off).unwrap(), ValidateDecision::Pass);
}

#[test]
fn a_spec_is_decoded_only_where_it_is_needed() {
    let odd = |metadata: Value| review_of_creation("r-1", &json!({"metadata": metadata, "spec": "odd"})).to_string();
    let body = odd(json!({"labels": {SNAP: "true"}}));
    let request = AdmissionRequest::decode(body.as_bytes()).unwrap();
    let error = decide(&request, ValidationMode::Warn).unwrap_err();
    assert_eq!(
        (error.status().as_u16(), error.to_string().as_str()),
        (400, "the pod's spec has an unexpected value at line 1 column 5 of the spec")
    );
    assert_eq!(decide(&request, ValidationMode::Off).unwrap(), ValidateDecision::Pass);
    let body = odd(json!({"labels": {SNAP: "false"}}));
    let request = AdmissionRequest::decode(body.as_bytes()).unwrap();
    assert_eq!(decide(&request, ValidationMode::Deny).unwrap(), ValidateDecision::Pass);
}

#[test]
fn a_warning_has_at_most_120_characters_and_no_control_characters() {
    for length in [1, 300] {
        let metadata = json!({"labels": {SNAP: "true"}, "annotations": {ONCE_PER: "ä\n".repeat(length)}});
        for warning in warnings(&metadata) {
            assert!(warning.chars().count() <= 120, "{warning}");
            assert!(!warning.contains(char::is_control), "{warning:?}");
        }
    }
}

#[test]
fn a_denial_quotes_at_most_1024_characters_of_each_problem_in_one_line() {
    let long = "\u{202e}\u{1b}[31mä\n".repeat(30_000);
    let metadata = json!({"labels": {SNAP: "true"}, "annotations": {CONTAINERS: long, DELAY: long, ONCE_PER: long}});
    let ValidateDecision::Deny(message) = decision(&metadata, ValidationMode::Deny) else { panic!("not denied") };
    assert!(!message.contains(char::is_control) && !message.contains('\u{202e}'), "{message:?}");
    let problems: Vec<_> = message.split("; annotation").map(|problem| problem.chars().count()).collect();
    assert!(problems.len() == 3 && problems.iter().all(|length| *length <= 1200), "{problems:?}");
}

#[test]
fn a_mode_has_the_name_of_its_flag_value() {
    for mode in ValidationMode::value_variants() {
        assert_eq!(mode.to_possible_value().unwrap().get_name(), mode.as_str());
    }
}

#[test]
fn what_is_made_of_a_long_label_is_short() {
    let long = format!("\n{}", "x".repeat(1 << 20));
    for problem in [snap_problem(&long), mutated_problem(&long)] {
        let problem = problem.unwrap();
        assert!(problem.len() < 300, "{}", problem.len());
        assert!(cut(&problem, MAX_WARNING_LENGTH).starts_with("label snap.weaversoft.io/"), "{problem}");
    }
    assert!(cut(&long, 10).len() < 20);
}
