//! The checkpoint options: what the annotations of a pod say about its checkpoint. Admission and watch both use this parser.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::checkpoint_name::shortened;
use crate::duration;
use crate::keys::{CONTAINERS, DEFAULT_CONTAINER, DELAY, MESH_PROXIES, ONCE_PER, REVISION_LABEL};

use super::name::{LONGEST_LABEL, is_label_key};

/// Whether one checkpoint is taken of each pod, or of each revision of a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
pub enum OncePer {
    Pod,
    Revision,
}

impl OncePer {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::Revision => "revision",
        }
    }
}

/// How often pods are checkpointed, by the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OncePerSetting {
    /// For pods without an annotation.
    pub default: OncePer,
    /// Whether an annotation may ask for no more than that: archives on nodes take space of all pods there.
    pub is_limit: bool,
}

impl OncePerSetting {
    /// How often a pod with that annotation is checkpointed.
    pub fn of(self, annotation: Option<OncePer>) -> OncePer {
        match annotation {
            Some(OncePer::Pod) if self.is_limit => self.default,
            Some(annotation) => annotation,
            None => self.default,
        }
    }
}

impl FromStr for OncePer {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "pod" => Ok(Self::Pod),
            "revision" => Ok(Self::Revision),
            _ => Err(()),
        }
    }
}

/// An annotation of SNAP with an invalid value. A pod that has one is never claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidAnnotation {
    /// The annotation's key.
    pub key: &'static str,
    /// What is wrong, and which values are allowed.
    pub problem: String,
}

impl fmt::Display for InvalidAnnotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "annotation {}: {}", self.key, self.problem)
    }
}

/// The parsed annotations of one pod.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CheckpointOptions {
    /// The containers to checkpoint, each once, in the order of the annotation (for `*`, in the order of the pod). Never
    /// empty for a pod that has containers.
    pub containers: Vec<String>,
    /// How long the pod must have been Ready without a break.
    pub delay: Duration,
    /// `None`: the annotation is missing, see [`OncePerSetting`].
    pub once_per: Option<OncePer>,
}

impl CheckpointOptions {
    /// Parses the annotations of a pod whose regular containers are `containers`, and whose native sidecars are `sidecars`. The
    /// error lists every problem.
    pub fn parse(
        annotations: &BTreeMap<String, String>,
        containers: &[&str],
        sidecars: &[&str],
    ) -> Result<Self, Vec<InvalidAnnotation>> {
        let mut problems = Vec::new();
        let mut read = |key: &'static str, parsed: Result<(), String>| {
            if let Err(problem) = parsed {
                problems.push(InvalidAnnotation { key, problem });
            }
        };
        let mut options =
            Self { containers: default_container(annotations, containers), delay: Duration::ZERO, once_per: None };
        if let Some(text) = annotations.get(CONTAINERS) {
            read(CONTAINERS, chosen(text, containers, sidecars).map(|names| options.containers = names));
        }
        if let Some(text) = annotations.get(DELAY) {
            read(DELAY, duration::parse(text).map(|delay| options.delay = delay).map_err(|error| error.to_string()));
        }
        if let Some(text) = annotations.get(ONCE_PER) {
            let parsed = text.parse().map(|once| options.once_per = Some(once));
            read(ONCE_PER, parsed.map_err(|()| format!("`{text}` is not allowed; write `pod` or `revision`")));
        }
        if let Some(text) = annotations.get(REVISION_LABEL).filter(|text| !is_label_key(text)) {
            read(
                REVISION_LABEL,
                Err(format!("`{text}` is no key of a label; write one such as `strimzi.io/revision`")),
            );
        }
        if problems.is_empty() { Ok(options) } else { Err(problems) }
    }
}

/// The container that kubectl picks: the annotated one if the pod has it, else the first. Unlike kubectl, not the proxy that a
/// service mesh has put before the containers of the pod's author, and never a sidecar.
fn default_container(annotations: &BTreeMap<String, String>, containers: &[&str]) -> Vec<String> {
    let annotated = annotations.get(DEFAULT_CONTAINER).map(String::as_str).filter(|name| containers.contains(name));
    let is_proxy =
        |name: &str| MESH_PROXIES.iter().any(|(injected, proxy)| *proxy == name && annotations.contains_key(*injected));
    let first = || containers.iter().find(|&&name| !is_proxy(name)).or(containers.first()).copied();
    annotated.or_else(first).map(str::to_owned).into_iter().collect()
}

