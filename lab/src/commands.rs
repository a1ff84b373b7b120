//! The commands of `lab`, one function each.

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use lab::registration::{self, Ended, Registration};
use lab::snaphook::{Behaviour, SnapHook};
use lab::terminal::{say, tell};
use lab::{Cluster, Options};

/// A real Kubernetes on one machine, for SnapWatcher's demo, tests and benchmarks.
///
/// K8S=VERSION chooses the Kubernetes version, KEEP=1 keeps data and logs.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
pub(crate) struct Lab {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a control plane and keep it up until Ctrl-C or `lab down`.
    Up,
    /// End the control plane that `lab up` started.
    Down,
    /// Run the SnapHook stand-in alone and print each request.
    Snaphook(SnapHookArgs),
}

#[derive(Debug, Args)]
struct SnapHookArgs {
    /// Where to listen.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// How to answer: success, status=CODE, success-false, delay=SECONDS, hang, half-body, reset, empty, garbage,
    /// not-an-object, redirect=URL, huge, drip=MILLISECONDS.
    #[arg(long, value_name = "BEHAVIOUR", default_value = "success")]
    answer: Behaviour,
}

type Outcome = Result<ExitCode, Box<dyn Error>>;

impl Lab {
    pub(crate) async fn run(self) -> Outcome {
        match self.command {
            Command::Up => up().await,
            Command::Down => down().await,
            Command::Snaphook(args) => snaphook(args).await,
        }
    }
}

async fn up() -> Outcome {
    let mut registration = Registration::claim(&Registration::folder_of_workspace())?;
    let mut cluster = Cluster::start(Options::from_environment()?).await?;
    let access = registration.publish(cluster.access())?;
    let shown = registration::shown(access.folder());
    say(&format!(
        "Kubernetes is up. From the root of the repository:\n\n  \
         export KUBECONFIG=$PWD/{shown}/kubeconfig\n  \
         {shown}/kubectl get nodes\n\n\
         Ctrl-C here or `lab down` elsewhere ends it."
    ));
    loop {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        cluster.check_running()?;
    }
}

async fn down() -> Outcome {
    match registration::end(&Registration::folder_of_workspace()).await? {
        Ended::Stopped { pid } => say(&format!("The lab (pid {pid}) has ended.")),
        Ended::NothingRan => say("No lab runs."),
    }
    Ok(ExitCode::SUCCESS)
}

async fn snaphook(args: SnapHookArgs) -> Outcome {
    let hook = SnapHook::listen(args.listen).await?;
    hook.answer_with(args.answer);
    hook.on_request(|request| {
        let kind = request.contract.map_or("no contract", |contract| contract.as_str());
        say(&format!("{} {} ({kind})\n  {}", request.at, request.path, request.body));
        if let Some(violation) = &request.violation {
            tell(&format!("  violation: {violation}"));
        }
    });
    say(&format!("SnapHook stand-in on {}", hook.url()));
    std::future::pending().await
}
