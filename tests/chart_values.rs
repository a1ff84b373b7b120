//! The values of the chart: each has a comment, a place in the schema and an effect on what is rendered. The table in the
//! chart's README is generated from the comments.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use lab::{Chart, Rendered, Template};
use serde_json::{Value, json};

/// With this variable set, the tests write the README's table and the schema's descriptions instead of comparing them.
const UPDATE: &str = "UPDATE_DOCS";
const REMEDY: &str = "is out of date; update it: UPDATE_DOCS=1 cargo test --test chart_values";

/// Starts the comment that describes a value.
const MARK: &str = "# -- ";

/// Frame the table in README.md.
const TABLE_BEGINS: &str = "<!-- generated from values.yaml -->\n";
const TABLE_ENDS: &str = "<!-- end -->\n";

fn chart(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/snapwatcher").join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(chart(name)).unwrap()
}

fn schema() -> Value {
    serde_json::from_str(&read("values.schema.json")).unwrap()
}

/// The paths of values.yaml that have a comment, each with its comment, in the order of the file.
fn comments() -> Vec<(String, String)> {
    let text = read("values.yaml");
    let (mut found, mut parents, mut comment) = (Vec::new(), Vec::<(usize, &str)>::new(), String::new());
    for line in text.lines() {
        let content = line.trim_start();
        let indent = line.len() - content.len();
        if let Some(started) = content.strip_prefix(MARK) {
            started.clone_into(&mut comment);
        } else if let Some(more) = content.strip_prefix("# ").filter(|_| !comment.is_empty()) {
            comment = format!("{comment} {more}");
        } else if let Some((key, _)) = content.split_once(':').filter(|(key, _)| !key.starts_with(['#', '-'])) {
            parents.retain(|(above, _)| *above < indent);
            parents.push((indent, key));
            if !comment.is_empty() {
                let path = parents.iter().map(|(_, key)| *key).collect::<Vec<_>>().join(".");
                found.push((path, std::mem::take(&mut comment)));
            }
        } else {
            comment.clear();
        }
    }
    found
}

/// The values of the schema with their descriptions: closed objects and their leaves.
fn described(schema: &Value, path: &str, found: &mut BTreeMap<String, String>) {
    for (key, value) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        found.insert(path.clone(), value["description"].as_str().unwrap_or_default().to_owned());
        // Selectors belong to Kubernetes, so their keys are no values of the chart.
        if !path.ends_with("Selector") {
            described(value, &path, found);
        }
    }
}

fn describe(schema: &mut Value, path: &str, comments: &BTreeMap<String, String>) {
    // Indexing would create a missing key.
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    for (key, value) in properties.into_iter().flatten() {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        if let Some(comment) = comments.get(&path) {
            value["description"] = Value::String(comment.clone());
        }
        describe(value, &path, comments);
    }
}

fn default_of<'a>(values: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(values, |value, key| value.get(key).unwrap_or(&Value::Null))
}

fn schema_of<'a>(schema: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(schema, |schema, key| &schema["properties"][key])
}

fn is_section(schema: &Value, path: &str) -> bool {
    schema_of(schema, path)["properties"].is_object() && !path.ends_with("Selector")
}

fn table() -> String {
    let values: Value = serde_yaml_ng::from_str(&read("values.yaml")).unwrap();
    let schema = schema();
    let mut table = "| value | default | meaning |\n| --- | --- | --- |\n".to_owned();
    for (path, comment) in comments() {
        let comment = comment.replace('|', "\\|");
        if is_section(&schema, &path) {
            writeln!(table, "| **{path}** | | {comment} |").unwrap();
        } else {
            writeln!(table, "| `{path}` | `{}` | {comment} |", default_of(&values, &path)).unwrap();
        }
    }
    table
}

fn agrees(name: &str, expected: &str) {
    if std::env::var_os(UPDATE).is_some() {
        fs::write(chart(name), expected).unwrap();
    }
    assert!(read(name) == expected, "{name} {REMEDY}");
}

#[test]
fn every_value_has_a_comment_and_a_place_in_the_schema() {
    let commented: BTreeSet<_> = comments().into_iter().map(|(path, _)| path).collect();
    let mut known = BTreeMap::new();
    described(&schema(), "", &mut known);
    // Helm passes it to every subchart.
    known.remove("global");
    assert_eq!(commented, known.into_keys().collect());
}

#[test]
fn every_object_of_the_schema_is_closed_or_belongs_to_kubernetes() {
    fn look(schema: &Value, path: &str) {
        if schema["properties"].is_object() {
            assert_eq!(schema["additionalProperties"], false, "{path}");
        }
        for (key, value) in schema["properties"].as_object().into_iter().flatten() {
            assert!(!value["description"].as_str().unwrap_or_default().is_empty(), "{path}.{key}");
            look(value, &format!("{path}.{key}"));
        }
        if schema["items"].is_object() {
            look(&schema["items"], &format!("{path}[]"));
        }
    }
    look(&schema(), "");
}

/// Scenarios, some of them combined, in which some value has an effect that it has nowhere else. The first ones cover most values.
const SCENARIOS: [&[&str]; 10] = [
    &["default"],
    &["backend-kubelet-own-ca", "monitoring", "network-policy", "ha", "tls-secret"],
    &["snaphook-secured"],
    &["network-policy"],
    &["namespaced"],
    &["validation-deny"],
    &["given-account"],
    &["backend-kubelet-unverified"],
    &["save", "network-policy"],
    &["save-namespaced"],
];

