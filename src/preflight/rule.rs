//! A rule of RBAC: what is needed, how it is told, and how it is written.

use std::fmt;

use super::finding::State;

/// One row of the rights that SnapWatcher needs, see docs/running.md.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) group: &'static str,
    /// With its subresource, as RBAC writes it: `checkpoints/status`.
    pub(super) resource: &'static str,
    pub(super) verbs: &'static [&'static str],
    /// Of one object only.
    pub(super) name: Option<String>,
    /// `None`: in all namespaces, or of a kind that has none.
    pub(super) namespace: Option<String>,
    pub(super) reach: Reach,
    /// How bad it is to go without.
    pub(super) without: State,
}

/// Whether objects of the resource belong to a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    Namespaced,
    Cluster,
}

impl Rule {
    pub(super) fn resource_and_subresource(&self) -> (&'static str, Option<&'static str>) {
        self.resource.split_once('/').map_or((self.resource, None), |(resource, sub)| (resource, Some(sub)))
    }

    /// The rule as a Role has it, with these verbs alone.
    pub(super) fn written(&self, verbs: &[&str]) -> String {
        let group = if self.group.is_empty() { "\"\"" } else { self.group };
        let names = self.name.as_ref().map(|name| format!("resourceNames: [{name}], ")).unwrap_or_default();
        format!("{{apiGroups: [{group}], resources: [{}], {names}verbs: [{}]}}", self.resource, verbs.join(", "))
    }

    /// What a rule has to stand in.
    pub(super) fn role(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("a Role in namespace `{namespace}`"),
            None => "a ClusterRole".to_owned(),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "right to {} {}", self.verbs.join(", "), self.resource)?;
        if !self.group.is_empty() {
            write!(f, " of {}", self.group)?;
        }
        if let Some(name) = &self.name {
            write!(f, " named `{name}`")?;
        }
        match (&self.namespace, self.reach) {
            (Some(namespace), _) => write!(f, " in namespace `{namespace}`"),
            (None, Reach::Namespaced) => f.write_str(" in all namespaces"),
            (None, Reach::Cluster) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: Option<&str>, namespace: Option<&str>, reach: Reach) -> Rule {
        Rule {
            group: "snap.weaversoft.io",
            resource: "checkpoints/status",
            verbs: &["get", "update"],
            name: name.map(str::to_owned),
            namespace: namespace.map(str::to_owned),
            reach,
            without: State::Failed,
        }
    }

    #[test]
    fn a_rule_is_told_by_verbs_resource_name_and_namespace() {
        for (name, namespace, reach, expected) in [
            (None, None, Reach::Namespaced, " in all namespaces"),
            (None, Some("shop"), Reach::Namespaced, " in namespace `shop`"),
            (Some("ca"), Some("snap"), Reach::Namespaced, " named `ca` in namespace `snap`"),
            (Some("snapwatcher"), None, Reach::Cluster, " named `snapwatcher`"),
        ] {
            let told = rule(name, namespace, reach).to_string();
            assert_eq!(told, format!("right to get, update checkpoints/status of snap.weaversoft.io{expected}"));
        }
    }

    #[test]
    fn a_rule_is_written_as_a_role_has_it() {
        let named = rule(Some("ca"), Some("snap"), Reach::Namespaced);
        let expected =
            "{apiGroups: [snap.weaversoft.io], resources: [checkpoints/status], resourceNames: [ca], verbs: [update]}";
        assert_eq!(named.written(&["update"]), expected);
        let core = Rule { group: "", resource: "pods", ..rule(None, None, Reach::Namespaced) };
        assert_eq!(core.written(core.verbs), "{apiGroups: [\"\"], resources: [pods], verbs: [get, update]}");
        assert_eq!(named.resource_and_subresource(), ("checkpoints", Some("status")));
        assert_eq!((named.role(), core.role()), ("a Role in namespace `snap`".into(), "a ClusterRole".into()));
    }
}
