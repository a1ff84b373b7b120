//! Reads SnapWatcher's text log: the block of a pod and the patch of its admission.

use serde_json::Value;

/// The first line of a block, after a prefix with time and level.
const BLOCK: &str = "Now we should checkpoint";

/// The message of the line with a patch. The fields `admission` and `patch` follow.
const PATCHED: &str = "Patched pod";

/// The blocks of this pod.
pub(crate) fn blocks(log: &str, namespace: &str, pod: &str) -> Vec<String> {
    let mut lines = log.lines().peekable();
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        if !line.ends_with(BLOCK) {
            continue;
        }
        let mut block = vec![line];
        while let Some(field) = lines.next_if(|line| line.starts_with("  ")) {
            block.push(field);
        }
        let has = |label: &str, value: &str| {
            block.iter().any(|line| line.trim().strip_prefix(label).is_some_and(|rest| rest.trim() == value))
        };
        if has("Namespace:", namespace) && has("Pod:", pod) {
            found.push(block.join("\n"));
        }
    }
    found
}

/// The JSON patch in the response to this admission request.
///
/// The request is not found by the pod's name, because a ReplicaSet's pod has no name at admission.
pub(crate) fn patch(log: &str, admission: &str) -> Option<Value> {
    let mark = format!(" admission={admission}");
    let line = log.lines().find(|line| line.contains(PATCHED) && line.contains(&mark))?;
    let (_, value) = line.split_once(" patch=")?;
    let first = serde_json::Deserializer::from_str(value).into_iter::<Value>().next()?.ok()?;
    // A value with spaces or quotes is quoted.
    match first {
        Value::String(text) => serde_json::from_str(&text).ok(),
        other => Some(other),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LOG: &str = r#"2026-11-23T03:15:06Z DEBUG Patched pod `shop/` admission=u-1 patch="[{\"op\":\"add\"}]" namespace=shop pod=""
2026-11-23T03:15:06Z DEBUG Patched pod `shop/x` admission=u-2 patch=[] namespace=shop pod=x
2026-11-23T03:15:07Z  INFO Now we should checkpoint
  Event:      ADDED
  Namespace:  shop
  Deployment: web
  Pod:        web-1
  Container:  app
  Node:       node-1
2026-11-23T03:15:07Z  INFO Now we should checkpoint
  Event:      ADDED
  Namespace:  shop
  Workload:   StatefulSet/db
  Pod:        db-0
  Container:  app
  Node:       node-2
2026-11-23T03:15:08Z  INFO something else
"#;

    #[test]
    fn a_block_is_found_by_its_pod() {
        let found = blocks(LOG, "shop", "db-0");
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("StatefulSet/db") && found[0].ends_with("node-2"), "{}", found[0]);
        assert!(blocks(LOG, "shop", "db").is_empty() && blocks(LOG, "other", "db-0").is_empty());
    }

    #[test]
    fn a_quoted_and_an_unquoted_patch_is_found_by_its_admission() {
        assert_eq!(patch(LOG, "u-1"), Some(json!([{"op": "add"}])));
        assert_eq!(patch(LOG, "u-2"), Some(json!([])));
        assert_eq!(patch(LOG, "u-3"), None);
    }
}
