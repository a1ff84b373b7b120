//! The two JSON documents of an archive that SnapWatcher reads: `config.dump` and `spec.dump`.
//!
//! The first is `ContainerConfig` of checkpointctl (`lib/metadata.go`), the second the container's `config.json` after the OCI
//! runtime specification 1.2 (`config.md`, `config-linux.md`). Fields that are not needed are skipped without recursion.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::error::Category;

use crate::json_digest::JsonDigest;
use crate::lists::{list, map, or_default};
use crate::names::{CONFIG, SPEC};

/// Why a document is refused. The text of `serde_json` is not shown: it repeats whole values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{document}` of the archive is refused: {problem} in line {line}, column {column}")]
pub struct DocumentError {
    pub document: &'static str,
    pub problem: &'static str,
    pub line: usize,
    pub column: usize,
}

/// What the runtime knew of the container.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigDump {
    /// `CONTAINER_POD_NAMESPACE_UID_ATTEMPT`, in CRI-O with `k8s_` before it.
    #[serde(deserialize_with = "or_default")]
    pub(crate) name: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) rootfs_image: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) rootfs_image_ref: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) rootfs_image_name: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) runtime: String,
}

impl ConfigDump {
    pub fn parse(json: &[u8]) -> Result<Self, DocumentError> {
        parse(CONFIG, json)
    }

    /// The container engine: its names of containers differ.
    pub fn engine(&self) -> &'static str {
        if self.name.starts_with("k8s_") { "CRI-O" } else { "containerd" }
    }
}

/// The OCI specification of the container.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct SpecDump {
    #[serde(deserialize_with = "or_default")]
    pub(crate) process: Process,
    #[serde(deserialize_with = "or_default")]
    pub(crate) root: Root,
    #[serde(deserialize_with = "list")]
    pub(crate) mounts: Vec<Mount>,
    #[serde(deserialize_with = "map")]
    pub(crate) annotations: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) linux: Linux,
}

impl SpecDump {
    pub fn parse(json: &[u8]) -> Result<Self, DocumentError> {
        parse(SPEC, json)
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Process {
    pub(crate) terminal: bool,
    pub(crate) user: User,
    #[serde(deserialize_with = "list")]
    pub(crate) args: Vec<String>,
    #[serde(deserialize_with = "list")]
    pub(crate) env: Vec<String>,
    pub(crate) cwd: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) capabilities: Capabilities,
    #[serde(deserialize_with = "list")]
    pub(crate) rlimits: Vec<Rlimit>,
    pub(crate) no_new_privileges: bool,
    pub(crate) apparmor_profile: String,
    pub(crate) selinux_label: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) umask: Option<u32>,
    #[serde(deserialize_with = "list")]
    pub(crate) additional_gids: Vec<u32>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Capabilities {
    #[serde(deserialize_with = "list")]
    pub(crate) bounding: Vec<String>,
    #[serde(deserialize_with = "list")]
    pub(crate) effective: Vec<String>,
    #[serde(deserialize_with = "list")]
    pub(crate) inheritable: Vec<String>,
    #[serde(deserialize_with = "list")]
    pub(crate) permitted: Vec<String>,
    #[serde(deserialize_with = "list")]
    pub(crate) ambient: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Rlimit {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) hard: u64,
    pub(crate) soft: u64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Root {
    pub(crate) readonly: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Mount {
    pub(crate) destination: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Linux {
    #[serde(deserialize_with = "list")]
    pub(crate) namespaces: Vec<Namespace>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) resources: Resources,
    pub(crate) seccomp: Option<JsonDigest>,
    #[serde(deserialize_with = "list")]
    pub(crate) masked_paths: Vec<String>,
    #[serde(deserialize_with = "list")]
    pub(crate) readonly_paths: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Namespace {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// Empty: a namespace of the container's own. Else that of its pod, or of the node.
    pub(crate) path: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Resources {
    #[serde(deserialize_with = "or_default")]
    pub(crate) memory: Memory,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Memory {
    /// Bytes. Not set or not positive: no limit.
    pub(crate) limit: Option<i64>,
}

fn parse<'de, T: Deserialize<'de>>(document: &'static str, json: &'de [u8]) -> Result<T, DocumentError> {
    serde_json::from_slice(json).map_err(|error| {
        let problem = match error.classify() {
            Category::Eof => "it ends too early",
            Category::Data => "a value is not of the expected type, comes twice, or is a list that is too long",
            Category::Syntax | Category::Io => "it is no JSON, or is nested too deeply",
        };
        DocumentError { document, problem, line: error.line(), column: error.column() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_fields_are_skipped_however_deep_they_are() {
        let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        let spec = SpecDump::parse(format!(r#"{{"hooks":{deep},"process":{{"args":["a"]}}}}"#).as_bytes()).unwrap();
        assert_eq!(spec.process.args, ["a"]);
    }

    #[test]
    fn what_go_writes_for_an_empty_specification_is_one() {
        for json in ["{}", r#"{"process":null,"mounts":null,"annotations":null,"linux":{"seccomp":null}}"#] {
            let spec = SpecDump::parse(json.as_bytes()).unwrap();
            assert!(spec.process.args.is_empty() && spec.linux.seccomp.is_none(), "{json}");
        }
        assert_eq!(ConfigDump::parse(b"{}").unwrap().name, "");
    }

    #[test]
    fn a_document_that_is_wrong_is_refused_without_its_text() {
        let secret = "password".repeat(1000);
        for (json, problem, line) in [
            (String::new(), "it ends too early", 1),
            ("{\n".to_owned(), "it ends too early", 2),
            ("{} {}".to_owned(), "it is no JSON, or is nested too deeply", 1),
            (format!("\n{secret}"), "it is no JSON, or is nested too deeply", 2),
            (
                format!(r#"{{"mounts":"{secret}"}}"#),
                "a value is not of the expected type, comes twice, or is a list that is too long",
                1,
            ),
            (
                r#"{"mounts":[],"mounts":[]}"#.to_owned(),
                "a value is not of the expected type, comes twice, or is a list that is too long",
                1,
            ),
            (
                format!(r#"{{"linux":{{"seccomp":{}}}}}"#, "[".repeat(1_000_000)),
                "it is no JSON, or is nested too deeply",
                1,
            ),
        ] {
            let error = SpecDump::parse(json.as_bytes()).unwrap_err();
            assert_eq!((error.document, error.problem, error.line), ("spec.dump", problem, line));
            assert!(!error.to_string().contains("password"), "{error}");
        }
    }
}
