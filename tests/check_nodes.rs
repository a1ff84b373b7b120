//! `snapwatcher check` with the back-end `kubelet`: each kubelet gets a checkpoint request for a pod that cannot exist, and its
//! response shows whether the node is prepared.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use lab::check_command::{self, Finding};
use lab::kubelet::Kubelet;
use lab::{Namespace, in_namespace};
use serde_json::json;

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");
const ACCOUNT: &str = "snapwatcher-kubelet";

/// The pod in the probe's request.
const NO_POD: &str = "SnapWatcher-probe";

/// The findings with these arguments. The lab has other nodes too, which have no kubelet.
async fn check(ns: &Namespace, arguments: &[&str]) -> Vec<Finding> {
    let arguments =
        ns.check_arguments(&[&["--backend=kubelet", "--request-timeout=1s", "-o=json"], arguments].concat());
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let checked = check_command::run(SNAPWATCHER.as_ref(), &ns.access().kubeconfig(), &arguments).await.unwrap();
    checked.findings().unwrap()
}

fn find<'f>(findings: &'f [Finding], topic: &str, words: &str) -> &'f Finding {
    let mut found = findings.iter().filter(|finding| finding.topic == topic && finding.what.contains(words));
    found.next().ok_or_else(|| format!("no {topic} about {words}: {findings:#?}")).unwrap()
}

async fn set_versions(ns: &Namespace, node: &str, kubelet: &str, runtime: &str) {
    let info = json!({"kubeletVersion": kubelet, "containerRuntimeVersion": runtime});
    let status = json!({"status": {"nodeInfo": info}});
    let nodes: Api<Node> = Api::all(ns.client());
    nodes.patch_status(node, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
}

#[tokio::test]
async fn the_finding_about_a_node_follows_from_its_kubelets_response() {
    in_namespace("the_finding_about_a_node", |ns| async move {
        let node = ns.dedicated_nodes(1).await.remove(0);
        let kubelet = Kubelet::start().await.unwrap();
        ns.set_kubelet_port(&node, kubelet.port()).await;
        set_versions(&ns, &node, "v1.29.4", "containerd://2.4.1").await;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), kubelet.certificate()).unwrap();
        let ca = format!("--kubelet-ca-file={}", file.path().display());
        let of_node = format!("node `{node}`");
        let of_account = format!("service account `{}/{ACCOUNT}`", ns.name());

        let findings = check(&ns, &[&ca]).await;
        let account = find(&findings, "backend", &of_account);
        assert!(account.state == "failed" && account.seen.contains("does not exist"), "{account:?}");
        let skipped = find(&findings, "node", &of_node);
        assert!(skipped.state == "skipped" && skipped.seen.contains("no token"), "{skipped:?}");
        assert!(kubelet.requests().is_empty());

        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT}});
        ns.create_object(&serde_json::from_value::<ServiceAccount>(account).unwrap()).await;
        let findings = check(&ns, &[&ca]).await;
        assert_eq!(find(&findings, "backend", &of_account).state, "ok");
        let ready = find(&findings, "node", &of_node);
        assert_eq!(ready.what, format!("node `{node}`, kubelet v1.29.4, containerd 2.4.1"));
        assert!(ready.state == "ok" && ready.remedy.is_none(), "{ready:?}");
        assert!(ready.seen.ends_with("only a checkpoint tests its CRIU"), "{ready:?}");
        let restore = find(&findings, "restore", "containerd 2.4.1");
        assert!(restore.state == "warning" && restore.seen.contains("2.4 and later no longer"), "{restore:?}");
        let [probe] = kubelet.requests().try_into().unwrap();
        assert_eq!(probe.pod, NO_POD, "a name that no pod can have");
        let token = probe.token.unwrap();
        assert!(
            !findings.iter().any(|finding| format!("{finding:?}").contains(&token)),
            "no finding contains the token"
        );

        for (status, body, words) in [
            (404, "404 page not found\n", "off by default before 1.30"),
            (401, "Unauthorized", "does not accept the token of system:serviceaccount:"),
            (403, "Forbidden (user=x, verb=create, resource=nodes, subresource(s)=[checkpoint])", "nodes/checkpoint"),
            (200, "{\"items\":[\"/x.tar\"]}", "of a pod that does not exist"),
        ] {
            kubelet.answer_pod_with(NO_POD, status, body);
            let findings = check(&ns, &[&ca]).await;
            let reported = find(&findings, "node", &of_node);
            assert!(reported.state == "failed" && reported.seen.contains(words), "{status}: {reported:?}");
            assert!(reported.remedy.is_some(), "{reported:?}");
        }

        kubelet.answer_pod_with(NO_POD, 503, "");
        let findings = check(&ns, &[&ca]).await;
        let busy = find(&findings, "node", &of_node);
        assert!(busy.state == "warning" && busy.seen.contains("503"), "{busy:?}");

        let findings = check(&ns, &[]).await;
        let untrusted = find(&findings, "node", &of_node);
        let is_named = untrusted.seen.contains("--kubelet-ca-file") && untrusted.remedy.is_some();
        assert!(untrusted.state == "failed" && is_named, "{untrusted:?}");
        let findings = check(&ns, &["--kubelet-insecure-skip-verify"]).await;
        assert!(findings.iter().any(|finding| finding.state == "warning" && finding.seen.contains("not verified")));

        kubelet.close_port().await;
        let findings = check(&ns, &[&ca]).await;
        let unreachable = find(&findings, "node", &of_node);
        assert!(unreachable.state == "failed" && unreachable.seen.contains("could not connect"), "{unreachable:?}");
        Api::<Node>::all(ns.client()).delete(&node, &DeleteParams::default()).await.unwrap();
    })
    .await;
}
