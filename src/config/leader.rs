//! The election of the leader.

use clap::Args;

use snapwatcher_kubernetes::leader::LeaseTimes;

use super::fixed_times::FixedTimes;
use super::values::object_name;

#[derive(Debug, Clone, Args)]
pub struct LeaderArgs {
    /// Runs one replica, without a Lease. `false`: runs one of several replicas, which elect a leader by a Lease.
    #[arg(long, env = "SNAPWATCHER_STANDALONE", value_name = "BOOL", default_value = "true", num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub standalone: bool,
    /// Name of the Lease, in the namespace of `--service-namespace`.
    #[arg(long, env = "SNAPWATCHER_LEASE_NAME", value_name = "NAME", default_value = "snapwatcher", value_parser = object_name)]
    pub lease_name: String,
}

impl LeaderArgs {
    /// The times of the election, in proportion to the Lease's duration.
    pub fn times(times: &FixedTimes) -> LeaseTimes {
        let duration = times.lease_duration;
        let part = |fifteenths: u32| duration * fifteenths / 15;
        LeaseTimes {
            lease_duration: duration,
            renew_interval: part(5),
            retry_interval: part(2),
            renew_deadline: part(10),
        }
    }
}
