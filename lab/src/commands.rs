//! The commands of `lab`, one function each.

use std::error::Error;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus};

use clap::{Args, Parser, Subcommand};
use lab::registration::{self, Ended, Registration};
use lab::registry::RegistryKind;
use lab::snaphook::{Behaviour, Kubelets, SnapHook};
use lab::terminal::{print_progress, print_result};
use lab::{Access, Cluster, Helm, LAB_VARIABLE, Launch, Options, Process, RealNode, crd, demo, keeps_running};

/// A real Kubernetes on one machine, for SnapWatcher's demo, tests and benchmarks.
///
/// Environment: K8S=VERSION chooses the Kubernetes version. KEEP=1 keeps everything running at the end, KEEP=data keeps
/// data and logs. KUBEBUILDER_ASSETS=FOLDER (`demo` only) names a folder with kube-apiserver and etcd, as setup-envtest
/// makes it; without it they are built from source.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
pub(crate) struct Lab {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a control plane and keep it running until Ctrl-C or `lab down`.
    Up(UpArgs),
    /// Stop the control plane that `lab up` or `lab demo` started.
    Down,
    /// Show what happens to labeled pods, from their creation to their checkpoint.
    Demo(DemoArgs),
    /// Start a control plane, install SnapWatcher's CRD, run a command (the tests) and exit with its exit code.
    Test(TestArgs),
    /// Run the SnapHook stand-in alone and print each request.
    Snaphook(SnapHookArgs),
    /// Check whether this machine can run a real node. If it cannot, print the reason and exit with code 3.
    CheckNode,
    /// Print the path of a program that the lab builds from source. If the program is missing, build it first.
    Tool {
        #[arg(value_name = "NAME")]
        tool: Tool,
    },
}

#[derive(Debug, Args)]
struct UpArgs {
    #[command(flatten)]
    node: NodeArgs,
}

#[derive(Clone, Copy, Debug, Args)]
struct NodeArgs {
    /// Use a real node (kubelet, containerd, criu) and a registry instead of fake nodes. Needs root on Linux.
    #[arg(long)]
    node: bool,
    /// Use a real node with Services and DNS names (kube-proxy, CoreDNS).
    #[arg(long)]
    services: bool,
}

#[derive(Debug, Args)]
struct DemoArgs {
    /// Path of the SnapWatcher program.
    #[arg(long, value_name = "PATH", default_value = "target/debug/snapwatcher")]
    snapwatcher: PathBuf,
    /// Keep everything running at the end, until Ctrl-C or `lab down`. KEEP=1 does the same.
    #[arg(long)]
    keep: bool,
}

#[derive(Debug, Args)]
struct TestArgs {
    /// Path of the SnapWatcher program, which prints its CRD.
    #[arg(long, value_name = "PATH", default_value = "target/debug/snapwatcher")]
    snapwatcher: PathBuf,
    #[command(flatten)]
    node: NodeArgs,
    /// The command to run and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

#[derive(Debug, Args)]
struct SnapHookArgs {
    /// Address to listen on.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// How to answer: success, status=CODE, success-false, delay=SECONDS, hang, half-body, reset, empty, garbage,
    /// not-an-object, redirect=URL, huge, drip=MILLISECONDS.
    #[arg(long, value_name = "BEHAVIOUR", default_value = "success")]
    answer: Behaviour,
    /// Take real checkpoints by the kubelets of the cluster that `lab up --node` keeps running.
    #[arg(long, conflicts_with = "answer")]
    kubelet: bool,
}

/// A program that the Makefile needs on its own.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Tool {
    Helm,
    /// Docker's registry 3.
    Distribution,
    /// The registry of go-containerregistry.
    GoContainerRegistry,
}

impl Tool {
    async fn program(self) -> Result<PathBuf, Box<dyn Error>> {
        Ok(match self {
            Self::Helm => Helm::built().await?.program().to_owned(),
            Self::Distribution => RegistryKind::Docker3.program().await?,
            Self::GoContainerRegistry => RegistryKind::InMemory.program().await?,
        })
    }
}

type Outcome = Result<ExitCode, Box<dyn Error>>;

