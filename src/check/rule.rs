//! An RBAC rule: as text for findings, and as YAML for roles.

use std::fmt;

use super::finding::State;

/// One rule that SnapWatcher needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub group: &'static str,
    /// The resource, with its subresource as in RBAC: `checkpoints/status`.
    pub resource: &'static str,
    pub verbs: &'static [&'static str],
    /// The only object that the rule is for.
    pub name: Option<String>,
    /// `None`: all namespaces, or the resource has no namespace.
    pub namespace: Option<String>,
    pub scope: ResourceScope,
    /// What needs the rule.
    pub purpose: &'static str,
    /// The state of the finding if the rule is missing.
    pub if_missing: State,
}

/// Whether objects of a resource belong to a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResourceScope {
    Namespaced,
    Cluster,
}

impl Rule {
    pub(super) fn resource_and_subresource(&self) -> (&'static str, Option<&'static str>) {
        self.resource.split_once('/').map_or((self.resource, None), |(resource, sub)| (resource, Some(sub)))
    }

    /// The rule as YAML, with these verbs.
    pub fn to_yaml(&self, verbs: &[&str]) -> String {
        let group = if self.group.is_empty() { "\"\"" } else { self.group };
        let names = self.name.as_ref().map(|name| format!("resourceNames: [{name}], ")).unwrap_or_default();
        format!("{{apiGroups: [{group}], resources: [{}], {names}verbs: [{}]}}", self.resource, verbs.join(", "))
    }

    /// The kind of role that must contain the rule.
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
        match (&self.namespace, self.scope) {
            (Some(namespace), _) => write!(f, " in namespace `{namespace}`"),
            (None, ResourceScope::Namespaced) => f.write_str(" in all namespaces"),
            (None, ResourceScope::Cluster) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: Option<&str>, namespace: Option<&str>, scope: ResourceScope) -> Rule {
        Rule {
            group: "snap.weaversoft.io",
            resource: "checkpoints/status",
            verbs: &["get", "update"],
            name: name.map(str::to_owned),
            namespace: namespace.map(str::to_owned),
            scope,
            purpose: "",
            if_missing: State::Failed,
        }
    }

    #[test]
    fn the_text_of_a_rule_has_verbs_resource_name_and_namespace() {
        for (name, namespace, scope, expected) in [
            (None, None, ResourceScope::Namespaced, " in all namespaces"),
            (None, Some("shop"), ResourceScope::Namespaced, " in namespace `shop`"),
            (Some("ca"), Some("snap"), ResourceScope::Namespaced, " named `ca` in namespace `snap`"),
            (Some("snapwatcher"), None, ResourceScope::Cluster, " named `snapwatcher`"),
        ] {
            let text = rule(name, namespace, scope).to_string();
            assert_eq!(text, format!("right to get, update checkpoints/status of snap.weaversoft.io{expected}"));
        }
    }

    #[test]
    fn the_yaml_of_a_rule_is_that_of_a_role() {
        let named = rule(Some("ca"), Some("snap"), ResourceScope::Namespaced);
        let expected =
            "{apiGroups: [snap.weaversoft.io], resources: [checkpoints/status], resourceNames: [ca], verbs: [update]}";
        assert_eq!(named.to_yaml(&["update"]), expected);
        let core = Rule { group: "", resource: "pods", ..rule(None, None, ResourceScope::Namespaced) };
        assert_eq!(core.to_yaml(core.verbs), "{apiGroups: [\"\"], resources: [pods], verbs: [get, update]}");
        assert_eq!(named.resource_and_subresource(), ("checkpoints", Some("status")));
        assert_eq!((named.role(), core.role()), ("a Role in namespace `snap`".into(), "a ClusterRole".into()));
    }
}
