//! The proxy in front of a real API server.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, ResourceExt};
use lab::proxy::{Fault, Proxy, Verb, When};
use lab::{Namespace, in_namespace};

async fn through(proxy: &Proxy) -> Client {
    let kubeconfig = Kubeconfig::read_from(proxy.kubeconfig()).unwrap();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

async fn config_maps(ns: &Namespace, proxy: &Proxy) -> Api<ConfigMap> {
    Api::namespaced(through(proxy).await, ns.name())
}

fn config_map(name: &str) -> ConfigMap {
    let mut object = ConfigMap::default();
    object.metadata.name = Some(name.to_owned());
    object
}

#[tokio::test]
async fn requests_pass_and_are_counted() {
    in_namespace("requests_pass_and_are_counted", |ns| async move {
        let proxy = Proxy::start(ns.access()).await;
        let api = config_maps(&ns, &proxy).await;
        api.create(&PostParams::default(), &config_map("a")).await.unwrap();
        assert!(api.list(&ListParams::default()).await.unwrap().iter().any(|object| object.name_any() == "a"));
        assert_eq!(proxy.count(&When::call(Verb::Create, "configmaps")), 1);
        assert_eq!(proxy.count(&When::about("configmaps")), 2);
    })
    .await;
}

#[tokio::test]
async fn a_held_request_is_delivered_although_its_client_has_ended() {
    in_namespace("a_held_request_is_delivered", |ns| async move {
        let proxy = Proxy::start(ns.access()).await;
        let held = proxy.hold_request(When::call(Verb::Create, "configmaps"));
        let api = config_maps(&ns, &proxy).await;
        let sender = tokio::spawn(async move { api.create(&PostParams::default(), &config_map("late")).await });
        held.received().await;
        sender.abort();
        assert!(sender.await.unwrap_err().is_cancelled());
        assert_eq!(ns.api::<ConfigMap>().get_opt("late").await.unwrap(), None);
        held.deliver();
        ns.until("the object exists", async || ns.api::<ConfigMap>().get_opt("late").await.ok().flatten()).await;
    })
    .await;
}

#[tokio::test]
async fn faults_apply_to_the_given_number_of_requests() {
    in_namespace("faults_apply", |ns| async move {
        let proxy = Proxy::start(ns.access()).await;
        let api = config_maps(&ns, &proxy).await;
        let create = When::call(Verb::Create, "configmaps");
        proxy.fail_times(1, create.clone(), Fault::Reset);
        api.create(&PostParams::default(), &config_map("reset")).await.unwrap_err();
        proxy.fail_times(1, create.clone(), Fault::LoseAnswer);
        api.create(&PostParams::default(), &config_map("lost")).await.unwrap_err();
        let rule = proxy.fail(create, Fault::Answer(503));
        let refused = api.create(&PostParams::default(), &config_map("refused")).await.unwrap_err();
        assert!(matches!(refused, kube::Error::Api(status) if status.code == 503));
        proxy.remove_rule(rule);
        api.create(&PostParams::default(), &config_map("good")).await.unwrap();
        let names: Vec<String> =
            api.list(&ListParams::default()).await.unwrap().iter().map(ResourceExt::name_any).collect();
        assert!(names.contains(&"lost".to_owned()) && names.contains(&"good".to_owned()), "{names:?}");
        assert!(!names.contains(&"reset".to_owned()) && !names.contains(&"refused".to_owned()), "{names:?}");
    })
    .await;
}
