//! The admin port.

use std::net::SocketAddr;

use clap::Args;

use super::values::address;

#[derive(Debug, Clone, Args)]
pub struct AdminArgs {
    /// Address and port that serve health checks, metrics and pod timelines over plain HTTP.
    #[arg(long, env = "SNAPWATCHER_ADMIN_LISTEN", value_name = "ADDRESS", default_value = "[::]:8080", value_parser = address)]
    pub admin_listen: SocketAddr,
}
