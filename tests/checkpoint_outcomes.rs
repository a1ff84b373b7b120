//! The outcome of each response of SnapHook, as in the table of docs/contracts.md, and that its secrets are removed.

use lab::in_namespace;
use lab::objects::pod;
use lab::snaphook::{Behaviour, Contract};

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

/// The outcome of a response: the state of the Checkpoint, and a part of its message.
type Row = (&'static str, Behaviour, &'static str, &'static str);

fn says(code: u16, body: &str) -> Behaviour {
    Behaviour::Status { code, headers: Vec::new(), body: body.to_owned() }
}

fn table() -> Vec<Row> {
    vec![
        ("success", Behaviour::Succeed, "Succeeded", ""),
        ("empty", Behaviour::Empty, "Succeeded", ""),
        ("created", says(201, r#"{"id": 1}"#), "Succeeded", ""),
        ("no-content", says(204, ""), "Succeeded", ""),
        ("garbage", Behaviour::Garbage, "Unknown(InvalidResponse)", "not a JSON object"),
        ("list", Behaviour::NotAnObject, "Unknown(InvalidResponse)", "not a JSON object"),
        ("odd-success", says(200, r#"{"success": "yes"}"#), "Unknown(InvalidResponse)", "`success`"),
        ("accepted-false", says(202, r#"{"success": false}"#), "Unknown(InvalidResponse)", "`success`"),
        ("huge", Behaviour::Huge, "Unknown(InvalidResponse)", "too long"),
        (
            "refused",
            Behaviour::SuccessFalse { message: "no space left on device".to_owned() },
            "Pending(BackendFailed)",
            "no space left on device",
        ),
        ("s500", says(500, "Internal Server Error"), "Pending(BackendError)", "Internal Server Error"),
        ("s502", Behaviour::status(502), "Pending(BackendError)", "502"),
        ("s408", Behaviour::status(408), "Pending(BackendError)", "408"),
        ("s425", Behaviour::status(425), "Pending(BackendError)", "425"),
        ("s401", Behaviour::status(401), "Pending(Unauthorized)", "401"),
        ("s403", Behaviour::status(403), "Pending(Unauthorized)", "403"),
        (
            "s403-pod",
            says(403, r#"{"detail": "no checkpoints of shop"}"#),
            "Pending(PodForbidden)",
            "no checkpoints of shop",
        ),
        ("s404", says(404, r#"{"detail": "Not Found"}"#), "Pending(EndpointNotFound)", "Not Found"),
        ("s404-pod", says(404, r#"{"message": "no pod web-0"}"#), "Pending(PodNotFound)", "no pod web-0"),
        ("s429", Behaviour::status(429), "Pending(Busy)", "429"),
        ("s503", Behaviour::status(503), "Pending(Busy)", "503"),
        ("s400", Behaviour::status(400), "Failed(Rejected)", "400"),
        ("s422", says(422, r#"{"detail": [{"loc": ["pod_name"]}]}"#), "Failed(Rejected)", "pod_name"),
        ("s409", Behaviour::status(409), "Failed(Rejected)", "409"),
        ("redirect", Behaviour::Redirect { to: "http://127.0.0.1:9/".to_owned() }, "Failed(Rejected)", "307"),
        ("reset", Behaviour::Reset, "Unknown(NoResponse)", "no complete response"),
        ("half", Behaviour::HalfBody, "Unknown(NoResponse)", "no complete response"),
        ("hang", Behaviour::Hang, "Unknown(NoResponse)", "within 3s after connecting"),
    ]
}

#[tokio::test]
async fn each_response_has_the_outcome_in_the_table() {
    in_namespace("each_response_has_the_outcome_in_the_table", |ns| async move {
        // Short waits: while SnapHook is unreachable for one pod, its circuit breaker delays the others.
        let soon = ["--longest-wait", "50ms", "--max-attempts", "100"];
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &[&["--response-timeout", "3s"], &soon[..]].concat()).await;
        for (name, behaviour, ..) in table() {
            ns.snaphook().answer_pod_with(name, behaviour);
            ns.create_object(&pod(name).labelled().build()).await;
        }
        for (name, _, state, words) in table() {
            let record = ns.record_of(name, state).await;
            assert!(record.message().contains(words), "{name}: {}", record.message());
            let tried = state.starts_with("Pending(Backend");
            assert_eq!(record.failures() > 0, tried, "{name}");
            let holds = |kind: &str| record.condition(kind).unwrap()["status"] == "True";
            assert_eq!(holds("Complete"), state == "Succeeded", "{name}");
            assert_eq!(holds("Failed"), state.starts_with("Failed") || state.starts_with("Unknown"), "{name}");
            let is_final = !state.starts_with("Pending");
            assert!(!is_final || record.attempt() == 1, "{name}: {}", record.attempt());
            assert_eq!(record.text("/completionTime").is_some(), is_final, "{name}");
        }
        ns.later_pod_is_requested("later").await;
        for (name, _, state, _) in table() {
            assert!(state.starts_with("Pending") || ns.request_count(name) == 1, "{name}");
            let outcome = state.split(['(', ')']).nth(1).unwrap_or(state);
            let series = format!("snapwatcher_checkpoint_attempts_total{{outcome=\"{outcome}\"}}");
            let counted = watcher.metric(&series).await.unwrap().unwrap_or_default();
            assert!(counted >= 1.0, "{series} {counted}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_snaphook_that_cannot_be_reached_leaves_the_checkpoint_pending() {
    in_namespace("a_snaphook_that_cannot_be_reached", |ns| async move {
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &[]).await;
        ns.snaphook().close_port().await;
        ns.create_object(&pod("patient").labelled().build()).await;
        let record = ns.record_of("patient", "Pending(Unreachable)").await;
        assert!(record.message().contains("could not connect to SnapHook"), "{}", record.message());
        assert_eq!(record.failures(), 0, "an unreachable SnapHook is no counted failure");
        assert_eq!(record.text("/completionTime"), None);
        let reported = watcher.get("/readyz?verbose").await.unwrap();
        assert!(reported.status().is_success(), "the webhook is ready without SnapHook");
        let reported = reported.text().await.unwrap();
        assert!(reported.contains("[-]backend"), "{reported}");
    })
    .await;
}

#[tokio::test]
async fn a_secret_in_a_response_is_shown_nowhere() {
    const TOKEN: &str = "eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.eyJzdWIiOiJzeXN0ZW0ifQ.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg";
    const PASSWORD: &str = "correct-horse-battery";
    in_namespace("a_secret_in_a_response_is_shown_nowhere", |ns| async move {
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &["--log-level", "DEBUG"]).await;
        let message = format!(
            "command failed: curl -k -H 'Authorization: Bearer {TOKEN}' https://node:10250/checkpoint && \
             buildah push --creds admin:{PASSWORD} registry.invalid/snap"
        );
        ns.snaphook().answer_pod_with("refused", Behaviour::SuccessFalse { message: message.clone() });
        ns.snaphook().answer_pod_with("failed", says(500, &message));
        ns.snaphook().answer_pod_with("garbled", says(200, &message));
        let mut shown = String::new();
        for (name, state) in [
            ("refused", "Pending(BackendFailed)"),
            ("failed", "Pending(BackendError)"),
            ("garbled", "Unknown(InvalidResponse)"),
        ] {
            ns.create_object(&pod(name).labelled().build()).await;
            let record = ns.record_of(name, state).await;
            assert!(record.message().contains("command failed: curl"), "{}", record.message());
            shown.push_str(&record.status.to_string());
        }
        shown += &watcher.log();
        shown += &watcher.metrics().await.unwrap();
        shown += &watcher.pod_timelines().await.unwrap().to_string();
        shown += &watcher.get("/readyz?verbose").await.unwrap().text().await.unwrap();
        let signature = TOKEN.rsplit('.').next().unwrap();
        for secret in [TOKEN, signature, PASSWORD] {
            assert!(!shown.contains(secret), "{secret}");
        }
    })
    .await;
}

#[tokio::test]
async fn each_contract_is_understood_by_its_server() {
    for contract in Contract::ALL {
        in_namespace("each_contract_is_understood", |ns| async move {
            let args = ["--snap-back-api-contract", contract.as_str(), "--cluster-name", "lab"];
            ns.start_snapwatcher(SNAPWATCHER, &args).await;
            ns.create_object(&pod("web").labelled().build()).await;
            let record = ns.record_of("web", "Succeeded").await;
            assert_eq!(ns.snaphook().violations(), Vec::<String>::new());
            let [request] = ns.snaphook().requests_for(ns.name(), "web").try_into().unwrap();
            assert_eq!(request.contract, Some(contract));
            assert_eq!(request.idempotency_key(), Some(format!("{}-0", record.uid).as_str()));
            let body = &request.body;
            match contract {
                Contract::KubeletCheckpoint => assert_eq!(body["kube_api_address"], "https://kubernetes.default.svc"),
                Contract::SnapapiKubelet => assert_eq!(body["cluster_name"], "lab"),
                Contract::SnapapiPodSpec => {
                    assert_eq!(body["pod_spec"]["metadata"]["uid"], record.spec["pod"]["uid"]);
                    assert!(record.text("/location/image").unwrap().contains("web"), "{record:?}");
                }
            }
        })
        .await;
    }
}