/// `*` are the regular containers: the state of a sidecar is seldom what a restore needs, and it can be named.
fn chosen(text: &str, containers: &[&str], sidecars: &[&str]) -> Result<Vec<String>, String> {
    if text.trim() == "*" {
        return Ok(containers.iter().map(|&name| name.to_owned()).collect());
    }
    let all = || containers.iter().chain(sidecars).copied();
    let mut unchosen: HashSet<&str> = all().collect();
    let known = unchosen.clone();
    let mut names: Vec<String> = Vec::new();
    for name in text.split(',').map(str::trim) {
        if name.is_empty() {
            return Err(format!("`{text}` has an empty name; write container names, separated by commas, or `*`"));
        }
        if !known.contains(name) {
            // Admission parses the names before the API server has validated them.
            let names: Vec<String> = all().map(|name| shortened(name, LONGEST_LABEL)).collect();
            return Err(format!("the pod has no container `{name}`; its containers are {}", names.join(", ")));
        }
        if unchosen.remove(name) {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotations(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn the_chosen_containers_are_those_annotated() {
        let pod = ["app", "proxy"];
        for (case, pairs, expected) in [
            ("nothing said: the first", &[][..], &["app"][..]),
            ("kubectl's default", &[(DEFAULT_CONTAINER, "proxy")], &["proxy"]),
            ("kubectl's default is not there", &[(DEFAULT_CONTAINER, "gone")], &["app"]),
            ("one name", &[(CONTAINERS, "proxy")], &["proxy"]),
            ("ours before kubectl's", &[(CONTAINERS, "app"), (DEFAULT_CONTAINER, "proxy")], &["app"]),
            ("two names, spaced, twice", &[(CONTAINERS, "proxy, app,proxy")], &["proxy", "app"]),
            ("all regular ones", &[(CONTAINERS, "*")], &["app", "proxy"]),
            ("a sidecar by its name", &[(CONTAINERS, "cache, app")], &["cache", "app"]),
            ("kubectl's default is a sidecar", &[(DEFAULT_CONTAINER, "cache")], &["app"]),
        ] {
            let options = CheckpointOptions::parse(&annotations(pairs), &pod, &["cache"]).unwrap();
            assert_eq!(options.containers, expected, "{case}");
        }
    }

    #[test]
    fn the_proxy_of_a_service_mesh_is_not_chosen_unless_the_pod_says_so() {
        for (injected, proxy) in MESH_PROXIES {
            let chosen = |pairs: &[(&str, &str)], pod: &[&str]| {
                CheckpointOptions::parse(&annotations(pairs), pod, &[]).unwrap().containers
            };
            let mesh = (injected, "x");
            for (case, pairs, pod, expected) in [
                ("proxy first", &[mesh][..], &[proxy, "orders", "side"][..], &["orders"][..]),
                ("proxy last", &[mesh], &["orders", proxy], &["orders"]),
                ("kubectl's default", &[mesh, (DEFAULT_CONTAINER, "side")], &[proxy, "orders", "side"], &["side"]),
                ("kubectl's default is the proxy", &[mesh, (DEFAULT_CONTAINER, proxy)], &[proxy, "orders"], &[proxy]),
                ("the proxy by name", &[mesh, (CONTAINERS, proxy)], &[proxy, "orders"], &[proxy]),
                ("all", &[mesh, (CONTAINERS, "*")], &[proxy, "orders"], &[proxy, "orders"]),
                ("nothing else", &[mesh], &[proxy], &[proxy]),
                ("a container of that name without a mesh", &[], &[proxy, "orders"], &[proxy]),
                ("another container first", &[mesh], &["proxy", "orders"], &["proxy"]),
            ] {
                assert_eq!(chosen(pairs, pod), expected, "{injected}: {case}");
            }
        }
    }

    #[test]
    fn every_problem_is_named_with_its_key() {
        let wrong =
            annotations(&[(CONTAINERS, "app,nope"), (DELAY, "soon"), (ONCE_PER, "week"), (REVISION_LABEL, "a b")]);
        let problems = CheckpointOptions::parse(&wrong, &["app"], &["cache"]).unwrap_err();
        let keys: Vec<_> = problems.iter().map(|problem| problem.key).collect();
        assert_eq!(keys, [CONTAINERS, DELAY, ONCE_PER, REVISION_LABEL]);
        assert_eq!(
            problems[0].to_string(),
            "annotation snap.weaversoft.io/containers: the pod has no container `nope`; its containers are app, cache"
        );
    }

    #[test]
    fn an_empty_choice_is_refused() {
        for text in ["", " ", "app,", ",app"] {
            assert!(CheckpointOptions::parse(&annotations(&[(CONTAINERS, text)]), &["app"], &[]).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_annotation_asks_for_no_more_than_the_limit() {
        use OncePer::{Pod, Revision};
        for (default, is_limit, annotation, expected) in [
            (Pod, true, Some(Revision), Revision),
            (Pod, true, Some(Pod), Pod),
            (Revision, true, Some(Pod), Revision),
            (Revision, false, Some(Pod), Pod),
            (Revision, true, None, Revision),
        ] {
            assert_eq!(OncePerSetting { default, is_limit }.of(annotation), expected, "{default:?} {annotation:?}");
        }
    }

    #[test]
    fn delay_and_once_per_are_read() {
        let options =
            CheckpointOptions::parse(&annotations(&[(DELAY, "2m"), (ONCE_PER, "revision")]), &["app"], &[]).unwrap();
        assert_eq!((options.delay, options.once_per), (Duration::from_secs(120), Some(OncePer::Revision)));
    }
}
