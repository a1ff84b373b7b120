//! The notes that Helm prints after an installation have what an operator needs next, for each back-end and way of admission.

use lab::{Chart, Template};
use serde_json::{Value, json};

const LABEL: &str = r#"kubectl patch deployment NAME --patch '{"spec": {"template": {"metadata": {"labels": {"snap.weaversoft.io/snap": "true"}}}}}'"#;

/// Begins each warning about the values.
const WARNING: &str = "Note: ";
const PLAIN_HTTP: &str = "Note: the URL of SnapHook is an http URL";

const DELETE_CONFIGURATIONS: &str =
    "kubectl delete mutatingwebhookconfiguration,validatingwebhookconfiguration snapwatcher --ignore-not-found";
const DELETE_BINDING: &str = "kubectl delete mutatingadmissionpolicybinding snapwatcher";

fn with(values: &Value) -> Template {
    let fields = values.as_object().into_iter().flatten();
    fields.fold(Template::default(), |template, (key, value)| template.with(key, value))
}

#[tokio::test]
async fn no_note_leaves_out_how_to_label_to_look_and_to_stop() {
    let chart = Chart::of_repository().await;
    for (backend, of_backend, others) in [
        ("snaphook", "Checkpoints stay Pending with the reason Unreachable", ["NodeNotPrepared", "only logs which"]),
        ("kubelet", "Checkpoints stay Pending with the reason NodeNotPrepared", ["Unreachable", "only logs which"]),
        ("log", "SnapWatcher only logs which ones it would request", ["NodeNotPrepared", "SNAPWATCHER_SUSPEND"]),
    ] {
        for (mode, of_mode, other_modes) in [
            ("webhook", DELETE_CONFIGURATIONS, [DELETE_BINDING, "webhook.mode is off"]),
            ("policy", DELETE_BINDING, [DELETE_CONFIGURATIONS, "webhook.mode is off"]),
            ("off", "webhook.mode is off", [DELETE_CONFIGURATIONS, DELETE_BINDING]),
        ] {
            let values = json!({"snapwatcher": {"checkpoint": {"backend": backend}}, "webhook": {"mode": mode}});
            let notes = chart.notes(&with(&values));
            for wanted in [
                LABEL,
                of_backend,
                of_mode,
                "kubectl rollout status -n snap deployment/snapwatcher",
                "helm test snapwatcher -n snap",
                "its node cannot pull registry.example.com/snapwatcher:0.1.0",
                "kind load docker-image registry.example.com/snapwatcher:0.1.0",
            ] {
                assert!(notes.contains(wanted), "{backend}, {mode}: `{wanted}` in\n{notes}");
            }
            for other in others.iter().chain(&other_modes) {
                assert!(!notes.contains(other), "{backend}, {mode}: `{other}` in\n{notes}");
            }
            assert_eq!(notes.contains("kubectl get checkpoints -A"), backend != "log", "{notes}");
            assert!(!notes.contains(WARNING), "the defaults need no warning: {notes}");
        }
    }
}

#[tokio::test]
async fn no_secret_goes_over_plain_http_without_a_warning() {
    let chart = Chart::of_repository().await;
    let token = json!({"name": "token"});
    let url = |url: &str| json!([{"name": "SNAP_BACK_API_URL", "value": url}]);
    let reference = json!([
        {"name": "SNAP_BACK_API_URL", "valueFrom": {"secretKeyRef": {"name": "snaphook", "key": "url"}}},
    ]);
    for (case, checkpoint, env, is_warned) in [
        ("a token", json!({"tokenSecret": token}), json!([]), true),
        ("whole pods", json!({"contract": "snapapi-pod-spec"}), json!([]), true),
        ("user info", json!({}), url("http://bob:secret@snap"), true),
        ("a token as the user", json!({}), url("http://secret@snap:8000/"), true),
        ("a query", json!({"snapBackApiUrl": "http://snap/?code=secret"}), json!([]), true),
        ("a query by a variable", json!({}), url("http://snap/?code=secret"), true),
        ("an empty query", json!({"snapBackApiUrl": "http://snap/?"}), json!([]), false),
        ("user info for loopback", json!({}), url("http://bob:secret@127.0.0.1"), false),
        ("a query for loopback", json!({"snapBackApiUrl": "http://127.0.0.1:8090?code=secret"}), json!([]), false),
        ("a user that is called localhost", json!({}), url("http://localhost:x@snap"), true),
        ("an at sign in the path", json!({}), url("http://snap/a@b"), false),
        ("neither", json!({}), json!([]), false),
        ("https", json!({"tokenSecret": token, "snapBackApiUrl": "https://snap"}), json!([]), false),
        ("loopback", json!({"tokenSecret": token, "snapBackApiUrl": "http://127.0.0.1:8090"}), json!([]), false),
        ("no loopback", json!({"tokenSecret": token, "snapBackApiUrl": "http://localhost.snap"}), json!([]), true),
        ("another back-end", json!({"tokenSecret": token, "backend": "kubelet"}), json!([]), false),
        ("https by a variable", json!({"tokenSecret": token}), url("https://snap"), false),
        (
            "http by a variable",
            json!({"tokenSecret": token, "snapBackApiUrl": "https://snap"}),
            url("http://snap"),
            true,
        ),
        ("a URL that the chart does not know", json!({"tokenSecret": token}), reference, false),
    ] {
        let notes = chart.notes(&with(&json!({"snapwatcher": {"checkpoint": checkpoint}, "env": env})));
        assert_eq!(notes.contains(PLAIN_HTTP), is_warned, "{case}:\n{notes}");
    }
}

#[tokio::test]
async fn no_risky_setting_is_without_a_warning() {
    let chart = Chart::of_repository().await;
    for (values, words) in [
        (
            json!({"snapwatcher": {"checkpoint": {"backend": "kubelet", "kubelet": {"insecureSkipVerify": true}}}}),
            "does not verify the certificates of kubelets",
        ),
        (json!({"webhook": {"failurePolicy": "Fail"}}), "labeled pods cannot be created"),
    ] {
        let notes = chart.notes(&with(&values));
        assert_eq!(notes.matches(WARNING).count(), 1, "{notes}");
        assert!(notes.contains(words), "{notes}");
    }
    let refusal = chart.refusal(&with(&json!({"image": {"repository": ""}})));
    assert!(refusal.contains("no registry has an image") && refusal.contains("set image.repository"), "{refusal}");
}

#[tokio::test]
async fn no_command_names_an_object_that_the_chart_does_not_create() {
    let chart = Chart::of_repository().await;
    for (mode, kind) in [("webhook", "MutatingWebhookConfiguration"), ("policy", "MutatingAdmissionPolicyBinding")] {
        let template = with(&json!({"webhook": {"mode": mode}})).release("web", "apps");
        let (notes, rendered) = (chart.notes(&template), chart.render(&template));
        let deployment = rendered.one("Deployment")["metadata"]["name"].as_str().unwrap();
        let used = notes.split("deployment/").skip(1).map(|rest| rest.split_whitespace().next().unwrap());
        assert!(used.clone().count() >= 4 && used.clone().all(|name| name == deployment), "{notes}");
        let configuration = rendered.one(kind)["metadata"]["name"].as_str().unwrap();
        let deletion = notes.lines().find(|line| line.contains("kubectl delete mutating")).unwrap();
        assert!(deletion.split_whitespace().any(|word| word == configuration), "{deletion}: {configuration}");
    }
}
