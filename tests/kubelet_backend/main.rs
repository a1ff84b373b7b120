//! The back-end `kubelet` against a real API server, with stand-ins for the kubelets of fake nodes: which kubelet receives a
//! request, with whose token, and which state follows from the response. docs/contracts.md has the table.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod archive_budget;
mod nodes;

use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use lab::objects::deployment;
use lab::{Namespace, Snapwatcher, SnapwatcherOptions, in_namespace};
use nodes::{ACCOUNT, Nodes, SNAPWATCHER, make_account, start};

/// Retries come soon.
const SOON: [&str; 4] = ["--longest-wait", "50ms", "--max-attempts", "100"];

/// The user that the API server sees in this token.
async fn subject(ns: &Namespace, token: &str) -> Option<String> {
    let spec = TokenReviewSpec { token: Some(token.to_owned()), ..TokenReviewSpec::default() };
    let review = TokenReview { spec, ..TokenReview::default() };
    let reviewed = Api::<TokenReview>::all(ns.client()).create(&PostParams::default(), &review).await.unwrap();
    reviewed.status?.user?.username
}

#[tokio::test]
async fn the_kubelet_of_each_pods_node_receives_a_token_of_the_second_account() {
    in_namespace("the_kubelet_of_each_pods_node_receives", |ns| async move {
        make_account(&ns).await;
        let nodes = Nodes::of(&ns, 2).await;
        let watcher = start(&ns, &nodes, &["--kubelet-timeout", "30", "--log-level", "DEBUG"]).await;
        let mut tokens = Vec::new();
        for (node, name) in [(0, "web-0"), (1, "web-1")] {
            ns.create_object(&nodes.pod(node, name)).await;
            let record = ns.record_of(name, "Succeeded").await;
            assert_eq!(record.text("/location/node"), Some(nodes.names[node].as_str()));
            let archive = record.text("/location/archive").unwrap();
            assert!(archive.starts_with(&format!("/var/lib/kubelet/checkpoints/checkpoint-{name}_{}-app-", ns.name())));
            let [request] = nodes.kubelets[node].requests().try_into().unwrap();
            let about =
                (request.namespace.as_str(), request.pod.as_str(), request.container.as_str(), request.query.as_str());
            assert_eq!(about, (ns.name(), name, "app", "timeout=30"));
            tokens.push(request.token.unwrap());
        }
        assert_eq!(tokens[0], tokens[1], "one token for all");
        let account = format!("system:serviceaccount:{}:{ACCOUNT}", ns.name());
        assert_eq!(subject(&ns, &tokens[0]).await, Some(account));
        assert!(!ns.all_output(&watcher).await.contains(&tokens[0]), "the token is shown nowhere");
        assert_eq!(ns.snaphook().requests().len(), 0);
    })
    .await;
}

