//! The webhook: where it listens, what it does about invalid pods, and how it drains.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;

use snapwatcher_admission::ValidationMode;
use snapwatcher_https::Limits;

use super::fixed_times::FixedTimes;
use super::values::{address, delay};

#[derive(Debug, Clone, Args)]
pub struct AdmissionArgs {
    /// Serves the webhook. `false`: opens no HTTPS port, and needs no certificate, no CA Secret and no right to write a webhook
    /// configuration. Labeled pods are still checkpointed.
    #[arg(long, env = "SNAPWATCHER_WEBHOOK", value_name = "BOOL", default_value = "true", num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub webhook: bool,
    /// Address and port on which the API server calls the webhook over HTTPS.
    #[arg(long, env = "SNAPWATCHER_WEBHOOK_LISTEN", value_name = "ADDRESS", default_value = "[::]:8443", value_parser = address)]
    pub webhook_listen: SocketAddr,
    /// What `/validate` does with a pod that cannot be checkpointed: `warn` sends a warning to its author, `deny` rejects the
    /// pod, `off` does nothing.
    #[arg(long, env = "SNAPWATCHER_VALIDATION", value_name = "MODE", default_value = "warn")]
    pub validation: ValidationMode,
    /// How long the webhook answers new reviews after SIGTERM. In this time, all API servers stop calling this process. 0s:
    /// not at all.
    #[arg(long, env = "SNAPWATCHER_DRAIN_DELAY", value_name = "DURATION", default_value = "10s", value_parser = delay)]
    pub drain_delay: Duration,
}

impl AdmissionArgs {
    /// The limits of the HTTPS port.
    pub fn limits(&self, times: &FixedTimes) -> Limits {
        Limits { idle: times.idle_timeout, request: times.body_timeout, drain: self.drain_delay, ..Limits::default() }
    }
}
