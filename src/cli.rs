//! The command line: `run` (also without a word), `check`, `crd`, `certs`.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory as _, Parser, Subcommand};
use kube::CustomResourceExt as _;

use crate::config::{CertsArgs, CertsCommand, RunArgs};
use crate::preflight::CheckArgs;
use snapwatcher_api::checkpoint::Checkpoint;
use snapwatcher_backends::redact::redact;
use snapwatcher_certificates::{DevelopmentError, FILES, RotateError, rotate, write_development_certificates};
use snapwatcher_daemon::clock;
use snapwatcher_kubernetes::cluster::{Cluster, ConnectError, WATCH_TIMEOUT};

/// Turns a pod label into a checkpoint: admission webhook and watcher in one process.
#[derive(Debug, Parser)]
#[command(name = "snapwatcher", version, about)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serves admission, watches pods and has them checkpointed; what is done when no command is named.
    Run(Box<RunArgs>),
    /// Looks whether all that `run` needs with the same flags is there (rights, resource, webhook, back-end) and tells what
    /// to do; the exit code is 1 where something must be done.
    Check(Box<CheckArgs>),
    /// Prints the definition of the Checkpoint resource as YAML, for `kubectl apply --server-side -f -`.
    Crd,
    /// StatusWriter certificates for development, or rotates the CA of a running SnapWatcher.
    Certs(CertsArgs),
}

/// What to do instead of a command: text to print, and whether it is an error.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    /// Help or version, for stdout.
    Told(String),
    /// One line that names the flag, the value and what is allowed, for stderr.
    Wrong(String),
}

/// Reads the command line; flags without a command belong to `run`.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, Refused> {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    let is_flag = |text: &str| text.starts_with('-') && !["-h", "--help", "-V", "--version"].contains(&text);
    if arguments.get(1).is_none_or(|first| first.to_str().is_some_and(is_flag)) {
        arguments.insert(1.min(arguments.len()), "run".into());
    }
    match Cli::try_parse_from(arguments) {
        Ok(cli) => Ok(cli.command),
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            Err(Refused::Told(error.render().to_string()))
        }
        Err(error) => Err(Refused::Wrong(one_line(&error))),
    }
}

/// The definition of the resource, as YAML.
pub fn definition() -> Result<String, serde_yaml_ng::Error> {
    serde_yaml_ng::to_string(&Checkpoint::crd())
}

/// Why a command other than `run` came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Rotate(#[from] RotateError),
    #[error(transparent)]
    Write(#[from] DevelopmentError),
}

/// Carries out `certs`; returns what to tell.
pub async fn certs(args: CertsArgs) -> Result<String, CommandError> {
    let Some(CertsCommand::Rotate(ca)) = args.command else {
        write_development_certificates(&args.directory, &args.names, args.force, clock::now())?;
        let file = |name: &str| args.directory.join(name).display().to_string();
        let [ca, certificate, key] = FILES.map(file);
        return Ok(format!(
            "Wrote {ca}, {certificate} and {key} for {}.\nStart SnapWatcher with\n  --tls-cert {certificate} --tls-key {key}\nand write {ca} into the caBundle of the webhook configurations.\n",
            args.names.join(", ")
        ));
    };
    let cluster = Cluster::connect(WATCH_TIMEOUT).await?;
    let generation = rotate(&cluster, &ca.service_namespace, &ca.ca_secret, ca.ca_life).await?;
    Ok(format!(
        "CA {generation} is to follow in Secret `{}/{}`: the replicas put it into the webhook configurations, sign by it \
         a minute later, and drop the one before when no certificate of it is served any more; their logs tell each step\n",
        ca.service_namespace, ca.ca_secret
    ))
}

/// All flags, for the page that documents them.
pub fn flags() -> clap::Command {
    Cli::command()
}

