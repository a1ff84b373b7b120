//! The removal of finished Checkpoints.

use std::time::Duration;

use clap::Args;

use snapwatcher_api::duration;
use snapwatcher_controller::RetentionPolicy;

use super::fixed_times::FixedTimes;

#[derive(Debug, Clone, Args)]
pub struct RetentionArgs {
    /// How many finished Checkpoints of a workload are kept after their pods are gone.
    #[arg(long, env = "SNAPWATCHER_HISTORY_LIMIT", value_name = "NUMBER", default_value = "10")]
    pub history_limit: u32,
    /// How long a finished Checkpoint is kept after its pod is gone.
    #[arg(long, env = "SNAPWATCHER_HISTORY_TTL", value_name = "DURATION", default_value = "168h", value_parser = duration::parse)]
    pub history_ttl: Duration,
}

impl RetentionArgs {
    pub fn policy(&self, times: &FixedTimes) -> RetentionPolicy {
        let limit = usize::try_from(self.history_limit).unwrap_or(usize::MAX);
        RetentionPolicy { limit, ttl: self.history_ttl, every: times.history_every }
    }
}
