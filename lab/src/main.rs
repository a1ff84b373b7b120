//! `lab`: a real Kubernetes on one machine, as a command-line program.

mod commands;

use std::process::ExitCode;

use clap::Parser;
use lab::terminal::{error_chain, print_progress};
use tokio::signal::unix::{SignalKind, signal};

/// A shell's exit code for a program that SIGINT ended.
const INTERRUPTED: u8 = 130;

#[tokio::main]
async fn main() -> ExitCode {
    lab::install_crypto_provider();
    let command = commands::Lab::parse();
    // The other branch is dropped, and with it all processes and folders of its command.
    tokio::select! {
        outcome = command.run() => match outcome {
            Ok(code) => code,
            Err(error) => {
                print_progress(&format!("error: {}", error_chain(error.as_ref())));
                ExitCode::FAILURE
            }
        },
        () = stop_signal() => ExitCode::from(INTERRUPTED),
    }
}

/// Waits for Ctrl-C, `lab down` or the end of the terminal.
async fn stop_signal() {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let mut signals: Vec<_> = kinds.into_iter().filter_map(|kind| signal(kind).ok()).collect();
    let waiting = signals.iter_mut().map(|signal| Box::pin(signal.recv()));
    drop(futures::future::select_all(waiting).await);
}
