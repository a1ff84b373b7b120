//! `snapwatcher certs`: certificates for development, or a rotation of the CA in the cluster.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::config::CaArgs;
use crate::config::values::certificate_name;
use snapwatcher_certificates::{DevelopmentError, FILES, RotateError, revoke, rotate, write_development_certificates};
use snapwatcher_daemon::clock;
use snapwatcher_kubernetes::cluster::{Cluster, ConnectError, WATCH_TIMEOUT};

/// How long the next CA is valid, as in a SnapWatcher that rotates by itself.
const CA_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);

#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct CertsArgs {
    #[command(subcommand)]
    pub command: Option<CertsCommand>,
    /// Folder into which `ca.crt`, `tls.crt` and `tls.key` are written.
    #[arg(long, value_name = "FOLDER", default_value = "certs")]
    pub directory: PathBuf,
    /// DNS names and IP addresses of the certificate, comma-separated.
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "localhost,127.0.0.1,::1,snapwatcher.snap.svc",
        value_parser = certificate_name
    )]
    pub names: Vec<String>,
    /// Overwrites certificates that exist.
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Clone, Subcommand)]
pub enum CertsCommand {
    /// Makes the running replicas change to a new CA. The API server trusts their certificates at every moment.
    Rotate(RotateArgs),
}

#[derive(Debug, Clone, Args)]
pub struct RotateArgs {
    #[command(flatten)]
    pub ca: CaArgs,
    /// Revokes the CA, because its key is known to others: a new CA replaces it at once. For some seconds, the API server
    /// rejects the replicas.
    #[arg(long)]
    pub revoke: bool,
}

/// Why `certs` failed.
#[derive(Debug, thiserror::Error)]
pub enum CertsError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Rotate(#[from] RotateError),
    #[error(transparent)]
    Write(#[from] DevelopmentError),
}

/// Executes `certs`, and returns the text to print.
pub async fn certs(args: CertsArgs) -> Result<String, CertsError> {
    match &args.command {
        None => write(&args),
        Some(CertsCommand::Rotate(rotation)) => start_rotation(rotation).await,
    }
}

fn write(args: &CertsArgs) -> Result<String, CertsError> {
    write_development_certificates(&args.directory, &args.names, args.force, clock::now())?;
    let [ca, certificate, key] = FILES.map(|name| args.directory.join(name).display().to_string());
    Ok(format!(
        "Wrote {ca}, {certificate} and {key} for {}. Use them with\n  --tls-cert {certificate} --tls-key {key}\nand set \
         the `caBundle` of the webhook configurations to {ca}.\n",
        args.names.join(", ")
    ))
}

async fn start_rotation(rotation: &RotateArgs) -> Result<String, CertsError> {
    let cluster = Cluster::connect(WATCH_TIMEOUT).await?;
    let (namespace, secret) = (&rotation.ca.service_namespace, &rotation.ca.ca_secret);
    if rotation.revoke {
        let generation = revoke(&cluster, namespace, secret, CA_LIFE).await?;
        return Ok(format!(
            "Wrote CA {generation} into Secret `{namespace}/{secret}`, and revoked all earlier ones. The running replicas \
             replace the `caBundle` of the webhook configurations within 10 s. If none is running, start one.\n"
        ));
    }
    let generation = rotate(&cluster, namespace, secret, CA_LIFE).await?;
    Ok(format!(
        "Wrote CA {generation} into Secret `{namespace}/{secret}` as the next CA. The replicas add it to the webhook \
         configurations and sign with it a minute later. They log each step.\n"
    ))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::FixedTimes;

    #[test]
    fn a_rotation_by_command_makes_a_ca_of_the_same_life() {
        #[derive(Parser)]
        struct Flags {
            #[command(flatten)]
            times: FixedTimes,
        }
        assert_eq!(Flags::parse_from(["snapwatcher"]).times.ca_life, CA_LIFE);
    }
}
