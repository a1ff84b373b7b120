//! Services of the real node: DNS names, addresses, connections between this machine and pods, images of any name.
//!
//! `make e2e` runs these tests.

use k8s_openapi::api::core::v1::{Pod, Service, ServicePort, ServiceSpec};
use kube::api::{LogParams, ObjectMeta};
use lab::node::{Files, route_service_to_host};
use lab::objects::pod;
use lab::snaphook::SnapHook;
use lab::{Namespace, RealNode, in_namespace};

const PORT: u16 = 8080;

/// A pod that serves a page, and its Service.
async fn page(ns: &Namespace, node: &RealNode) -> Service {
    let script = format!("echo the page >/tmp/index.html; httpd -f -p {PORT} -h /tmp");
    ns.create_object::<Pod>(&pod("page").runs(&node.busybox(), &script).build()).await;
    let port = ServicePort { port: i32::from(PORT), ..ServicePort::default() };
    let spec = ServiceSpec {
        selector: Some([("app".to_owned(), "page".to_owned())].into()),
        ports: Some(vec![port]),
        ..ServiceSpec::default()
    };
    let metadata = ObjectMeta { name: Some("page".to_owned()), ..ObjectMeta::default() };
    let service = ns.create_object(&Service { metadata, spec: Some(spec), status: None }).await;
    ns.pod_ready("page").await;
    service
}

/// Has a pod repeat a script until its output contains `expected`.
async fn pod_sees(ns: &Namespace, node: &RealNode, name: &str, script: &str, expected: &str) {
    let again = format!("while true; do {script}; sleep 0.5; done 2>&1");
    ns.create_object::<Pod>(&pod(name).runs(&node.busybox(), &again).build()).await;
    ns.pod_ready(name).await;
    let pods = ns.api::<Pod>();
    ns.until(&format!("pod `{name}` sees `{expected}`"), async || {
        let log = pods.logs(name, &LogParams::default()).await.map_err(|error| error.to_string())?;
        if log.contains(expected) { Ok(()) } else { Err(log) }
    })
    .await;
}

#[tokio::test]
async fn a_service_is_reached_by_name_from_pods_and_by_address_from_this_machine() {
    in_namespace("reached", |ns| async move {
        let node = RealNode::attach().unwrap();
        let service = page(&ns, &node).await;
        let fetch = format!("wget -q -O- http://page.{}:{PORT}/", ns.name());
        pod_sees(&ns, &node, "visitor", &fetch, "the page").await;

        // The API server reaches a webhook the same way.
        let address = service.spec.unwrap().cluster_ip.unwrap();
        let url = format!("http://{address}:{PORT}/");
        ns.until("this machine reaches the Service", async || {
            let text = reqwest::get(&url).await.map_err(|error| error.to_string())?.text().await;
            if text.as_deref().is_ok_and(|text| text.trim() == "the page") { Ok(()) } else { Err(format!("{text:?}")) }
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_pod_reaches_the_api_server_by_its_service() {
    in_namespace("reaches_the_api_server", |ns| async move {
        let node = RealNode::attach().unwrap();
        // The API server answers plain HTTP with this sentence only.
        let ask = "wget -q -O- http://kubernetes.default.svc.cluster.local:443/ || \
                   printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc kubernetes.default.svc.cluster.local 443";
        pod_sees(&ns, &node, "asker", ask, "Client sent an HTTP request to an HTTPS server").await;
    })
    .await;
}

#[tokio::test]
async fn a_service_forwards_to_a_port_of_this_machine() {
    in_namespace("leads_here", |ns| async move {
        let node = RealNode::attach().unwrap();
        let hook = SnapHook::listen((node.host_address(), 0).into()).await.unwrap();
        route_service_to_host(&ns.client(), ns.name(), "snap-back-api", 80, hook.address()).await.unwrap();
        let ask = format!("wget -q -O- http://snap-back-api.{}/from-a-pod", ns.name());
        pod_sees(&ns, &node, "asker", &ask, "404").await;
        assert!(hook.requests().iter().any(|request| request.path == "/from-a-pod"));
    })
    .await;
}

#[tokio::test]
async fn an_image_of_any_name_comes_from_the_labs_registry() {
    in_namespace("any_name", |ns| async move {
        let node = RealNode::attach().unwrap();
        let busybox = std::fs::read(node.path("usr/bin/busybox")).unwrap();
        let files = Files::new().folder("bin", 0o755).unwrap().file("bin/busybox", 0o755, &busybox).unwrap();
        let image = files.image(&["/bin/busybox", "sleep", "600"]).unwrap().user("1001:1001");
        node.push("library/stock-name:1.0", image).await.unwrap();
        ns.create_object::<Pod>(&pod("stock").image("stock-name:1.0").build()).await;
        ns.pod_ready("stock").await;
    })
    .await;
}