#[tokio::test]
async fn by_default_each_revision_is_checkpointed_once() {
    in_namespace("each_revision_is_checkpointed_once", |ns| async move {
        make_account(&ns).await;
        let nodes = Nodes::of(&ns, 1).await;
        start(&ns, &nodes, &[]).await;
        let node = nodes.names[0].clone();
        let web = deployment("web").replicas(3).labelled().spec(|spec| spec.node_name = Some(node));
        ns.create_object(&web.build()).await;
        for pod in ns.pods_made("web", 3).await {
            ns.pod_ready(&pod).await;
        }
        ns.create_object(&nodes.pod(0, "later")).await;
        ns.record_of("later", "Succeeded").await;
        let records = ns.records().await;
        let of_web = records.iter().filter(|record| record.workload() == "Deployment/web").count();
        assert_eq!((records.len(), of_web), (2, 1), "one of three pods, and the later one");
        assert_eq!(nodes.kubelets[0].requests().len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_revision_moves_to_a_pod_whose_node_can_take_checkpoints() {
    in_namespace("a_revision_moves_to_a_pod", |ns| async move {
        make_account(&ns).await;
        let nodes = Nodes::of(&ns, 3).await;
        let pods = nodes.spread(&ns).await;
        let [(first, without_criu), (second, gate_off), (third, prepared)] = pods.as_slice() else {
            panic!("three pods")
        };
        without_criu.answer_pod_with(first, 500, NO_CRIU);
        gate_off.answer_pod_with(second, 404, "404 page not found\n");
        // The first attempt of a claim is about the pod whose workload is found first. Later ones go by the names of the pods.
        let args = ["--backend", "kubelet", "--suspend"].map(str::to_owned).to_vec();
        let options = SnapwatcherOptions { binary: SNAPWATCHER.into(), args, ..SnapwatcherOptions::default() };
        let suspended = ns.launch_snapwatcher(options).await;
        ns.until("the revision is claimed", async || ns.records().await.len() == 1).await;
        suspended.stop().await.unwrap();
        let watcher = start(&ns, &nodes, &["--longest-wait", "500ms"]).await;
        let [record] = ns.all_records(1, "Succeeded", Duration::from_secs(30)).await.try_into().unwrap();
        assert_eq!(record.text("/pod/name"), Some(third.as_str()));
        assert_eq!((record.attempt(), record.failures()), (3, 0));
        assert!(record.status["triedPods"].is_null(), "a pod without a request can be tried again");
        let requests = [without_criu, gate_off, prepared].map(|kubelet| kubelet.requests().len());
        assert_eq!(requests, [1, 1, 1]);

        // No Checkpoint waits for the other two nodes any more.
        no_circuit_breaker_is_open(&ns, &watcher).await;
    })
    .await;
}

#[tokio::test]
async fn an_unreachable_node_is_forgotten_once_its_pods_are_gone() {
    in_namespace("an_unreachable_node_is_forgotten", |ns| async move {
        make_account(&ns).await;
        let nodes = Nodes::of(&ns, 1).await;
        nodes.kubelets[0].close_port().await;
        let watcher = start(&ns, &nodes, &["--once-per", "pod", "--longest-wait", "500ms"]).await;
        ns.create_object(&nodes.pod(0, "web")).await;
        ns.record_of("web", "Pending(Unreachable)").await;
        ns.until("the metric shows the unreachable node", async || {
            watcher.metric(OPEN_CIRCUIT_BREAKERS).await.unwrap() == Some(1.0)
        })
        .await;
        ns.delete_pod("web").await;
        ns.record_of("web", "Failed(PodGone)").await;
        no_circuit_breaker_is_open(&ns, &watcher).await;
    })
    .await;
}

/// How many nodes have an open circuit breaker.
const OPEN_CIRCUIT_BREAKERS: &str = "snapwatcher_checkpoint_open_circuit_breakers";

/// Waits until no circuit breaker is open, in metrics and by the check.
async fn no_circuit_breaker_is_open(ns: &Namespace, watcher: &Snapwatcher) {
    ns.until("the metric shows no unreachable node", async || {
        watcher.metric(OPEN_CIRCUIT_BREAKERS).await.unwrap() == Some(0.0)
    })
    .await;
    ns.until("the check passes", async || {
        let health = watcher.get("/readyz?verbose").await.unwrap().text().await.unwrap();
        if health.contains("[+]backend ok") { Ok(()) } else { Err(health) }
    })
    .await;
}

/// Pod, status and body of the response, then the state of the record and a part of its message.
type Row = (&'static str, u16, &'static str, &'static str, &'static str);

const NO_CRIU: &str = "checkpointing of ns/pod/app failed (rpc error: code = Unknown desc = CRIU binary not found or too old \
                       (<31600). Failed to checkpoint container \"5d39\": failed to check for criu version: exec: \"criu\": \
                       executable file not found in $PATH)";
const NO_METHOD: &str = "checkpointing of ns/pod/app failed (rpc error: code = Unimplemented desc = unknown method \
                         CheckpointContainer for service runtime.v1.RuntimeService)";
const CRIU_FAILED: &str = "checkpointing of ns/pod/app failed (rpc error: code = Unknown desc = checkpointing container \
                           \"5d39\" failed: runc did not terminate successfully: exit status 1: criu failed: type NOTIFY \
                           errno 0 path= /run/containerd/criu-dump.log: unknown)";
const FORBIDDEN: &str = "Forbidden (user=snapwatcher, verb=create, resource=nodes, subresource(s)=[checkpoint])\n";

const TABLE: [Row; 11] = [
    (
        "unauthorized",
        401,
        "Unauthorized",
        "Pending(Unauthorized)",
        "does not accept the token of system:serviceaccount:",
    ),
    ("forbidden", 403, FORBIDDEN, "Pending(Unauthorized)", "needs the right `create` on `nodes/checkpoint`"),
    ("gate-off", 404, "404 page not found\n", "Pending(CheckpointApiDisabled)", "`ContainerCheckpoint`"),
    ("unknown-pod", 404, "pod does not exist", "Pending(PodNotOnNode)", "does not know the pod yet"),
    ("no-container", 404, "container app does not exist", "Failed(NoSuchContainer)", "container app does not exist"),
    ("no-criu", 500, NO_CRIU, "Pending(NodeNotPrepared)", "install CRIU on the node"),
    ("no-method", 500, NO_METHOD, "Failed(CheckpointUnsupported)", "does not support checkpoints"),
    ("criu-failed", 500, CRIU_FAILED, "Pending(CheckpointFailed)", "type NOTIFY errno 0"),
    ("error", 502, "Bad Gateway", "Pending(BackendError)", "502"),
    ("busy", 429, "", "Pending(Busy)", "429"),
    ("odd", 200, "ok", "Unknown(InvalidResponse)", "not a list of archives"),
];

#[tokio::test]
async fn each_response_leads_to_the_state_of_the_table() {
    in_namespace("each_response_of_a_kubelet_leads", |ns| async move {
        make_account(&ns).await;
        let nodes = Nodes::of(&ns, 1).await;
        let watcher = start(&ns, &nodes, &[&["--once-per", "pod"], &SOON[..]].concat()).await;
        for (name, status, body, ..) in TABLE {
            nodes.kubelets[0].answer_pod_with(name, status, body);
            ns.create_object(&nodes.pod(0, name)).await;
        }
        for (name, _, _, state, words) in TABLE {
            let record = ns.record_of(name, state).await;
            assert!(record.message().contains(words), "{name}: {}", record.message());
            assert!(record.message().contains(&nodes.names[0]), "{name}: {}", record.message());
            let tried = ["criu-failed", "error"].contains(&name);
            assert_eq!(record.failures() > 0, tried, "{name}");
            let reason = state.split(['(', ')']).nth(1).unwrap();
            let event = ns.event_of(name, reason).await;
            assert_eq!(event.kind, "Warning", "{name}");
            let series = format!("snapwatcher_checkpoint_attempts_total{{outcome=\"{reason}\"}}");
            assert!(watcher.metric(&series).await.unwrap() >= Some(1.0), "{series}");
        }
        ns.create_object(&nodes.pod(0, "later")).await;
        ns.record_of("later", "Succeeded").await;
        for (name, _, _, state, _) in TABLE {
            let requests = nodes.kubelets[0].requests_for(name).len();
            assert!(state.starts_with("Pending") || requests == 1, "{name}: {requests}");
        }
    })
    .await;
}

#[tokio::test]
async fn five_failures_of_the_runtime_are_final() {
    in_namespace("five_failures_of_the_runtime", |ns| async move {
        make_account(&ns).await;
        let nodes = Nodes::of(&ns, 1).await;
        start(&ns, &nodes, &["--longest-wait", "50ms"]).await;
        nodes.kubelets[0].answer_pod_with("web", 500, CRIU_FAILED);
        ns.create_object(&nodes.pod(0, "web")).await;
        let record = ns.record_of("web", "Failed(CheckpointFailed)").await;
        assert_eq!((record.failures(), nodes.kubelets[0].requests().len()), (5, 5));
    })
    .await;
}

#[tokio::test]
async fn a_kubelet_with_a_self_signed_certificate_receives_no_token_unless_verification_is_off() {
    in_namespace("a_kubelet_with_a_self_signed_certificate", |ns| async move {
        make_account(&ns).await;
        let nodes = Nodes::of(&ns, 1).await;
        let watcher = ns.start_snapwatcher(SNAPWATCHER, &["--backend", "kubelet"]).await;
        ns.create_object(&nodes.pod(0, "web")).await;
        let record = ns.record_of("web", "Failed(KubeletUntrusted)").await;
        for word in ["serverTLSBootstrap", "--kubelet-ca-file", "--kubelet-insecure-skip-verify", &nodes.names[0]] {
            assert!(record.message().contains(word), "{word} in: {}", record.message());
        }
        ns.event_of("web", "KubeletUntrusted").await;
        assert_eq!(nodes.kubelets[0].requests(), []);
        let unverified = "snapwatcher_kubelet_insecure_skip_verify";
        assert_eq!(watcher.metric(unverified).await.unwrap(), Some(0.0));
        watcher.stop().await.unwrap();

        ns.checkpoints().delete(&record.name, &DeleteParams::default()).await.unwrap();
        let insecure = ["--backend", "kubelet", "--kubelet-insecure-skip-verify"];
        let args = insecure.iter().map(|argument| (*argument).to_owned()).collect();
        let options = lab::SnapwatcherOptions { binary: SNAPWATCHER.into(), args, ..Default::default() };
        let watcher = ns.launch_snapwatcher(options).await;
        ns.record_of("web", "Succeeded").await;
        assert!(watcher.log().contains("WARN Kubelet certificates are not verified"), "{}", watcher.log());
        assert_eq!(watcher.metric(unverified).await.unwrap(), Some(1.0));
    })
    .await;
}

#[tokio::test]
async fn a_node_with_disk_pressure_waits() {
    in_namespace("a_node_with_disk_pressure_waits", |ns| async move {
        make_account(&ns).await;
        let nodes = Nodes::of(&ns, 2).await;
        start(&ns, &nodes, &["--longest-wait", "200ms"]).await;
        ns.set_disk_pressure(&nodes.names[0], true).await;
        ns.create_object(&nodes.pod(0, "web-0")).await;
        let record = ns.record_of("web-0", "Pending(DiskPressure)").await;
        assert!(record.message().contains("the test fills the disk"), "{}", record.message());
        assert_eq!(record.failures(), 0);
        ns.create_object(&nodes.pod(1, "web-1")).await;
        ns.record_of("web-1", "Succeeded").await;
        assert_eq!(nodes.kubelets[0].requests(), []);
        ns.set_disk_pressure(&nodes.names[0], false).await;
        ns.record_of("web-0", "Succeeded").await;
    })
    .await;
}

#[tokio::test]
async fn an_unreachable_node_delays_no_other() {
    in_namespace("an_unreachable_node_delays_no_other", |ns| async move {
        make_account(&ns).await;
        let nodes = Nodes::of(&ns, 2).await;
        nodes.kubelets[0].close_port().await;
        let watcher = start(&ns, &nodes, &["--longest-wait", "2s"]).await;
        for name in ["unreachable-0", "unreachable-1", "unreachable-2"] {
            ns.create_object(&nodes.pod(0, name)).await;
        }
        let reported = ns
            .until("one of the three shows that the node is unreachable", async || {
                let records = ns.records().await;
                let reported = records.iter().find(|record| record.state() == "Pending(Unreachable)");
                reported
                    .cloned()
                    .ok_or_else(|| format!("{:?}", records.iter().map(lab::Record::state).collect::<Vec<_>>()))
            })
            .await;
        let words = format!("could not connect to the kubelet of node `{}`", nodes.names[0]);
        assert!(reported.message().contains(&words), "{}", reported.message());
        for name in ["reachable-0", "reachable-1", "reachable-2"] {
            ns.create_object(&nodes.pod(1, name)).await;
            ns.record_of(name, "Succeeded").await;
        }
        assert_eq!(watcher.metric(OPEN_CIRCUIT_BREAKERS).await.unwrap(), Some(1.0));
        let health = watcher.get("/readyz?verbose").await.unwrap().text().await.unwrap();
        assert!(health.contains("[-]backend failed (informational): could not connect to the kubelet"), "{health}");
        nodes.kubelets[0].reopen_port().await.unwrap();
        for name in ["unreachable-0", "unreachable-1", "unreachable-2"] {
            ns.record_of(name, "Succeeded").await;
        }
        ns.until("the metric shows no unreachable node", async || {
            watcher.metric(OPEN_CIRCUIT_BREAKERS).await.unwrap() == Some(0.0)
        })
        .await;
        let health = watcher.get("/readyz?verbose").await.unwrap().text().await.unwrap();
        assert!(health.contains("[+]backend ok"), "{health}");
    })
    .await;
}
