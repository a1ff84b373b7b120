//! The body of a checkpoint request, field by field as its contract has it.

use serde::Serialize;
use serde_json::value::RawValue;

use snapwatcher_api::outcome::Reason;
use snapwatcher_kubernetes::cluster::{LONGEST_POD_TEXT, PodDetail, PodText};

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
        pod_spec: &'a RawValue,
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
        Contract::SnapapiPodSpec => pod_text(request).map(|pod_spec| Body::Pod { pod_spec }),
    }
}

/// The JSON of the pod.
pub(super) fn pod_text(request: &CheckpointRequest) -> Result<&RawValue, NotSent> {
    let pod = &request.pod;
    let message = match &request.pod_detail {
        PodDetail::Text(PodText::Whole(text)) => return Ok(text),
        PodDetail::Text(PodText::TooLong(bytes)) => format!(
            "no request sent to SnapHook: the object of pod `{pod}` has {} KiB, and `snapapi-pod-spec` sends at most {} KiB. Create \
             the pod without what makes it so long, or use another contract",
            bytes.div_ceil(1024),
            LONGEST_POD_TEXT / 1024
        ),
        PodDetail::Nothing | PodDetail::Limits(_) => {
            format!("no request sent to SnapHook: the object of pod `{pod}` was not read")
        }
    };
    Err(NotSent::new(Reason::Rejected, message))
}
