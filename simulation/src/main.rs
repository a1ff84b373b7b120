//! `simulation`: runs many histories of the engine, and shows the first that breaks a rule as a short list.

mod run;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser;
use simulation::{Ending, History};

/// Runs histories of the engine on a simulated API server, with everything going wrong that can.
#[derive(Parser)]
struct Arguments {
    /// How many histories
    #[arg(long, default_value_t = 1)]
    histories: u64,
    /// The seed of the first history; the others count up from it. Without it, one is drawn
    #[arg(long)]
    seed: Option<u64>,
    /// How many threads; by default one for each core
    #[arg(long)]
    threads: Option<usize>,
    /// Print the whole list of the history of that seed
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Go on after a failure, and count the rules that break
    #[arg(long)]
    all: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> io::Result<ExitCode> {
    let mut out = io::stdout().lock();
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..u64::MAX >> 1));
    if arguments.trace {
        let ending = History::new(seed).run(true);
        show(&mut out, &ending)?;
        return Ok(if ending.violation.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS });
    }
    writeln!(out, "{} histories from seed {seed}", arguments.histories)?;
    let threads = arguments.threads.or_else(|| std::thread::available_parallelism().ok().map(Into::into)).unwrap_or(1);
    let summary = run::run(seed, arguments.histories, threads, arguments.all);
    for line in summary.coverage.lines() {
        writeln!(out, "{line}")?;
    }
    let coverage = &summary.coverage;
    writeln!(out, "{} histories, {} steps, {:.1} s", coverage.histories, coverage.steps, summary.time.as_secs_f64())?;
    for (rule, count, seed) in &summary.broken {
        writeln!(out, "BROKEN {count} times: {rule}, for example --seed {seed}")?;
    }
    if let Some(seed) = summary.failed {
        writeln!(out, "seed {seed} breaks a rule; the shortest list found:")?;
        let shortest = History::new(seed).shrink();
        writeln!(out, "{} of {} steps", shortest.len(), History::new(seed).len())?;
        show(&mut out, &shortest.run(true))?;
        writeln!(out, "repeat it by --seed {seed}")?;
        return Ok(ExitCode::FAILURE);
    }
    let missing = coverage.missing();
    if arguments.histories >= run::COVERING && !missing.is_empty() {
        for missing in missing {
            writeln!(out, "not covered: {missing}")?;
        }
        return Ok(ExitCode::FAILURE);
    }
    writeln!(out, "0 lost, 0 doubled, all rules hold")?;
    Ok(ExitCode::SUCCESS)
}

fn show(out: &mut impl io::Write, ending: &Ending) -> io::Result<()> {
    for line in &ending.trace {
        writeln!(out, "{:>10.3} s  {:<22} {}", line.at.as_secs_f64(), line.who, line.what)?;
    }
    if let Some(violation) = &ending.violation {
        writeln!(out, "BROKEN: {}: {}", violation.rule, violation.text)?;
    }
    Ok(())
}
