//! The calls about Checkpoints, Snapshots and pods: one function for each, each within the time of one call.

use std::collections::HashSet;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, GetParams, ListParams, Patch, PatchParams, PostParams, Preconditions, Request};
use kube::{Api, Client, Resource as _, ResourceExt as _};
use serde_json::json;
use uuid::Uuid;

use snapwatcher_api::checkpoint::{Checkpoint, WatchedCheckpoint};
use snapwatcher_api::keys::{OPTED_IN, SNAP};
use snapwatcher_api::metadata::ObjectMetadata;
use snapwatcher_api::pod::{PodFacts, PodName, RevisionLabels, WatchedPod, is_label_of_kubernetes, is_object_name};
use snapwatcher_api::snapshot::{SavedPod, Snapshot, SnapshotSpec, WatchedSnapshot};
use snapwatcher_kubernetes::cluster::{CallError, Cluster, Pages, Scope, call, limit_pages, limit_responses};

use crate::leader_status::LeaderStatus;

/// The owner of the fields that the leader writes. The agents are `snapwatcher-agent/NODE`.
pub(crate) const FIELD_MANAGER: &str = "snapwatcher";

/// How many objects one request lists.
const PAGE: u32 = 100;

/// Access to the API server. Cloning is cheap.
#[derive(Clone)]
pub(crate) struct Access {
    client: Client,
    listings: Client,
    revision_labels: RevisionLabels,
}

type Built = Result<http::Request<Vec<u8>>, kube::core::request::Error>;

impl Access {
    pub(crate) fn new(cluster: &Cluster, revision_labels: RevisionLabels) -> Self {
        let (client, listings) = (limit_responses(&cluster.calls), limit_pages(&cluster.calls));
        Self { client, listings, revision_labels }
    }

