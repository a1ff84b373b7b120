//! The program: crypto provider, arguments, log, and one of the commands. Exit codes: 0 after a requested end, 1 after a
//! failure or where `check` finds something to do, 2 for a wrong flag or value, 130 or 143 where a second signal cut the
//! end short.

use std::io::Write as _;
use std::process::ExitCode;

use crate::cli::{self, Command, Refused};
use crate::config::RunArgs;
use crate::preflight::CheckArgs;
use crate::preflight::check;
use crate::run::run;
use snapwatcher_daemon::descriptors;
use snapwatcher_daemon::telemetry::{error_chain, log};

const WRONG_USAGE: u8 = 2;

/// What `main` does; apart from it so that a test can have the program with another allocator.
pub fn main() -> ExitCode {
    match cli::parse(std::env::args_os()) {
        Ok(Command::Run(args)) => run_service(*args),
        Ok(Command::Check(args)) => in_runtime(run_check(&args)),
        Ok(Command::Crd) => match cli::definition() {
            Ok(yaml) => print(&yaml),
            Err(error) => fail(&error_chain(&error), 1),
        },
        Ok(Command::Certs(args)) => in_runtime(async {
            match cli::certs(args).await {
                Ok(text) => print(&text),
                Err(error) => fail(&error_chain(&error), 1),
            }
        }),
        Err(Refused::Told(text)) => print(&text),
        Err(Refused::Wrong(line)) => fail(&line, WRONG_USAGE),
    }
}

fn run_service(args: RunArgs) -> ExitCode {
    log::init(args.log.log_level, args.log.log_format);
    descriptors::raise_limit();
    in_runtime(async {
        match run(args).await {
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
    print(&report.written(args.output));
    if report.is_fine() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn in_runtime(command: impl Future<Output = ExitCode>) -> ExitCode {
    // Two providers in one process panic at the first handshake, so the choice is made before anything can.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return fail("another TLS provider was installed before ring", 1);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("could not start the runtime: {error}"), 1),
    };
    runtime.block_on(command)
}

/// A closed pipe (`snapwatcher crd | head`) is the reader's choice.
fn print(text: &str) -> ExitCode {
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn fail(line: &str, code: u8) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "{line}");
    ExitCode::from(code)
}
