//! The values of the environment variables in the JSON of a pod, and nothing else of it.
//!
//! A pod can have a megabyte of other things, and a tree of all of it takes thirty times as much.

use std::marker::PhantomData;
use std::ops::ControlFlow;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use snapwatcher_api::pod::read_entries;

/// The shortest value that is looked for: a shorter one, such as `80` or `true`, is a part of ordinary words.
pub(super) const SHORTEST: usize = 6;

/// The most values of one pod that are looked for, which bounds the time for a text.
const MOST_VALUES: usize = 4096;

/// The values of all containers that are long enough.
pub(super) fn pod_values(pod: &RawValue) -> serde_json::Result<Vec<String>> {
    let ReadPod { spec } = serde_json::from_str(pod.get())?;
    let lists = [spec.containers, spec.init_containers, spec.ephemeral_containers];
    Ok(lists.into_iter().flatten().flat_map(|Values { values, .. }| values).take(MOST_VALUES).collect())
}

#[derive(Deserialize)]
struct ReadPod {
    #[serde(default)]
    spec: ReadSpec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ReadSpec {
    containers: Option<Values<ReadContainer>>,
    init_containers: Option<Values<ReadContainer>>,
    ephemeral_containers: Option<Values<ReadContainer>>,
}

#[derive(Deserialize)]
struct ReadContainer {
    env: Option<Values<ReadVariable>>,
}

#[derive(Deserialize)]
struct ReadVariable {
    value: Option<String>,
}

impl From<ReadContainer> for Vec<String> {
    fn from(container: ReadContainer) -> Self {
        container.env.map(|Values { values, .. }| values).unwrap_or_default()
    }
}

impl From<ReadVariable> for Vec<String> {
    fn from(variable: ReadVariable) -> Self {
        variable.value.filter(|value| value.trim().len() >= SHORTEST).into_iter().collect()
    }
}

/// The values in a list of `T`, of which nothing else is kept while it is decoded.
struct Values<T> {
    values: Vec<String>,
    entries: PhantomData<T>,
}

impl<'de, T: Deserialize<'de> + Into<Vec<String>>> Deserialize<'de> for Values<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut values: Vec<String> = Vec::new();
        read_entries(deserializer, |entry: T| {
            values.extend(entry.into());
            if values.len() < MOST_VALUES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(Self { values, entries: PhantomData })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn values(pod: &Value) -> Vec<String> {
        pod_values(&RawValue::from_string(pod.to_string()).unwrap()).unwrap()
    }

    fn env(values: &[&str]) -> Value {
        json!({"name": "app", "env": values.iter().map(|value| json!({"name": "A", "value": value})).collect::<Vec<_>>()})
    }

    #[test]
    fn the_values_of_all_kinds_of_containers_are_found() {
        let pod = json!({"metadata": {"name": "web"}, "spec": {
            "containers": [env(&["first-one", "80"]), {"name": "b"}, {"env": [{"name": "B", "valueFrom": {}}]}],
            "initContainers": [env(&["second-one"])],
            "ephemeralContainers": [env(&["third \"one\"\n"])],
        }});
        assert_eq!(values(&pod), ["first-one", "second-one", "third \"one\"\n"]);
        assert_eq!(values(&json!({})), [""; 0]);
        assert_eq!(values(&json!({"spec": {"containers": null}})), [""; 0]);
    }

    #[test]
    fn not_more_values_are_kept_than_are_looked_for() {
        let many: Vec<String> = (0..20_000).map(|number| format!("value-{number}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let pod = json!({"spec": {"containers": [env(&many), env(&many)], "initContainers": [env(&many)]}});
        assert_eq!(values(&pod).len(), MOST_VALUES);
    }
}