/// Values that the schema accepts. At least one of them is not the default.
fn alternatives(path: &str, schema: &Value) -> Vec<Value> {
    if let Some(values) = schema["enum"].as_array() {
        return values.clone();
    }
    let named = match path {
        "image.digest" => json!(format!("sha256:{}", "a".repeat(64))),
        "image.repository" | "save.registry.repository" => json!("registry.example.com/other"),
        "metrics.interval" | "snapwatcher.checkpoint.historyTTL" | "save.unusedFor" => json!("77m"),
        "snapwatcher.checkpoint.snapBackApiUrl" | "snapwatcher.checkpoint.kubeApiAddress" => json!("https://other"),
        "podDisruptionBudget.maxUnavailable" => json!(2),
        "snapwatcher.checkpoint.kubelet.archiveBudget" | "save.storeBytes" | "save.uploadBytesPerSecond" => {
            json!("77Gi")
        }
        "agent.kubeletRoot" | "agent.stateFolder" => json!("/var/lib/other"),
        "resources.limits" | "resources.requests" | "agent.resources.limits" | "agent.resources.requests" => {
            json!({"memory": "77Mi"})
        }
        "snapwatcher.operator.logLevel" => json!("debug"),
        "tls.caBundle" => json!("-----BEGIN CERTIFICATE-----\nother\n-----END CERTIFICATE-----\n"),
        "env" | "imagePullSecrets" => json!([{"name": "other"}]),
        _ if path.ends_with("Selector") && path.starts_with("webhook.") => json!({"matchLabels": {"other": "yes"}}),
        _ => match schema["type"].as_str().unwrap() {
            "boolean" => return vec![json!(true), json!(false)],
            "integer" => return [2, 3].map(|more| json!(schema["minimum"].as_u64().unwrap() + more)).to_vec(),
            "string" => json!("other"),
            "object" => json!({"example.com/other": "yes"}),
            "array" => match schema["items"]["type"].as_str().unwrap() {
                "string" => {
                    json!([schema["items"]["enum"].as_array().map_or("other", |words| words[1].as_str().unwrap())])
                }
                "integer" => json!([4242]),
                _ => json!([{"other": "yes"}]),
            },
            other => panic!("name another value for `{path}` here, a {other}"),
        },
    };
    vec![named]
}

#[tokio::test]
async fn every_value_changes_what_is_rendered() {
    let chart = Chart::of_repository().await;
    let schema = schema();
    let mut known = BTreeMap::new();
    described(&schema, "", &mut known);
    let rendered: Vec<(Template, Rendered)> = SCENARIOS
        .iter()
        .map(|scenarios| {
            let values = scenarios.iter().map(|scenario| format!("--values=ci/{scenario}-values.yaml"));
            let template = values.fold(Template::default(), Template::argument);
            let rendered = chart.render(&template);
            (template, rendered)
        })
        .collect();
    for path in known.keys().filter(|path| *path != "global" && !is_section(&schema, path)) {
        let values = alternatives(path, schema_of(&schema, path));
        let changes = rendered.iter().any(|(template, before)| {
            // The chart rejects a value that contradicts the scenario.
            let after = values.iter().filter_map(|value| chart.try_render(&template.clone().with(path, value)).ok());
            after.into_iter().any(|after| after != *before)
        });
        assert!(changes, "{values:?} for `{path}` changes nothing in {SCENARIOS:?}");
    }
}

#[test]
fn every_value_that_a_template_reads_exists() {
    let mut templates = String::new();
    for folder in ["templates", "templates/tests"] {
        for entry in fs::read_dir(chart(folder)).unwrap().flatten().filter(|entry| entry.path().is_file()) {
            templates.push_str(&fs::read_to_string(entry.path()).unwrap());
        }
    }
    let mut known = BTreeMap::new();
    described(&schema(), "", &mut known);
    for read in templates.split(".Values.").skip(1) {
        let path: String = read.chars().take_while(|c| c.is_alphanumeric() || *c == '.').collect();
        let path = path.trim_end_matches('.');
        let is_within = |known: &String| known == path || path.starts_with(&format!("{known}."));
        assert!(known.keys().any(is_within), "there is no `{path}`");
    }
}

#[test]
fn the_schema_describes_each_value_as_its_comment_does() {
    let comments: BTreeMap<_, _> = comments().into_iter().collect();
    let mut schema = schema();
    describe(&mut schema, "", &comments);
    agrees("values.schema.json", &(serde_json::to_string_pretty(&schema).unwrap() + "\n"));
}

#[test]
fn the_table_in_the_readme_is_that_of_the_values() {
    let readme = read("README.md");
    let (before, rest) = readme.split_once(TABLE_BEGINS).unwrap();
    let (_, after) = rest.split_once(TABLE_ENDS).unwrap();
    agrees("README.md", &format!("{before}{TABLE_BEGINS}\n{}\n{TABLE_ENDS}{after}", table()));
}

#[test]
fn the_chart_is_of_the_version_of_the_program() {
    let chart: Value = serde_yaml_ng::from_str(&read("Chart.yaml")).unwrap();
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
}
