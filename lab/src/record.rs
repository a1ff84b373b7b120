//! `Checkpoint` objects as tests read them: without SnapWatcher's types, because the lab must not depend on the
//! product.

use kube::ResourceExt;
use kube::api::{DynamicObject, ListParams};
use serde_json::{Value, json};

use crate::must::must;
use crate::namespace::Namespace;

/// A Checkpoint as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub name: String,
    pub uid: String,
    pub spec: Value,
    /// Null until SnapWatcher has written it.
    pub status: Value,
}

impl Record {
    /// The phase and, if it differs, the reason: `Pending`, `Succeeded`, `Failed(PodGone)`.
    pub fn state(&self) -> String {
        let phase = self.text("/phase").unwrap_or("Pending");
        match self.reason() {
            Some(reason) if reason != phase => format!("{phase}({reason})"),
            _ => phase.to_owned(),
        }
    }

    /// The reason of the condition `Complete`.
    pub fn reason(&self) -> Option<&str> {
        self.condition("Complete")?.get("reason")?.as_str()
    }

    /// The condition of this type.
    pub fn condition(&self, kind: &str) -> Option<&Value> {
        self.status.get("conditions")?.as_array()?.iter().find(|condition| condition["type"] == kind)
    }

    pub fn message(&self) -> &str {
        self.text("/message").unwrap_or_default()
    }

    pub fn workload(&self) -> &str {
        self.text("/workload").unwrap_or_default()
    }

    pub fn attempt(&self) -> i64 {
        self.status["attempt"].as_i64().unwrap_or_default()
    }

    pub fn failures(&self) -> i64 {
        self.status["failures"].as_i64().unwrap_or_default()
    }

    /// The container in spec, or the one in status.
    pub fn container(&self) -> &str {
        self.spec["container"].as_str().or_else(|| self.text("/container")).unwrap_or_default()
    }

    /// Whether the Checkpoint is for a pod of this name, by its spec or its status.
    pub fn is_about(&self, pod: &str) -> bool {
        self.spec["pod"]["name"] == pod || self.text("/pod/name") == Some(pod)
    }

    /// The text at this JSON pointer in status.
    pub fn text(&self, pointer: &str) -> Option<&str> {
        self.status.pointer(pointer)?.as_str()
    }
}

impl From<DynamicObject> for Record {
    fn from(object: DynamicObject) -> Self {
        let part = |name: &str| object.data.get(name).cloned().unwrap_or_default();
        Self {
            name: object.name_any(),
            uid: object.uid().unwrap_or_default(),
            spec: part("spec"),
            status: part("status"),
        }
    }
}

impl Namespace {
    /// All Checkpoints of the namespace, sorted by name.
    pub async fn records(&self) -> Vec<Record> {
        let listed = must("list Checkpoints", self.checkpoints().list(&ListParams::default()).await);
        let mut records: Vec<Record> = listed.items.into_iter().map(Record::from).collect();
        records.sort_by(|a, b| a.name.cmp(&b.name));
        records
    }

    /// The Checkpoints for pods of this name, sorted by name.
    pub async fn records_of(&self, pod: &str) -> Vec<Record> {
        let mut records = self.records().await;
        records.retain(|record| record.is_about(pod));
        records
    }

    /// Waits until there is one Checkpoint for pods of this name and it is in this [state](Record::state). Returns it.
    pub async fn record_of(&self, pod: &str, state: &str) -> Record {
        let awaited = format!("the only Checkpoint of pod `{pod}` is {state}");
        self.until(&awaited, async || match self.records_of(pod).await.as_slice() {
            [record] if record.state() == state => Ok(record.clone()),
            others => Err(format!("{:?}", others.iter().map(Record::state).collect::<Vec<_>>())),
        })
        .await
    }

    /// Waits until the Checkpoint of this name is in this [state](Record::state) and returns it.
    pub async fn record_named(&self, name: &str, state: &str) -> Record {
        let awaited = format!("Checkpoint `{name}` is {state}");
        self.until(&awaited, async || match self.checkpoints().get(name).await.map(Record::from) {
            Ok(record) if record.state() == state => Ok(record),
            Ok(record) => Err(format!("{}: {}", record.state(), record.message())),
            Err(error) => Err(error.to_string()),
        })
        .await
    }

    /// Applies a Checkpoint with this spec, as a user does, and returns the API server's answer.
    pub async fn apply_checkpoint(&self, name: &str, spec: &Value) -> kube::Result<Record> {
        let object: DynamicObject = must(
            "write a Checkpoint",
            serde_json::from_value(json!({
                "apiVersion": "snap.weaversoft.io/v1alpha1", "kind": "Checkpoint",
                "metadata": {"name": name}, "spec": spec,
            })),
        );
        let apply = kube::api::PatchParams::apply("person").force();
        self.checkpoints().patch(name, &apply, &kube::api::Patch::Apply(&object)).await.map(Record::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(status: Value) -> Record {
        Record { name: "r".to_owned(), uid: "u".to_owned(), spec: json!({"pod": {"name": "web"}}), status }
    }

    #[test]
    fn a_state_shows_phase_and_reason_once() {
        let complete = |reason: &str| json!([{"type": "Complete", "reason": reason}]);
        for (status, expected) in [
            (Value::Null, "Pending"),
            (json!({"phase": "Succeeded", "conditions": complete("Succeeded")}), "Succeeded"),
            (json!({"phase": "Failed", "conditions": complete("PodGone")}), "Failed(PodGone)"),
        ] {
            assert_eq!(record(status).state(), expected);
        }
    }

    #[test]
    fn a_checkpoint_is_for_the_pod_in_its_spec_or_its_status() {
        assert!(record(Value::Null).is_about("web"));
        let of_revision = Record { spec: json!({}), ..record(json!({"pod": {"name": "web-1"}})) };
        assert!(of_revision.is_about("web-1") && !of_revision.is_about("web"));
    }
}
