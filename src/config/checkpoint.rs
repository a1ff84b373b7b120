//! Everything about checkpoints: back-end, attempts, concurrency, retention and the name of this replica.

use clap::Args;

use snapwatcher_api::pod::OncePerSetting;
use snapwatcher_controller::{CheckpointSettings, ConcurrencyLimits};

use super::attempts::AttemptArgs;
use super::backend::{BackendArgs, BackendSettings};
use super::concurrency::ConcurrencyArgs;
use super::fixed_times::FixedTimes;
use super::instance::InstanceArgs;
use super::retention::RetentionArgs;

#[derive(Debug, Clone, Args)]
pub struct CheckpointArgs {
    #[command(flatten)]
    pub backend: BackendArgs,
    #[command(flatten)]
    pub attempts: AttemptArgs,
    #[command(flatten)]
    pub concurrency: ConcurrencyArgs,
    #[command(flatten)]
    pub retention: RetentionArgs,
    #[command(flatten)]
    pub instance: InstanceArgs,
}

impl CheckpointArgs {
    /// What the controller takes.
    pub fn controller(&self, times: &FixedTimes) -> CheckpointSettings {
        CheckpointSettings {
            limits: ConcurrencyLimits {
                concurrent: self.concurrency.max_concurrent.into(),
                per_node: self.concurrency.max_concurrent_per_node.into(),
                response_timeout: self.backend.longest_response(),
            },
            policy: self.attempts.policy(times),
            retention: self.retention.policy(times),
            once_per: self.once_per(),
            revision_labels: self.attempts.revision_labels(self.is_limit()),
            max_pods_per_revision: self.attempts.max_pods_per_revision.into(),
            suspend: self.concurrency.suspend,
            longest_slot: self.backend.longest_slot(),
        }
    }

    fn once_per(&self) -> OncePerSetting {
        OncePerSetting { default: self.attempts.once_per, is_limit: self.is_limit() }
    }

    /// Whether annotations ask for no more checkpoints than the flags: with back-end `kubelet`, archives stay on the nodes, and fill
    /// disks that belong to all.
    fn is_limit(&self) -> bool {
        matches!(self.backend.settings(), BackendSettings::Kubelet(_))
    }

    /// Whether `--suspend` has an effect. With back-end `log` there is no request to hold back.
    pub fn is_suspended(&self) -> bool {
        self.concurrency.suspend && !matches!(self.backend.settings(), BackendSettings::Log)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use snapwatcher_api::pod::OncePer;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        checkpoint: CheckpointArgs,
    }

    fn parsed(arguments: &[&str]) -> CheckpointArgs {
        Flags::parse_from(["snapwatcher"].iter().chain(arguments)).checkpoint
    }

    #[test]
    fn once_per_follows_the_back_end_unless_it_is_set() {
        for (arguments, expected) in [
            (&[][..], OncePer::Pod),
            (&["--backend", "kubelet"], OncePer::Revision),
            (&["--backend", "kubelet", "--once-per", "pod"], OncePer::Pod),
            (&["--once-per", "revision"], OncePer::Revision),
        ] {
            assert_eq!(parsed(arguments).attempts.once_per, expected, "{arguments:?}");
        }
    }

    #[test]
    fn suspend_has_no_effect_with_the_back_end_log() {
        for (arguments, expected) in
            [(&[][..], false), (&["--suspend"], true), (&["--suspend", "--backend=log"], false)]
        {
            assert_eq!(parsed(arguments).is_suspended(), expected, "{arguments:?}");
        }
    }
}
