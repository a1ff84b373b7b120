//! A pod's spec, as far as validation reads it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::request_error::RequestError;
use super::text::Text;

/// The fields of a pod's spec that the rules of unsupported features read.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PodSpec<'a> {
    #[serde(borrow)]
    pub(super) os: Option<PodOs<'a>>,
    #[serde(rename = "hostIPC")]
    pub(super) host_ipc: Option<bool>,
    #[serde(borrow)]
    containers: Option<Vec<Container<'a>>>,
    #[serde(borrow)]
    pub(super) volumes: Option<Vec<Volume<'a>>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct PodOs<'a> {
    #[serde(borrow)]
    pub(super) name: Option<Text<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Container<'a> {
    #[serde(borrow)]
    pub(super) name: Text<'a>,
    #[serde(borrow)]
    pub(super) resources: Option<ResourceRequirements<'a>>,
    #[serde(borrow)]
    pub(super) ports: Option<Vec<ContainerPort<'a>>>,
    pub(super) volume_devices: Option<Vec<IgnoredAny>>,
    #[serde(borrow)]
    pub(super) volume_mounts: Option<Vec<VolumeMount<'a>>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ResourceRequirements<'a> {
    #[serde(borrow)]
    pub(super) limits: Option<BTreeMap<Text<'a>, Text<'a>>>,
    pub(super) claims: Option<Vec<IgnoredAny>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ContainerPort<'a> {
    #[serde(borrow)]
    pub(super) protocol: Option<Text<'a>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct VolumeMount<'a> {
    #[serde(borrow)]
    pub(super) name: Text<'a>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Volume<'a> {
    #[serde(borrow)]
    pub(super) name: Text<'a>,
    #[serde(borrow)]
    pub(super) host_path: Option<HostPathVolume<'a>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct HostPathVolume<'a> {
    #[serde(borrow)]
    pub(super) path: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) r#type: Option<Text<'a>>,
}

impl<'a> PodSpec<'a> {
    /// Decodes the spec of a review.
    pub(super) fn decode(json: &'a RawValue) -> Result<Self, RequestError> {
        serde_json::from_str(json.get()).map_err(|error| RequestError::undecodable_spec(&error))
    }

    pub(super) fn container_names(&self) -> Vec<&str> {
        self.containers().map(|container| &*container.name).collect()
    }

    pub(super) fn containers(&self) -> impl Iterator<Item = &Container<'a>> {
        self.containers.iter().flatten()
    }
}
