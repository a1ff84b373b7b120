//! The log block that announces a claim.
//!
//! Programs parse these seven lines since the first version of SnapWatcher, so their words and columns must not change.
//! The block is one log event: the text format prints it as a block, the JSON format as one object.

use snapwatcher_api::pod::PodName;
use snapwatcher_daemon::telemetry::BLOCK_TARGET;
use snapwatcher_kubernetes::workload::Workload;

/// The content of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogBlock {
    pub event: BlockEvent,
    pub pod: PodName,
    pub workload: Workload,
    pub container: String,
    pub node: String,
}

/// The line `Event:`, named as a watch event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockEvent {
    /// The pod was eligible when this process first saw it.
    Added,
    /// The pod became eligible later.
    Modified,
}

impl BlockEvent {
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
        }
    }
}

/// Logs the block at level INFO.
pub(crate) fn print(block: &LogBlock) {
    let LogBlock { event, pod, workload, container, node } = block;
    let (namespace, name) = (&*pod.namespace, &*pod.name);
    let event = event.as_str();
    // Two calls, since the names of a log event's fields are fixed at compile time.
    if workload.kind == "Deployment" {
        let deployment = &workload.name;
        tracing::info!(target: BLOCK_TARGET, event, namespace, deployment, pod = name, container, node,
            "Now we should checkpoint");
    } else {
        let workload = workload.to_string();
        tracing::info!(target: BLOCK_TARGET, event, namespace, workload, pod = name, container, node,
            "Now we should checkpoint");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapwatcher_daemon::telemetry::capture::capture;
    use snapwatcher_daemon::telemetry::{LogFormat, LogLevel};

    fn block(kind: &str, name: &str) -> LogBlock {
        LogBlock {
            event: BlockEvent::Added,
            pod: PodName { namespace: "default".into(), name: "my-app-7d4b8c8f9-xyz12".into() },
            workload: Workload {
                api_version: "apps/v1".to_owned(),
                kind: kind.to_owned(),
                name: name.to_owned(),
                uid: "u".to_owned(),
            },
            container: "app".to_owned(),
            node: "worker-node-1".to_owned(),
        }
    }

    fn text(block: &LogBlock) -> String {
        let written = capture(LogLevel::Info, LogFormat::Text, || print(block));
        // The prefix is time and level: `2026-11-23T03:15:06.123456Z  INFO `.
        written.split_at(34).1.to_owned()
    }

    #[test]
    fn the_block_has_its_seven_lines_in_the_text_format() {
        assert_eq!(
            text(&block("Deployment", "my-app")),
            "Now we should checkpoint\n  \
               Event:      ADDED\n  \
               Namespace:  default\n  \
               Deployment: my-app\n  \
               Pod:        my-app-7d4b8c8f9-xyz12\n  \
               Container:  app\n  \
               Node:       worker-node-1\n"
        );
    }

    #[test]
    fn another_workload_is_named_with_its_kind() {
        let mut block = block("StatefulSet", "db");
        block.event = BlockEvent::Modified;
        let written = text(&block);
        assert!(written.contains("\n  Event:      MODIFIED\n"), "{written}");
        assert!(written.contains("\n  Workload:   StatefulSet/db\n"), "{written}");
    }

    #[test]
    fn the_block_is_one_object_in_json() {
        let written = capture(LogLevel::Info, LogFormat::Json, || print(&block("Deployment", "my-app")));
        let mut object: serde_json::Value = serde_json::from_str(&written).unwrap();
        object.as_object_mut().unwrap().remove("timestamp").unwrap();
        let expected = serde_json::json!({
            "level": "INFO", "target": BLOCK_TARGET, "message": "Now we should checkpoint",
            "event": "ADDED", "namespace": "default", "deployment": "my-app", "pod": "my-app-7d4b8c8f9-xyz12",
            "container": "app", "node": "worker-node-1",
        });
        assert_eq!(object, expected);
    }

    #[test]
    fn a_name_with_line_breaks_cannot_add_lines() {
        let written = text(&block("Deployment", "a\n  Node:       forged"));
        assert_eq!(written.lines().count(), 7, "{written}");
    }
}
