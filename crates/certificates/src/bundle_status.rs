//! How far the API server trusts us, as told to `/readyz` and the metrics.

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

/// Whom a configuration calls, and by what it verifies them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigurationTrust {
    /// The `caBundle` that was read.
    pub bundle: Arc<str>,
    /// The server names of its webhooks, each once: `<service>.<namespace>.svc`, or the host of a URL.
    pub hosts: Vec<String>,
    /// The configuration's `metadata.generation`, which tells that it was changed meanwhile even where all is as before.
    pub generation: Option<i64>,
}

/// What is known of one configuration's bundle.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum BundleState {
    /// Not looked at yet.
    #[default]
    Unknown,
    /// There is no such configuration, or none with webhooks: told, not waited for.
    Missing,
    /// Read back with our bundle in it.
    InSync(ConfigurationTrust),
    /// Read with another bundle where ours stood before; it is looked at once more, or ours is put back.
    Changed(ConfigurationTrust),
    /// Without our bundle as far as we know, and why.
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
            Self::Unknown => formatter.write_str("not looked at yet"),
            Self::Missing => formatter.write_str("does not exist, or has no webhooks"),
            Self::InSync(_) => formatter.write_str("in sync"),
            Self::Changed(_) => formatter.write_str("has another CA bundle than ours"),
            Self::Failed(words) => formatter.write_str(words),
        }
    }
}

/// What is known of the bundle in each named configuration; a configuration that was not named is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BundleStatus {
    pub mutating: Option<BundleState>,
    pub validating: Option<BundleState>,
}

impl BundleStatus {
    /// Whether each named configuration is known: what it trusts, or that it does not exist.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        ConfigurationKind::ALL.iter().filter_map(|kind| self.of(*kind)).all(BundleState::is_known)
    }

    /// Whether each named configuration has been read back with this very bundle, or is known not to exist.
    #[must_use]
    pub fn holds(&self, bundle: &str) -> bool {
        ConfigurationKind::ALL.iter().filter_map(|kind| self.of(*kind)).all(|keeping| match keeping {
            BundleState::InSync(trust) => *trust.bundle == *bundle,
            BundleState::Missing => true,
            BundleState::Unknown | BundleState::Changed(_) | BundleState::Failed(_) => false,
        })
    }

    /// The same, and there is at least one: nobody trusts a bundle that stands nowhere.
    #[must_use]
    pub fn is_published(&self, bundle: &str) -> bool {
        self.holds(bundle) && self.trusts().next().is_some()
    }

    /// What each configuration trusts, as it was read last.
    pub fn trusts(&self) -> impl Iterator<Item = (ConfigurationKind, &ConfigurationTrust)> {
        ConfigurationKind::ALL.into_iter().filter_map(|kind| Some((kind, self.of(kind)?.trust()?)))
    }

    /// The generations of the configurations, in the order of [`ConfigurationKind::ALL`].
    #[must_use]
    pub fn generations(&self) -> [Option<i64>; 2] {
        ConfigurationKind::ALL.map(|kind| self.of(kind)?.trust()?.generation)
    }

    /// Whether a named configuration was not looked at yet: too early to say that something is wrong.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        ConfigurationKind::ALL
            .iter()
            .filter_map(|kind| self.of(*kind))
            .any(|keeping| matches!(keeping, BundleState::Unknown))
    }

    #[must_use]
    pub const fn of(&self, kind: ConfigurationKind) -> Option<&BundleState> {
        match kind {
            ConfigurationKind::Mutating => self.mutating.as_ref(),
            ConfigurationKind::Validating => self.validating.as_ref(),
        }
    }

    /// Notes what was found; tells whether that is news.
    pub(super) fn note(&mut self, kind: ConfigurationKind, keeping: BundleState) -> bool {
        let known = match kind {
            ConfigurationKind::Mutating => &mut self.mutating,
            ConfigurationKind::Validating => &mut self.validating,
        };
        let keeping = Some(keeping);
        if *known == keeping {
            return false;
        }
        *known = keeping;
        true
    }
}

impl fmt::Display for BundleStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for kind in ConfigurationKind::ALL {
            if let Some(keeping) = self.of(kind) {
                write!(formatter, "{separator}{} configuration: {keeping}", kind.as_str())?;
                separator = ", ";
            }
        }
        if separator.is_empty() { formatter.write_str("no configuration to keep") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settled_means_each_named_configuration_is_in_sync_or_missing() {
        let in_sync =
            || BundleState::InSync(ConfigurationTrust { bundle: "PEM".into(), hosts: Vec::new(), generation: None });
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
            assert_eq!(status.is_settled(), expected, "{status}");
            assert_eq!(status.holds("PEM"), expected, "{status}");
            let is_somewhere = status.trusts().count() > 0;
            assert_eq!(status.is_published("PEM"), expected && is_somewhere, "{status}");
            assert!(status.trusts().count() == 0 || !status.holds("other"), "{status}");
        }
    }

    #[test]
    fn a_bundle_that_somebody_changed_is_known_and_is_not_ours() {
        let changed =
            BundleState::Changed(ConfigurationTrust { bundle: "other".into(), hosts: Vec::new(), generation: None });
        let status = BundleStatus { mutating: Some(changed), validating: Some(BundleState::Missing) };
        assert!(status.is_settled() && status.trusts().count() == 1);
        assert!(!status.holds("PEM") && !status.holds("other") && !status.is_published("PEM"));
    }

    #[test]
    fn a_status_reads_as_a_sentence() {
        let status = BundleStatus {
            mutating: Some(BundleState::InSync(ConfigurationTrust {
                bundle: "PEM".into(),
                hosts: Vec::new(),
                generation: None,
            })),
            validating: Some(BundleState::Missing),
        };
        let expected = "mutating configuration: in sync, validating configuration: does not exist, or has no webhooks";
        assert_eq!(status.to_string(), expected);
        assert_eq!(BundleStatus::default().to_string(), "no configuration to keep");
    }
}
