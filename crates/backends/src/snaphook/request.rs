//! The body of a checkpoint request, field by field as its contract has it.

use serde::Serialize;
use serde_json::Value;

use snapwatcher_api::outcome::Reason;

use crate::backend::CheckpointRequest;
use crate::failure::NotSent;

use super::contract::Contract;
use super::settings::SnapHookSettings;

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Body<'a> {
    Container {
        #[serde(flatten)]
        container: ContainerFields<'a>,
        kube_api_address: &'a str,
    },
    ContainerOfCluster {
        #[serde(flatten)]
        container: ContainerFields<'a>,
        cluster_name: &'a str,
    },
    Pod {
        pod_spec: &'a Value,
    },
}

#[derive(Debug, Serialize)]
pub(super) struct ContainerFields<'a> {
    pod_name: &'a str,
    namespace: &'a str,
    node_name: &'a str,
    container_name: &'a str,
}

impl<'a> From<&'a CheckpointRequest> for ContainerFields<'a> {
    fn from(request: &'a CheckpointRequest) -> Self {
        Self {
            pod_name: &request.pod.name,
            namespace: &request.pod.namespace,
            node_name: &request.node,
            container_name: &request.container,
        }
    }
}

/// The body of this request by the contract of these settings.
pub(super) fn body<'a>(settings: &'a SnapHookSettings, request: &'a CheckpointRequest) -> Result<Body<'a>, NotSent> {
    match settings.contract {
        Contract::KubeletCheckpoint => {
            Ok(Body::Container { container: request.into(), kube_api_address: &settings.kube_api_address })
        }
        Contract::SnapapiKubelet => Ok(Body::ContainerOfCluster {
            container: request.into(),
            cluster_name: settings.cluster_name.as_deref().unwrap_or_default(),
        }),
        Contract::SnapapiPodSpec => {
            request.pod_object.as_ref().map(|pod_spec| Body::Pod { pod_spec }).ok_or_else(|| {
                let message = format!("no request sent to SnapHook: the object of pod `{}` was not read", request.pod);
                NotSent::new(Reason::Rejected, message)
            })
        }
    }
}
