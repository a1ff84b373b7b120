//! `snapwatcher check`: the settings of `run`, which it judges, and how it tells.

use clap::Args;

use super::report::Format;
use crate::config::RunArgs;
use crate::config::values::object_name;

/// Everything `snapwatcher check` can be told.
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pub run: RunArgs,
    /// How the findings are written.
    #[arg(long, short, value_name = "FORMAT", default_value = "text", help_heading = "Check")]
    pub output: Format,
    /// Also creates a labelled pod in this namespace as a dry run, and looks whether it comes back labelled by the webhook.
    /// It takes the right to create pods there, which `run` does not need.
    #[arg(long, value_name = "NAMESPACE", value_parser = object_name, help_heading = "Check")]
    pub dry_run_pod: Option<String>,
    /// The kubelet sets it in each pod.
    #[arg(long, env = "KUBERNETES_SERVICE_HOST", value_name = "ADDRESS", hide = true)]
    service_host: Option<String>,
}

impl CheckArgs {
    /// Whether this is a pod, so that names of Services can be looked up.
    #[must_use]
    pub fn is_in_cluster(&self) -> bool {
        self.service_host.as_ref().is_some_and(|host| !host.is_empty())
    }
}
