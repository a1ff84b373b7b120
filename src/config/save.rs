//! The leader's part of saving checkpoints: Snapshots, their keys, and how long they are kept.

use std::time::Duration;

use clap::Args;

use snapwatcher_api::duration;
use snapwatcher_api::pod::RevisionLabels;
use snapwatcher_kubernetes::cluster::Scope;
use snapwatcher_registry::Registry;
use snapwatcher_snapshots::{Encryption, SnapshotRetention, SnapshotSettings, TagCleaning};

use super::fixed_times::FixedTimes;
use super::values::object_name;

#[derive(Debug, Clone, Args)]
pub struct SaveArgs {
    /// Saves checkpoints: creates a Snapshot for each Checkpoint that has an archive on a node. It needs an agent on each node.
    #[arg(long, env = "SNAPWATCHER_SAVE", value_name = "BOOL", default_value = "false", num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub save: bool,
    /// How Snapshots in the registry are encrypted. `none`: everyone who can read the repository can read the memory of the containers.
    #[arg(long, env = "SNAPWATCHER_SNAPSHOT_ENCRYPTION", value_name = "HOW", default_value = "age")]
    pub snapshot_encryption: SnapshotEncryption,
    /// Name of the Secret, in the namespace of `--service-namespace`, with a key for each namespace. The Secret must exist: SnapWatcher
    /// adds keys, and never creates it. Who deletes the entry of a namespace makes its Snapshots in the registry unreadable.
    #[arg(long, env = "SNAPWATCHER_SNAPSHOT_KEYS_SECRET", value_name = "NAME", default_value = "snapwatcher-snapshot-keys", value_parser = object_name)]
    pub snapshot_keys_secret: String,
    /// How many revisions of a container of a workload have Snapshots after their pods are gone.
    #[arg(long, env = "SNAPWATCHER_SNAPSHOT_HISTORY_LIMIT", value_name = "NUMBER", default_value = "2")]
    pub snapshot_history_limit: u32,
    /// How long a Snapshot is kept that is not used and whose pods are gone.
    #[arg(long, env = "SNAPWATCHER_SNAPSHOT_UNUSED_FOR", value_name = "DURATION", default_value = "720h", value_parser = duration::parse)]
    pub snapshot_unused_for: Duration,
}

/// The values of `--snapshot-encryption`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum SnapshotEncryption {
    /// To a key of the namespace.
    Age,
    /// Not at all.
    None,
}

impl SaveArgs {
    /// The Secret with the keys, if there are any.
    pub fn keys_secret(&self) -> Option<&str> {
        let needs_keys = self.save && self.snapshot_encryption == SnapshotEncryption::Age;
        needs_keys.then_some(&self.snapshot_keys_secret)
    }

    /// What the service takes. `namespace` is that of the Secret.
    pub fn settings(
        &self,
        namespace: &str,
        scopes: Vec<Scope>,
        revision_labels: RevisionLabels,
        registry: Option<Registry>,
        times: &FixedTimes,
    ) -> SnapshotSettings {
        let encryption = match self.keys_secret() {
            Some(secret) => Encryption::Age { namespace: namespace.to_owned(), secret: secret.to_owned() },
            None => Encryption::None,
        };
        SnapshotSettings {
            scopes,
            revision_labels,
            registry,
            encryption,
            retention: SnapshotRetention {
                revisions: usize::try_from(self.snapshot_history_limit).unwrap_or(usize::MAX),
                unused_for: self.snapshot_unused_for,
                every: times.snapshots_every,
            },
            tags: TagCleaning { least_age: times.orphan_age, every: times.orphans_every },
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        save: SaveArgs,
    }

    #[test]
    fn keys_are_needed_only_where_something_is_saved_and_encrypted() {
        for (arguments, expected) in [
            (&[][..], None),
            (&["--save"], Some("snapwatcher-snapshot-keys")),
            (&["--save", "--snapshot-keys-secret=k"], Some("k")),
            (&["--save", "--snapshot-encryption=none"], None),
        ] {
            let args = Flags::parse_from(["snapwatcher"].iter().chain(arguments)).save;
            assert_eq!(args.keys_secret(), expected, "{arguments:?}");
        }
    }
}
