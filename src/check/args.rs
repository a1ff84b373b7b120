//! The flags of `snapwatcher check`: those of `run`, which it tests, and the form of its report.

use clap::Args;

use super::report::Format;
use crate::config::RunArgs;
use crate::config::values::object_name;

/// All flags of `snapwatcher check`.
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pub run: RunArgs,
    /// Format of the report.
    #[arg(long, short, value_name = "FORMAT", default_value = "text", help_heading = "Check")]
    pub output: Format,
    /// Namespace in which a labeled pod is created as a dry run, to test that the API server calls the webhook. This needs the
    /// right to create pods there. `run` does not need that right.
    #[arg(long, value_name = "NAMESPACE", value_parser = object_name, help_heading = "Check")]
    pub dry_run_pod: Option<String>,
    /// Set by the kubelet in each pod.
    #[arg(long, env = "KUBERNETES_SERVICE_HOST", value_name = "ADDRESS", hide = true)]
    service_host: Option<String>,
}

impl CheckArgs {
    /// Whether this process runs in a pod, where names of Services can be resolved.
    #[must_use]
    pub fn is_in_cluster(&self) -> bool {
        self.service_host.as_ref().is_some_and(|host| !host.is_empty())
    }
}
