//! `bench`: measures SnapWatcher's webhook beside two others, and checks the budgets of admission.
//!
//! One of the others sends a fixed reply, the least that a webhook can do. The other does the same job by Go's
//! controller-runtime (`bench/peers/webhook`). All three are processes of their own, and one client calls them in rounds
//! within one run: on a noisy machine only ratios mean anything. Nothing of the product depends on this crate.

mod fixed_reply;
mod load;
mod measurement;
mod process_usage;
mod report;
mod results;
mod servers;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use lab::terminal::{error_chain, print_progress, print_result};

/// The allocator of the program, so that it makes no difference between SnapWatcher and the fixed reply.
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
    /// Measure the three servers and write the page of benchmarks; fails if a budget is missed.
    Run(RunArgs),
    /// Serve the fixed reply; `run` starts this.
    FixedReply(FixedReplyArgs),
}

#[derive(Debug, Args)]
struct RunArgs {
    /// The release build of SnapWatcher.
    #[arg(long, value_name = "PATH", default_value = "target/release/snapwatcher")]
    snapwatcher: PathBuf,
    /// The build of bench/peers/webhook.
    #[arg(long, value_name = "PATH", default_value = "target/release/controller-runtime-webhook")]
    controller_runtime: PathBuf,
    /// The page to write.
    #[arg(long, value_name = "FILE", default_value = "docs/benchmarks.md")]
    page: PathBuf,
}

#[derive(Debug, Args)]
struct FixedReplyArgs {
    /// PEM file of the serving certificate.
    #[arg(long, value_name = "FILE")]
    tls_cert: PathBuf,
    /// PEM file of its key.
    #[arg(long, value_name = "FILE")]
    tls_key: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    lab::install_crypto_provider();
    let outcome = match Bench::parse().command {
        Command::FixedReply(args) => {
            fixed_reply::serve(&args.tls_cert, &args.tls_key).await.map(|()| ExitCode::SUCCESS)
        }
        Command::Run(args) => run(args).await,
    };
    outcome.unwrap_or_else(|error| {
        print_progress(&format!("error: {}", error_chain(error.as_ref())));
        ExitCode::FAILURE
    })
}

async fn run(args: RunArgs) -> Result<ExitCode, Box<dyn Error>> {
    let results = measurement::measure(&args.snapwatcher, &args.controller_runtime).await?;
    let before = std::fs::read_to_string(&args.page)?;
    std::fs::write(&args.page, report::page(&results, &before))?;
    print_result(&report::table(&results));
    print_result(&report::budgets(&results));
    let all_met = results.budgets().iter().all(|budget| budget.is_met);
    Ok(if all_met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
