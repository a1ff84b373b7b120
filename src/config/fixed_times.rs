//! Times of the product that no operator sets: the lives of the certificates, the wait before a new CA signs, the Lease, the grace
//! for another holder, the longest wait before an attempt, the rounds of retention and the timeouts of connections.
//!
//! Their flags are hidden from help and documentation. Only tests set them.

use std::time::Duration;

use clap::Args;

use snapwatcher_api::duration;

use super::values::{life, timeout};

/// The defaults are the values of the product. Tests set shorter ones, so that they do not wait for minutes, days or a year.
#[derive(Debug, Clone, Args)]
pub struct FixedTimes {
    /// How long a connection to the webhook may be idle.
    #[arg(long, env = "SNAPWATCHER_IDLE_TIMEOUT", value_name = "DURATION", default_value = "120s", value_parser = timeout, hide = true)]
    pub idle_timeout: Duration,
    /// How long the body of a request to the webhook may take.
    #[arg(long, env = "SNAPWATCHER_BODY_TIMEOUT", value_name = "DURATION", default_value = "30s", value_parser = timeout, hide = true)]
    pub body_timeout: Duration,
    /// How long a CA is valid.
    #[arg(long, env = "SNAPWATCHER_CA_LIFE", value_name = "DURATION", default_value = "8760h", value_parser = life, hide = true)]
    pub ca_life: Duration,
    /// How long a serving certificate is valid.
    #[arg(long, env = "SNAPWATCHER_SERVING_CERTIFICATE_LIFE", value_name = "DURATION", default_value = "168h", value_parser = life, hide = true)]
    pub serving_certificate_life: Duration,
    /// How long a new CA is in the `caBundle` before it signs serving certificates.
    #[arg(long, env = "SNAPWATCHER_PUBLISH_WAIT", value_name = "DURATION", default_value = "60s", value_parser = timeout, hide = true)]
    pub publish_wait: Duration,
    /// How often certificates and `caBundle` are checked without a change.
    #[arg(long, env = "SNAPWATCHER_LEVEL_CHECK", value_name = "DURATION", default_value = "60s", value_parser = timeout, hide = true)]
    pub level_check: Duration,
    /// How long the API server keeps a watch open. A connection that is silent for 3 s longer is treated as lost.
    #[arg(long, env = "SNAPWATCHER_WATCH_TIMEOUT", value_name = "DURATION", default_value = "60s", value_parser = timeout, hide = true)]
    pub watch_timeout: Duration,
    /// How often expired Checkpoints are removed.
    #[arg(long, env = "SNAPWATCHER_HISTORY_EVERY", value_name = "DURATION", default_value = "10m", value_parser = timeout, hide = true)]
    pub history_every: Duration,
    /// How often Snapshots that are not needed are removed.
    #[arg(long, env = "SNAPWATCHER_SNAPSHOTS_EVERY", value_name = "DURATION", default_value = "1h", value_parser = timeout, hide = true)]
    pub snapshots_every: Duration,
    /// How often manifests of deleted Snapshots are looked for in the registry.
    #[arg(long, env = "SNAPWATCHER_ORPHANS_EVERY", value_name = "DURATION", default_value = "24h", value_parser = duration::parse, hide = true)]
    pub orphans_every: Duration,
    /// How old such a manifest is at least before it is removed.
    #[arg(long, env = "SNAPWATCHER_ORPHAN_AGE", value_name = "DURATION", default_value = "24h", value_parser = duration::parse, hide = true)]
    pub orphan_age: Duration,
    /// The longest wait before a Checkpoint is attempted again.
    #[arg(long, env = "SNAPWATCHER_LONGEST_WAIT", value_name = "DURATION", default_value = "5m", value_parser = timeout, hide = true)]
    pub longest_wait: Duration,
    /// How long after its deadline another replica's attempt is left unchanged.
    #[arg(long, env = "SNAPWATCHER_HOLDER_GRACE", value_name = "DURATION", default_value = "30s", value_parser = timeout, hide = true)]
    pub holder_grace: Duration,
    /// How long a Lease is valid without a renewal, in whole seconds. The other times of the election follow from it.
    #[arg(long, env = "SNAPWATCHER_LEASE_DURATION", value_name = "DURATION", default_value = "15s", value_parser = timeout, hide = true)]
    pub lease_duration: Duration,
}
