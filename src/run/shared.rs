//! What several parts share while they are created.

use prometheus_client::registry::Registry;

use crate::config::FixedTimes;
use snapwatcher_daemon::admin::Health;
use snapwatcher_kubernetes::cluster::Cluster;
use snapwatcher_state::PodTimelines;

pub(super) struct Shared {
    pub(super) cluster: Cluster,
    pub(super) timelines: PodTimelines,
    pub(super) registry: Registry,
    pub(super) health: Health,
    pub(super) times: FixedTimes,
}
