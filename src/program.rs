//! The program from its arguments to its exit code.
//!
//! Exit codes: 0 after a requested end, 1 after a failure or if `check` finds a failed test, 2 for an invalid flag or value, 130
//! or 143 if a second signal ended the process at once.

use std::error::Error;
use std::io::Write as _;
use std::process::ExitCode;

use crate::agent::agent;
use crate::certs::certs;
use crate::check::CheckArgs;
use crate::check::check;
use crate::cli::{self, Command, ParseError};
use crate::config::LogArgs;
use crate::run::run;
use snapwatcher_daemon::descriptors;
use snapwatcher_daemon::telemetry::{error_chain, log};

const INVALID_USAGE: u8 = 2;

/// The body of `main`, in the library so that a test program can have another allocator.
pub fn main() -> ExitCode {
    match cli::parse(std::env::args_os()) {
        Ok(Command::Run(args)) => run_service(&args.log.clone(), run(*args)),
        Ok(Command::Agent(args)) => run_service(&args.log.clone(), agent(*args)),
        Ok(Command::Check(args)) => in_runtime(run_check(&args)),
        Ok(Command::Crd) => match cli::definitions() {
            Ok(yaml) => print(yaml.as_bytes()),
            Err(error) => fail(&error_chain(&error), 1),
        },
        Ok(Command::Certs(args)) => in_runtime(async {
            match certs(args).await {
                Ok(text) => print(text.as_bytes()),
                Err(error) => fail(&error_chain(&error), 1),
            }
        }),
        Ok(Command::Completion { shell }) => print(&cli::completion(shell)),
        Ok(Command::Man { folder }) => match cli::write_man_pages(&folder) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&format!("could not write man pages into `{}`: {error}", folder.display()), 1),
        },
        Err(ParseError::Help(text)) => print(text.as_bytes()),
        Err(ParseError::Invalid(line)) => fail(&line, INVALID_USAGE),
    }
}

fn run_service<E: Error + 'static>(log: &LogArgs, service: impl Future<Output = Result<(), E>>) -> ExitCode {
    log::init(log.log_level, log.log_format);
    descriptors::raise_limit();
    in_runtime(async {
        match service.await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                tracing::error!("{}", error_chain(&error));
                ExitCode::FAILURE
            }
        }
    })
}

async fn run_check(args: &CheckArgs) -> ExitCode {
    let report = check(args).await;
    print(report.format(args.output).as_bytes());
    if report.is_fine() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn in_runtime(command: impl Future<Output = ExitCode>) -> ExitCode {
    // With two TLS providers in one process the first handshake panics, so ring is installed before any.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return fail("could not install the TLS provider ring: another one is installed", 1);
    }
    // The HTTPS port has a thread of its own. The rest needs a fraction of a core, and each thread takes memory.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("could not start the async runtime: {error}"), 1),
    };
    runtime.block_on(command)
}

/// Prints to stdout. A closed pipe (`snapwatcher crd | head`) is no error.
fn print(text: &[u8]) -> ExitCode {
    let _ = std::io::stdout().write_all(text);
    ExitCode::SUCCESS
}

fn fail(line: &str, code: u8) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "{line}");
    ExitCode::from(code)
}