/// clap spreads an error over several lines and adds the usage; a log wants one. A value may hold a password.
fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let of_interest = |line: &&str| !line.starts_with("Usage:") && !line.starts_with("For more information");
    let words: Vec<&str> = text.lines().filter(of_interest).flat_map(str::split_whitespace).collect();
    let line = words.join(" ");
    let value = match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) => value.split_whitespace().collect::<Vec<_>>().join(" "),
        _ => String::new(),
    };
    if value.is_empty() || !line.contains(&value) {
        return redact(&line).to_string();
    }
    // What stands around the value is ours, and some flags are called after secrets.
    line.replace(&value, &redact(&value).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Command, Refused> {
        parse(["snapwatcher"].iter().chain(arguments).map(Into::into))
    }

    fn wrong(arguments: &[&str]) -> String {
        match parsed(arguments) {
            Err(Refused::Wrong(line)) => line,
            other => panic!("{arguments:?} is refused, not {other:?}"),
        }
    }

    #[test]
    fn the_definition_of_flags_is_sound() {
        flags().debug_assert();
    }

    #[test]
    fn run_is_what_is_done_without_a_command() {
        for arguments in [&[][..], &["run"], &["--backend", "log"], &["run", "--backend=log"]] {
            assert!(matches!(parsed(arguments), Ok(Command::Run(_))), "{arguments:?}");
        }
        assert!(matches!(parsed(&["crd"]), Ok(Command::Crd)));
        assert!(matches!(parsed(&["check", "--backend=log", "-o", "json"]), Ok(Command::Check(_))));
        assert!(matches!(parsed(&["--help"]), Err(Refused::Told(_))));
    }

    #[test]
    fn a_wrong_value_is_told_in_one_line_with_flag_value_and_what_is_allowed() {
        for (arguments, words) in [
            (&["--log-level", "LOUD"][..], &["--log-level", "LOUD", "WARNING"][..]),
            (&["--backend", "tape"], &["--backend", "tape", "snaphook", "kubelet", "log"]),
            (
                &["--snap-back-api-contract", "x"],
                &["--snap-back-api-contract", "kubelet-checkpoint", "snapapi-pod-spec"],
            ),
            (&["--snap-back-api-contract", "snapapi-kubelet"], &["--cluster-name"]),
            (&["--snap-back-api-contract", "snapapi-kubelet", "--cluster-name", ""], &["--cluster-name"]),
            (&["--snap-back-api-url", "ftp://snap"], &["--snap-back-api-url", "ftp", "https"]),
            (&["--request-timeout", "0"], &["--request-timeout", "more than 0s"]),
            (&["--kubelet-timeout", "0"], &["--kubelet-timeout", "more than 0s"]),
            (&["--kubelet-service-account", "My_Account"], &["--kubelet-service-account", "My_Account", "lower-case"]),
            (&["--kubelet-insecure-skip-verify", "maybe"], &["--kubelet-insecure-skip-verify", "maybe", "true"]),
            (&["--request-timeout", "soon"], &["--request-timeout", "soon", "30s"]),
            (&["--history-ttl", "7d"], &["--history-ttl", "7d", "`168h`"]),
            (&["--webhook-listen", "8443"], &["--webhook-listen", "8443", "`[::]:8443`"]),
            (&["--admin-listen", "localhost:80"], &["--admin-listen", "localhost:80", "`[::]:8443`"]),
            (&["--kube-api-address", "foo"], &["--kube-api-address", "foo", "`https://kubernetes.default.svc`"]),
            (&["--kube-api-address", "kubernetes:443"], &["--kube-api-address", "`https://kubernetes.default.svc`"]),
            (
                &["--snap-back-api-url", "snaphook:80"],
                &["--snap-back-api-url", "snaphook", "`http://snap-back-api:80`"],
            ),
            (&["--namespaces", "Default"], &["--namespaces", "Default", "lower-case"]),
            (&["--tls-cert", "a.pem"], &["--tls-key"]),
            (&["--ca-secret", "Bad_Name"], &["'--ca-secret <NAME>': allowed", "Bad_Name", "lower-case"]),
            (&["certs", "--names", "a, b c"], &["--names", "b c", "DNS names"]),
            (&["certs", "--names", ""], &["--names", "DNS names"]),
            (&["certs", "--names", "a..b"], &["--names", "a..b"]),
            (&["check", "-o", "yaml"], &["--output", "yaml", "text", "json"]),
            (&["check", "--dry-run-pod", "Shop"], &["--dry-run-pod", "Shop", "lower-case"]),
            (&["check", "--backend", "tape"], &["--backend", "tape", "snaphook"]),
            (&["--unknown"], &["--unknown"]),
            (&["fly"], &["fly"]),
        ] {
            let line = wrong(arguments);
            assert!(!line.contains('\n'), "{line}");
            for word in words {
                assert!(line.contains(word), "{word} in: {line}");
            }
        }
    }

    #[test]
    fn a_password_in_a_wrong_value_is_not_repeated() {
        let line = wrong(&["--snap-back-api-url", "ftp://me:hunter2@snap"]);
        assert!(!line.contains("hunter2"), "{line}");
    }

    #[test]
    fn the_definition_is_printed_as_yaml() {
        let yaml = definition().unwrap();
        let back: serde_json::Value = serde_yaml_ng::from_str(&yaml).unwrap();
        assert_eq!(back["metadata"]["name"], "checkpoints.snap.weaversoft.io");
    }
}
