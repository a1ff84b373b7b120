//! How many checkpoints run at once, and the switch that stops them all.

use clap::Args;

#[derive(Debug, Clone, Args)]
pub struct ConcurrencyArgs {
    /// How many checkpoints may run at the same time, in total. While several namespaces have labeled pods, one of them has at most
    /// half of those that the others do not have. With 4 or more, two namespaces never have all.
    #[arg(long, env = "SNAPWATCHER_MAX_CONCURRENT", value_name = "NUMBER", default_value = "8", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub max_concurrent: u16,
    /// How many checkpoints may run at the same time on one node. Each one freezes its container and loads the node. On a node, a
    /// namespace may have all of them.
    #[arg(long, env = "SNAPWATCHER_MAX_CONCURRENT_PER_NODE", value_name = "NUMBER", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub max_concurrent_per_node: u16,
    /// Creates Checkpoint objects, but sends no checkpoint requests.
    #[arg(long, env = "SNAPWATCHER_SUSPEND", value_name = "BOOL", default_value = "false", num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub suspend: bool,
}
