//! The command line: `run` (the default), `agent`, `check`, `crd`, `certs`, `completion` and `man`.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use kube::CustomResourceExt as _;

use crate::certs::CertsArgs;
use crate::check::CheckArgs;
use crate::config::{AgentArgs, RunArgs};
use snapwatcher_api::checkpoint::Checkpoint;
use snapwatcher_api::snapshot::Snapshot;
use snapwatcher_backends::redact::redact;

/// The name of the program, in help, completion scripts and man pages.
const NAME: &str = "snapwatcher";

/// Takes checkpoints of labeled pods: an admission webhook and a controller in one process.
#[derive(Debug, Parser)]
#[command(name = NAME, version, about)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serves admission, watches pods and takes checkpoints through a back-end. This is the default command.
    Run(Box<RunArgs>),
    /// Saves the archives of one node: checks, compresses, encrypts and pushes them to a registry, and removes them from the node. Runs
    /// on each node, as root.
    Agent(Box<AgentArgs>),
    /// Tests everything that `run` needs with the same flags: rights, the resource, the webhook and the back-end. Each finding
    /// says what to do. The exit code is 1 if a test failed.
    Check(Box<CheckArgs>),
    /// Prints the CustomResourceDefinitions of Checkpoint and Snapshot as YAML, for `kubectl apply --server-side -f -`.
    Crd,
    /// Writes certificates for development, or rotates the CA of a running SnapWatcher.
    Certs(CertsArgs),
    /// Prints a completion script for a shell. For bash: `source <(snapwatcher completion bash)`.
    Completion {
        /// Shell that runs the script.
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
    /// Writes man pages, one for the program and one for each command, into a folder.
    #[command(hide = true)]
    Man {
        /// Folder for the pages. It is created if it does not exist.
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
    },
}

/// Why no command is executed.
#[derive(Debug, PartialEq, Eq)]
pub enum ParseError {
    /// The text of help or version, for stdout.
    Help(String),
    /// One line that names the flag, the value and what is allowed, for stderr.
    Invalid(String),
}

/// Parses the command line. Flags without a command belong to `run`.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, ParseError> {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    let is_flag = |text: &str| text.starts_with('-') && !["-h", "--help", "-V", "--version"].contains(&text);
    if arguments.get(1).is_none_or(|first| first.to_str().is_some_and(is_flag)) {
        arguments.insert(1.min(arguments.len()), "run".into());
    }
    match Cli::try_parse_from(arguments) {
        Ok(cli) => Ok(cli.command),
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            Err(ParseError::Help(error.render().to_string()))
        }
        Err(error) => Err(ParseError::Invalid(one_line(&error))),
    }
}

/// The CustomResourceDefinitions of Checkpoint and Snapshot, as two YAML documents.
pub fn definitions() -> Result<String, serde_yaml_ng::Error> {
    let (checkpoint, snapshot) = (&Checkpoint::crd(), &Snapshot::crd());
    Ok(format!("{}---\n{}", serde_yaml_ng::to_string(checkpoint)?, serde_yaml_ng::to_string(snapshot)?))
}

/// All commands with their flags, for generated pages.
pub fn commands() -> clap::Command {
    Cli::command()
}

/// The completion script for a shell, without hidden commands and flags.
pub fn completion(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut visible(&commands()).version(env!("CARGO_PKG_VERSION")), NAME, &mut script);
    script
}

/// A copy without hidden commands and flags, which clap_complete does not leave out.
fn visible(command: &clap::Command) -> clap::Command {
    clap::Command::new(command.get_name().to_owned())
        .about(command.get_about().cloned().unwrap_or_default())
        .args(command.get_arguments().filter(|flag| !flag.is_hide_set()).cloned())
        .subcommands(command.get_subcommands().filter(|command| !command.is_hide_set()).map(visible))
}

/// Writes `snapwatcher.1`, and `snapwatcher-COMMAND.1` for each command.
pub fn write_man_pages(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    clap_mangen::generate_to(commands(), folder)
}

/// Joins clap's error into one line for the log, without the usage. The value is redacted: it may contain a password.
fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let is_about_the_error = |line: &&str| !line.starts_with("Usage:") && !line.starts_with("For more information");
    let words: Vec<&str> = text.lines().filter(is_about_the_error).flat_map(str::split_whitespace).collect();
    let line = words.join(" ");
    let value = match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) => value.split_whitespace().collect::<Vec<_>>().join(" "),
        _ => String::new(),
    };
    if value.is_empty() || !line.contains(&value) {
        return redact(&line).to_string();
    }
    // Only the value: the names of some flags look like secrets to the redaction.
    line.replace(&value, &redact(&value).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Command, ParseError> {
        parse(["snapwatcher"].iter().chain(arguments).map(Into::into))
    }

    fn invalid(arguments: &[&str]) -> String {
        match parsed(arguments) {
            Err(ParseError::Invalid(line)) => line,
            other => panic!("{arguments:?} is refused, not {other:?}"),
        }
    }

    #[test]
    fn the_definition_of_flags_is_sound() {
        commands().debug_assert();
    }

    #[test]
    fn run_is_the_default_command() {
        for arguments in [&[][..], &["run"], &["--backend", "log"], &["run", "--backend=log"]] {
            assert!(matches!(parsed(arguments), Ok(Command::Run(_))), "{arguments:?}");
        }
        assert!(matches!(parsed(&["crd"]), Ok(Command::Crd)));
        assert!(matches!(parsed(&["agent", "--node-name=n1"]), Ok(Command::Agent(_))));
        assert!(matches!(parsed(&["check", "--backend=log", "-o", "json"]), Ok(Command::Check(_))));
        assert!(matches!(parsed(&["--help"]), Err(ParseError::Help(_))));
    }

    #[test]
    fn an_invalid_value_is_reported_in_one_line_with_flag_value_and_what_is_allowed() {
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
            (&["--snapshot-encryption", "gpg"], &["--snapshot-encryption", "gpg", "age", "none"]),
            (&["agent", "--node-name", "N 1"], &["--node-name", "N 1", "lower-case"]),
            (&["agent", "--node-name=n1", "--free-disk-percent", "100"], &["--free-disk-percent", "100", "0..=99"]),
            (&["agent", "--node-name=n1", "--store-bytes", "much"], &["--store-bytes", "much", "`20Gi`"]),
            (&["--registry-repository", "snapshots"], &["--registry-repository", "HOST[:PORT]/PATH"]),
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
            (&["completion", "tcsh"], &["tcsh", "bash", "zsh", "fish", "elvish", "powershell"]),
            (&["completion"], &["<SHELL>"]),
        ] {
            let line = invalid(arguments);
            assert!(!line.contains('\n'), "{line}");
            for word in words {
                assert!(line.contains(word), "{word} in: {line}");
            }
        }
    }

    #[test]
    fn a_password_in_an_invalid_value_is_not_repeated() {
        let line = invalid(&["--snap-back-api-url", "ftp://me:hunter2@snap"]);
        assert!(!line.contains("hunter2"), "{line}");
    }

    #[test]
    fn both_definitions_are_printed_as_yaml() {
        let yaml = definitions().unwrap();
        let names: Vec<String> = serde_yaml_ng::Deserializer::from_str(&yaml)
            .map(|document| {
                let definition = <serde_json::Value as serde::Deserialize>::deserialize(document).unwrap();
                definition["metadata"]["name"].as_str().unwrap().to_owned()
            })
            .collect();
        assert_eq!(names, ["checkpoints.snap.weaversoft.io", "snapshots.snap.weaversoft.io"]);
    }
}
