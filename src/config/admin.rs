//! The admin port.

use std::net::SocketAddr;

use clap::Args;

use super::values::address;

#[derive(Debug, Clone, Args)]
pub struct AdminArgs {
    /// Address and port that serve health checks, metrics and pod timelines over plain HTTP.
    #[arg(long, env = "SNAPWATCHER_ADMIN_LISTEN", value_name = "ADDRESS", default_value = "[::]:8080", value_parser = address)]
    pub admin_listen: SocketAddr,
    /// Shows to all clients of the admin port, not to those on loopback alone, what people write into their objects: `/pods`, and why a
    /// health check fails.
    #[arg(long, env = "SNAPWATCHER_ADMIN_EXPOSE_DETAIL", value_name = "BOOL", default_value = "false", num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub admin_expose_detail: bool,
}
