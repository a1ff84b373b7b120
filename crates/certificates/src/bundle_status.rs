//! What is known of the `caBundle` in each webhook configuration, for readiness and metrics.

use std::fmt;
use std::sync::Arc;

/// The two kinds of webhook configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConfigurationKind {
    Mutating,
    Validating,
}

impl ConfigurationKind {
    pub const ALL: [Self; 2] = [Self::Mutating, Self::Validating];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mutating => "mutating",
            Self::Validating => "validating",
        }
    }

    /// The flag that names the configuration.
    #[must_use]
    pub const fn flag(self) -> &'static str {
        match self {
            Self::Mutating => "--mutating-webhook-configuration",
            Self::Validating => "--validating-webhook-configuration",
        }
    }
}

/// By what the API server verifies the servers that a configuration calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigurationTrust {
    /// The `caBundle` that was read.
    pub ca_bundle: Arc<str>,
    /// The server names of its webhooks, each once: `<service>.<namespace>.svc`, or the host of a URL.
    pub server_names: Vec<String>,
    /// The configuration's `metadata.generation`: it shows a change even if the change was undone.
    pub generation: Option<i64>,
}

/// What is known of the bundle in one configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum BundleState {
    /// Not read yet.
    #[default]
    Unknown,
    /// The configuration does not exist, or has no webhooks.
    Missing,
    /// Read back with the expected bundle.
    InSync(ConfigurationTrust),
    /// Read with another bundle after it was in sync. It is read once more, or overwritten.
    Changed(ConfigurationTrust),
    /// Without the expected bundle as far as is known, and why.
    Failed(String),
}

impl BundleState {
    /// What the configuration trusts, as it was read last.
    #[must_use]
    pub const fn trust(&self) -> Option<&ConfigurationTrust> {
        match self {
            Self::InSync(trust) | Self::Changed(trust) => Some(trust),
            Self::Unknown | Self::Missing | Self::Failed(_) => None,
        }
    }

    /// Whether it is known what the configuration trusts, or that it does not exist.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        matches!(self, Self::Missing) || self.trust().is_some()
    }
}

impl fmt::Display for BundleState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => formatter.write_str("not read yet"),
            Self::Missing => formatter.write_str("does not exist, or has no webhooks"),
            Self::InSync(_) => formatter.write_str("in sync"),
            Self::Changed(_) => formatter.write_str("has another CA bundle than SnapWatcher's"),
            Self::Failed(message) => formatter.write_str(message),
        }
    }
}

/// The state of each named configuration. `None` is a configuration that no flag names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BundleStatus {
    pub mutating: Option<BundleState>,
    pub validating: Option<BundleState>,
}

impl BundleStatus {
    fn states(&self) -> impl Iterator<Item = &BundleState> {
        ConfigurationKind::ALL.into_iter().filter_map(|kind| self.get(kind))
    }

    /// Whether it is known of each named configuration what it trusts, or that it does not exist.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.states().all(BundleState::is_known)
    }

    /// Whether each named configuration was read back with this bundle, or does not exist.
    #[must_use]
    pub fn is_in_sync_with(&self, bundle: &str) -> bool {
        self.states().all(|state| match state {
            BundleState::InSync(trust) => *trust.ca_bundle == *bundle,
            BundleState::Missing => true,
            BundleState::Unknown | BundleState::Changed(_) | BundleState::Failed(_) => false,
        })
    }

    /// Whether it is in sync with this bundle and at least one configuration exists.
    #[must_use]
    pub fn is_published(&self, bundle: &str) -> bool {
        self.is_in_sync_with(bundle) && self.trusts().next().is_some()
    }

    /// What each configuration trusts, as it was read last.
    pub fn trusts(&self) -> impl Iterator<Item = (ConfigurationKind, &ConfigurationTrust)> {
        ConfigurationKind::ALL.into_iter().filter_map(|kind| Some((kind, self.get(kind)?.trust()?)))
    }

    /// The generations of the configurations, in the order of [`ConfigurationKind::ALL`].
    #[must_use]
    pub fn generations(&self) -> [Option<i64>; 2] {
        ConfigurationKind::ALL.map(|kind| self.get(kind)?.trust()?.generation)
    }

    /// Whether a named configuration was not read yet.
    #[must_use]
    pub fn has_unread(&self) -> bool {
        self.states().any(|state| matches!(state, BundleState::Unknown))
    }

    #[must_use]
    pub const fn get(&self, kind: ConfigurationKind) -> Option<&BundleState> {
        match kind {
            ConfigurationKind::Mutating => self.mutating.as_ref(),
            ConfigurationKind::Validating => self.validating.as_ref(),
        }
    }

    /// Sets a state and returns whether it is another than before.
    pub(super) fn set(&mut self, kind: ConfigurationKind, state: BundleState) -> bool {
        let known = match kind {
            ConfigurationKind::Mutating => &mut self.mutating,
            ConfigurationKind::Validating => &mut self.validating,
        };
        let state = Some(state);
        if *known == state {
            return false;
        }
        *known = state;
        true
    }
}

impl fmt::Display for BundleStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for kind in ConfigurationKind::ALL {
            if let Some(state) = self.get(kind) {
                write!(formatter, "{separator}{} configuration: {state}", kind.as_str())?;
                separator = ", ";
            }
        }
        if separator.is_empty() { formatter.write_str("no configuration is kept") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_means_each_named_configuration_is_in_sync_or_missing() {
        let in_sync = || {
            BundleState::InSync(ConfigurationTrust {
                ca_bundle: "PEM".into(),
                server_names: Vec::new(),
                generation: None,
            })
        };
        let failed = || BundleState::Failed("could not apply".to_owned());
        for (mutating, validating, expected) in [
            (None, None, true),
            (Some(BundleState::Unknown), None, false),
            (Some(in_sync()), None, true),
            (Some(in_sync()), Some(BundleState::Unknown), false),
            (Some(in_sync()), Some(BundleState::Missing), true),
            (Some(in_sync()), Some(failed()), false),
            (Some(failed()), Some(in_sync()), false),
        ] {
            let status = BundleStatus { mutating, validating };
            assert_eq!(status.is_known(), expected, "{status}");
            assert_eq!(status.is_in_sync_with("PEM"), expected, "{status}");
            let is_somewhere = status.trusts().count() > 0;
            assert_eq!(status.is_published("PEM"), expected && is_somewhere, "{status}");
            assert!(status.trusts().count() == 0 || !status.is_in_sync_with("other"), "{status}");
        }
    }

    #[test]
    fn a_changed_bundle_is_known_and_not_in_sync() {
        let changed = BundleState::Changed(ConfigurationTrust {
            ca_bundle: "other".into(),
            server_names: Vec::new(),
            generation: None,
        });
        let status = BundleStatus { mutating: Some(changed), validating: Some(BundleState::Missing) };
        assert!(status.is_known() && status.trusts().count() == 1);
        assert!(!status.is_in_sync_with("PEM") && !status.is_in_sync_with("other") && !status.is_published("PEM"));
    }

    #[test]
    fn a_status_lists_each_configuration() {
        let status = BundleStatus {
            mutating: Some(BundleState::InSync(ConfigurationTrust {
                ca_bundle: "PEM".into(),
                server_names: Vec::new(),
                generation: None,
            })),
            validating: Some(BundleState::Missing),
        };
        let expected = "mutating configuration: in sync, validating configuration: does not exist, or has no webhooks";
        assert_eq!(status.to_string(), expected);
        assert_eq!(BundleStatus::default().to_string(), "no configuration is kept");
    }
}