impl Lab {
    pub(crate) async fn run(self) -> Outcome {
        match self.command {
            Command::Up(args) => up(args).await,
            Command::Down => down().await,
            Command::Demo(args) => demo(args).await,
            Command::Test(args) => test(args).await,
            Command::Snaphook(args) => snaphook(args).await,
            Command::CheckNode => Ok(check_node()),
            Command::Tool { tool } => {
                print_result(&tool.program().await?.display().to_string());
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

/// The options of the environment, with the node that the command line asks for.
fn options(args: NodeArgs) -> Result<Options, lab::LabError> {
    let options = Options::from_environment()?;
    Ok(match args {
        NodeArgs { services: true, .. } => options.with_services(),
        NodeArgs { node: true, .. } => options.with_real_node(),
        NodeArgs { .. } => options,
    })
}

/// Exit code of `check-node` on a machine that cannot run a real node. Other failures have other codes.
const NO_NODE: u8 = 3;

fn check_node() -> ExitCode {
    match RealNode::unmet_requirement() {
        None => ExitCode::SUCCESS,
        Some(missing) => {
            print_result(&missing);
            NO_NODE.into()
        }
    }
}

async fn up(args: UpArgs) -> Outcome {
    let mut registration = Registration::claim(&Registration::folder_of_workspace())?;
    let mut cluster = Cluster::start(options(args.node)?).await?;
    let access = registration.publish(cluster.access())?;
    let shown = registration::shown(access.folder());
    let export = registration::export_command(access.folder())?;
    print_result(&format!(
        "Kubernetes is running. From the root of the repository:\n\n  \
         {export}\n  \
         {shown}/kubectl get nodes\n\n\
         Ctrl-C here or `lab down` elsewhere stops it."
    ));
    if let Some(node) = cluster.real_node() {
        print_result(&format!(
            "\nThe node is {} ({}). Push images to http://{}; pods pull them as {}/NAME. The image {} has a shell.",
            node.name(),
            node.address(),
            node.registry_address(),
            node.registry(),
            node.busybox()
        ));
    }
    loop {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        cluster.check_running()?;
    }
}

async fn down() -> Outcome {
    match registration::end(&Registration::folder_of_workspace()).await? {
        Ended::Stopped { pid } => print_result(&format!("The lab (pid {pid}) has stopped.")),
        Ended::NotRunning => print_result("No lab is running."),
    }
    // A lab that was killed could not clean up.
    Cluster::sweep();
    Ok(ExitCode::SUCCESS)
}

async fn demo(args: DemoArgs) -> Outcome {
    let registration = Registration::claim(&Registration::folder_of_workspace())?;
    let afterwards = if args.keep || keeps_running() { demo::Afterwards::StayUp } else { demo::Afterwards::End };
    match demo::run(registration, &args.snapwatcher, afterwards).await? {
        demo::DemoResult::AllRequestedOnce => Ok(ExitCode::SUCCESS),
        demo::DemoResult::Wrong => Ok(ExitCode::FAILURE),
    }
}

async fn test(args: TestArgs) -> Outcome {
    let cluster = Cluster::start(options(args.node)?).await?;
    crd::install(cluster.access(), &args.snapwatcher).await?;
    // What interrupted tests leave in TMPDIR is removed with the control plane's folder.
    let scratch = cluster.folder().join("tmp");
    std::fs::create_dir(&scratch)?;
    let [program, arguments @ ..] = args.command.as_slice() else { return Ok(ExitCode::FAILURE) };
    let mut launch = Launch::on_terminal(program, program.as_ref()).args(arguments);
    launch.command().env(LAB_VARIABLE, cluster.folder()).env("TMPDIR", &scratch);
    let status = Process::start(launch).await?.wait().await?;
    if keeps_running() {
        print_result(&format!(
            "Kubernetes keeps running until Ctrl-C: export KUBECONFIG={}",
            cluster.kubeconfig().display()
        ));
        std::future::pending::<()>().await;
    }
    cluster.stop().await?;
    Ok(exit_code(status))
}

/// The command's exit code as a shell reports it: 128 plus the signal's number if a signal ended the command.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from)
}

async fn snaphook(args: SnapHookArgs) -> Outcome {
    let hook = SnapHook::listen(args.listen).await?;
    hook.answer_with(if args.kubelet {
        let access = Access::at(&Registration::folder_of_workspace())?;
        Behaviour::Kubelet(Kubelets::of(&access).await?)
    } else {
        args.answer
    });
    hook.on_request(|request| {
        let kind = request.contract.map_or("no contract", |contract| contract.as_str());
        print_result(&format!("{} {} ({kind})\n  {}", request.at, request.path, request.body));
        if let Some(violation) = &request.violation {
            print_progress(&format!("  violation: {violation}"));
        }
    });
    print_result(&format!("The SnapHook stand-in listens on {}.", hook.url()));
    std::future::pending().await
}
