//! What tests ask of the schemas of custom resources.

use serde_json::Value;

/// The paths of all fields below a schema that have no description. Types of Kubernetes bring their own.
pub(crate) fn undescribed(path: &str, schema: &Value) -> Vec<String> {
    let mut paths = Vec::new();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        if field["description"].as_str().is_none_or(str::is_empty) {
            paths.push(path.clone());
        }
        paths.extend(undescribed(&path, field));
        paths.extend(undescribed(&format!("{path}[]"), &field["items"]));
    }
    paths
}
