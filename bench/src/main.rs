//! `bench`: measures SnapWatcher's webhook and controller beside others, and checks their budgets.
//!
//! The webhook is measured beside two others. One sends a fixed reply, the least that a webhook can do. The other does the
//! same job by Go's controller-runtime (`bench/peers/webhook`). All three are processes of their own, and one client calls
//! them in rounds within one run: on a noisy machine only ratios mean anything. The controller is measured beside a watcher
//! of controller-runtime (`bench/peers/watcher`), one after the other. Nothing of the product depends on this crate.

mod budgets;
mod controller;
mod fixed_reply;
mod load;
mod measurement;
mod process_usage;
mod report;
mod results;
mod servers;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use budgets::Verdict;
use clap::{Args, Parser, Subcommand, ValueEnum};
use controller::{ControllerArgs, ControllerResults};
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
    /// Measure webhook and controller and write the page of benchmarks; fails if a budget fails.
    Run(Box<RunArgs>),
    /// Serve the fixed reply; `run` starts this.
    FixedReply(FixedReplyArgs),
}

#[derive(Debug, Args)]
struct RunArgs {
    /// What to measure. The page keeps the results of the other part.
    #[arg(long, value_name = "PARTS", value_delimiter = ',', default_value = "admission,controller")]
    part: Vec<Part>,
    /// The release build of SnapWatcher.
    #[arg(long, value_name = "PATH", default_value = "target/release/snapwatcher")]
    snapwatcher: PathBuf,
    /// The build of bench/peers/webhook.
    #[arg(long, value_name = "PATH", default_value = "target/release/controller-runtime-webhook")]
    controller_runtime: PathBuf,
    /// The page to write.
    #[arg(long, value_name = "FILE", default_value = "docs/benchmarks.md")]
    page: PathBuf,
    #[command(flatten)]
    controller: ControllerArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Admission,
    Controller,
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
        Command::Run(args) => run(&args).await,
    };
    outcome.unwrap_or_else(|error| {
        print_progress(&format!("error: {}", error_chain(error.as_ref())));
        ExitCode::FAILURE
    })
}

async fn run(args: &RunArgs) -> Result<ExitCode, Box<dyn Error>> {
    let mut budgets = Vec::new();
    if args.part.contains(&Part::Admission) {
        let results = measurement::measure(&args.snapwatcher, &args.controller_runtime).await?;
        write_page(&args.page, |before| report::with_admission(before, &results))?;
        print_result(&report::table(&results));
        budgets.extend(results.budgets());
    }
    if args.part.contains(&Part::Controller) {
        let mut results = ControllerResults::default();
        let outcome = controller::measure(&args.snapwatcher, &args.controller, &mut results).await;
        // After an error, the numbers measured so far are printed, but they are not written into the page.
        print_result(&controller::report::table(&results));
        outcome?;
        let part = controller::report::part(&results);
        write_page(&args.page, |before| report::with_controller(before, &part))?;
        budgets.extend(results.budgets());
    }
    print_result(&report::budget_list(&budgets));
    let has_failed = budgets.iter().any(|budget| budget.verdict == Verdict::Failed);
    Ok(if has_failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Replaces a part of the page. A page that does not exist is empty.
fn write_page(page: &Path, change: impl Fn(&str) -> String) -> Result<(), Box<dyn Error>> {
    let before = match std::fs::read_to_string(page) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        read => read?,
    };
    Ok(std::fs::write(page, change(&before))?)
}