    /// For single objects.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) async fn read_checkpoint(&self, namespace: &str, name: &str) -> Result<Option<Checkpoint>, CallError> {
        let request = Request::new(Checkpoint::url_path(&(), Some(namespace))).get(name, &GetParams::default());
        let found = self.send::<WatchedCheckpoint>(format!("read Checkpoint `{namespace}/{name}`"), request).await;
        Ok(found_or_none(found)?.map(Checkpoint::from))
    }

    /// Replaces the status if the Checkpoint still has the same version.
    pub(crate) async fn replace_checkpoint_status(&self, checkpoint: &Checkpoint) -> Result<(), CallError> {
        let (namespace, name) = (checkpoint.namespace().unwrap_or_default(), checkpoint.name_any());
        let request = serialized(checkpoint).and_then(|body| {
            let path = Checkpoint::url_path(&(), Some(&namespace));
            Request::new(path).replace_subresource("status", &name, &PostParams::default(), body)
        });
        let what = format!("write the status of Checkpoint `{namespace}/{name}`");
        self.send::<ObjectMetadata>(what, request).await.map(drop)
    }

    pub(crate) async fn read_snapshot(&self, namespace: &str, name: &str) -> Result<Option<Snapshot>, CallError> {
        let request = Request::new(Snapshot::url_path(&(), Some(namespace))).get(name, &GetParams::default());
        let found = self.send::<WatchedSnapshot>(format!("read Snapshot `{namespace}/{name}`"), request).await;
        Ok(found_or_none(found)?.map(Snapshot::from))
    }

    pub(crate) async fn create_snapshot(&self, snapshot: &Snapshot) -> Result<Snapshot, CallError> {
        let (namespace, name) = (snapshot.namespace().unwrap_or_default(), snapshot.name_any());
        let request = serialized(snapshot).and_then(|body| {
            Request::new(Snapshot::url_path(&(), Some(&namespace))).create(&PostParams::default(), body)
        });
        let what = format!("create Snapshot `{namespace}/{name}`");
        self.send::<WatchedSnapshot>(what, request).await.map(Snapshot::from)
    }

    /// Writes the leader's part of the status, if the Snapshot still has the same version. The entries of nodes stay.
    pub(crate) async fn write_status(&self, snapshot: &Snapshot, status: &LeaderStatus) -> Result<Snapshot, CallError> {
        let (namespace, name) = (snapshot.namespace().unwrap_or_default(), snapshot.name_any());
        let patch = json!({
            "apiVersion": Snapshot::api_version(&()),
            "kind": Snapshot::kind(&()),
            "metadata": {"name": name, "uid": snapshot.uid(), "resourceVersion": snapshot.resource_version()},
            "status": status,
        });
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let request = Request::new(Snapshot::url_path(&(), Some(&namespace)));
        let request = request.patch_subresource("status", &name, &params, &Patch::Apply(patch));
        let what = format!("write the status of Snapshot `{namespace}/{name}`");
        self.send::<WatchedSnapshot>(what, request).await.map(Snapshot::from)
    }

    /// Deletes the Snapshot with that UID. False: it is gone.
    pub(crate) async fn delete_snapshot(&self, namespace: &str, name: &str, uid: &str) -> Result<bool, CallError> {
        let preconditions = Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None });
        let params = DeleteParams { preconditions, ..DeleteParams::default() };
        let request = Request::new(Snapshot::url_path(&(), Some(namespace))).delete(name, &params);
        // The API server answers with an object that has finalizers, and else with a status. Neither is decoded.
        let delete = async { self.client.request_text(request.map_err(kube::Error::BuildRequest)?).await };
        match call(format!("delete Snapshot `{namespace}/{name}`"), delete).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() || error.is_conflict() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// All Snapshots, page by page. Those of a namespace follow each other.
    pub(crate) fn snapshots(&self, scope: &Scope) -> Pages<WatchedSnapshot> {
        Pages::new(scope.api(&self.listings), ListParams::default().limit(PAGE))
    }

    /// The UIDs of all Snapshots.
    pub(crate) async fn snapshot_uids(&self) -> Result<HashSet<Uuid>, CallError> {
        let (mut pages, mut uids) = (self.snapshots(&Scope::All), HashSet::new());
        while let Some(page) = pages.next("list all Snapshots").await? {
            uids.extend(page.iter().filter_map(|found| Uuid::try_parse(found.metadata.uid.as_deref()?).ok()));
        }
        Ok(uids)
    }

    pub(crate) async fn read_pod(&self, pod: &PodName) -> Result<Option<SavedPod>, CallError> {
        // The name comes from a status, and becomes a part of a URL.
        if !is_object_name(&pod.name) {
            return Ok(None);
        }
        let request = Request::new(Pod::url_path(&(), Some(&pod.namespace))).get(&pod.name, &GetParams::default());
        let what = || format!("read pod `{pod}`");
        let Some(found) = found_or_none(self.send::<WatchedPod>(what(), request).await)? else { return Ok(None) };
        let read = SavedPod::read(found, &self.revision_labels);
        if read.facts.name != *pod {
            return Err(CallError::OtherObject { what: what(), received: read.facts.name.to_string() });
        }
        Ok(Some(read))
    }

    /// Whether a pod of the revision exists now, by live listings.
    pub(crate) async fn has_pod(&self, namespace: &str, spec: &SnapshotSpec) -> Result<bool, CallError> {
        let pods: Api<WatchedPod> = Api::namespaced(self.listings.clone(), namespace);
        let what = format!("list the pods of revision `{}` in namespace `{namespace}`", spec.revision);
        if let Some(label) = &spec.revision_label {
            let of_revision = ListParams::default().labels(&format!("{label}={}", spec.revision)).limit(1);
            let found = call(what.as_str(), pods.list(&of_revision)).await?;
            if !found.items.is_empty() || is_label_of_kubernetes(label) {
                return Ok(!found.items.is_empty());
            }
        }
        // An annotation names the revision, or the UID of the controller does.
        let labeled = ListParams::default().labels(&format!("{SNAP}={OPTED_IN}")).limit(PAGE);
        let mut pages = Pages::new(pods, labeled);
        while let Some(page) = pages.next(&what).await? {
            let is_of_revision = |pod| PodFacts::read(pod, &self.revision_labels).revision() == spec.revision;
            if page.into_iter().any(is_of_revision) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn send<K: serde::de::DeserializeOwned>(&self, what: String, request: Built) -> Result<K, CallError> {
        let request = request.map_err(kube::Error::BuildRequest);
        call(what, async { self.client.request::<K>(request?).await }).await
    }
}

fn serialized(object: &impl serde::Serialize) -> Result<Vec<u8>, kube::core::request::Error> {
    serde_json::to_vec(object).map_err(kube::core::request::Error::SerializeBody)
}

fn found_or_none<K>(read: Result<K, CallError>) -> Result<Option<K>, CallError> {
    match read {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}
