//! `bench`: what SnapWatcher's webhook costs, beside a server that answers the same requests with a fixed reply. Both run
//! as processes of their own on the same TLS stack, in turns within one run: on a noisy machine only ratios mean anything.

mod fixed;
mod load;
mod measured;
mod page;
mod server;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use lab::terminal::{error_chain, print_progress, print_result};

/// As the program has it: both are compared with the same allocator.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[derive(Debug, Parser)]
#[command(arg_required_else_help = true)]
struct Bench {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure both servers and write the page of benchmarks.
    Run(RunArgs),
    /// Serve the fixed reply; started by `run`.
    FixedReply(FixedArgs),
}

#[derive(Debug, Args)]
struct RunArgs {
    /// The built program.
    #[arg(long, value_name = "PATH", default_value = "target/release/snapwatcher")]
    snapwatcher: PathBuf,
    /// The page that is written.
    #[arg(long, value_name = "FILE", default_value = "docs/benchmarks.md")]
    page: PathBuf,
}

#[derive(Debug, Args)]
struct FixedArgs {
    #[arg(long, value_name = "FILE")]
    tls_cert: PathBuf,
    #[arg(long, value_name = "FILE")]
    tls_key: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    lab::install_crypto_provider();
    let outcome = match Bench::parse().command {
        Command::FixedReply(args) => fixed::serve(&args.tls_cert, &args.tls_key).await.map(|()| ExitCode::SUCCESS),
        Command::Run(args) => run(args).await,
    };
    outcome.unwrap_or_else(|error| {
        print_progress(&format!("error: {}", error_chain(error.as_ref())));
        ExitCode::FAILURE
    })
}

/// Fails where a budget is missed.
async fn run(args: RunArgs) -> Result<ExitCode, Box<dyn Error>> {
    let results = measured::measure(&args.snapwatcher).await?;
    let before = std::fs::read_to_string(&args.page)?;
    std::fs::write(&args.page, page::write(&results, &before))?;
    print_result(&page::table(&results));
    let missed: Vec<String> =
        results.budgets().into_iter().filter(|budget| !budget.is_met).map(|budget| budget.told).collect();
    for budget in &missed {
        print_progress(&format!("missed: {budget}"));
    }
    Ok(if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
