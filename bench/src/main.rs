//! `coracle-bench`: what an API server can do, measured from outside.
//!
//! Each measure prints one line of JSON; `bench/run` calls them for Coracle and the real kube-apiserver in turn.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use coracle_bench::{Access, Protocol, load, report};

const JSON: &str = "application/json";

#[derive(Parser)]
#[command(about, version)]
struct Arguments {
    #[command(subcommand)]
    measure: Measure,
}

#[derive(Subcommand)]
enum Measure {
    /// Creates ConfigMaps of 1 KB: rate, and latency
    Create {
        #[command(flatten)]
        target: Target,
        /// How many create at the same time
        #[arg(long, default_value_t = 16)]
        clients: usize,
        /// For how long
        #[arg(long, default_value_t = 5.0, value_name = "SECONDS")]
        seconds: f64,
    },
    /// Gets a pod of 5 KB again and again: requests per second of the server's processor time
    Get {
        #[command(flatten)]
        target: Target,
        /// The version of HTTP
        #[arg(long, value_enum, default_value_t = Protocol::Http2)]
        protocol: Protocol,
        /// The media type of the answers
        #[arg(long, default_value = JSON, value_name = "TYPE")]
        accept: String,
        /// How many get at the same time
        #[arg(long, default_value_t = 16)]
        clients: usize,
        /// For how long
        #[arg(long, default_value_t = 5.0, value_name = "SECONDS")]
        seconds: f64,
    },
    /// Lists pods of 5 KB: the server's processor time, and how long each takes
    List {
        #[command(flatten)]
        target: Target,
        /// What they are asked for as
        #[arg(long, value_enum, default_value_t = load::list::Form::Label)]
        form: load::list::Form,
        /// How many pods; made first if they are not there
        #[arg(long, default_value_t = 10_000)]
        pods: usize,
        /// How many times
        #[arg(long, default_value_t = 20)]
        rounds: usize,
    },
    /// Makes nodes, and pods that want to be scheduled: how many pods a second get a node
    Schedule {
        #[command(flatten)]
        target: Target,
        /// What the pods ask for
        #[arg(long, value_enum, default_value = "basic")]
        scenario: load::schedule::Scenario,
        /// How many nodes
        #[arg(long, default_value_t = 5000)]
        nodes: usize,
        /// How many pods
        #[arg(long, default_value_t = 1000)]
        pods: usize,
        /// How many create pods at the same time
        #[arg(long, default_value_t = 32)]
        clients: usize,
    },
    /// Watches ConfigMaps of 1 KB while some are updated: events that arrive per second of the server's processor time
    Watch {
        #[command(flatten)]
        target: Target,
        /// How many watchers, a hundred on a connection
        #[arg(long, default_value_t = 1000)]
        watchers: usize,
        /// The media type of the events
        #[arg(long, default_value = JSON, value_name = "TYPE")]
        accept: String,
        /// How many updates a second
        #[arg(long, default_value_t = 100.0)]
        rate: f64,
        /// For how long
        #[arg(long, default_value_t = 5.0, value_name = "SECONDS")]
        seconds: f64,
    },
    /// Opens watches in which nothing happens: the server's memory for each
    IdleWatches {
        #[command(flatten)]
        target: Target,
        /// How many, a hundred on a connection
        #[arg(long, default_value_t = 10_000)]
        watches: usize,
    },
    /// Applies Deployments, changed each time: rate, and applies per second of the server's processor time
    Apply {
        #[command(flatten)]
        target: Target,
        /// How many apply at the same time
        #[arg(long, default_value_t = 16)]
        clients: usize,
        /// For how long
        #[arg(long, default_value_t = 5.0, value_name = "SECONDS")]
        seconds: f64,
    },
    /// Renews the Leases of nodes as fast as possible
    Leases {
        #[command(flatten)]
        target: Target,
        /// How many nodes
        #[arg(long, default_value_t = 10_000)]
        nodes: usize,
        /// For how long
        #[arg(long, default_value_t = 5.0, value_name = "SECONDS")]
        seconds: f64,
    },
    /// Makes custom resource definitions: the server's memory for each
    Crds {
        #[command(flatten)]
        target: Target,
        /// How many
        #[arg(long, default_value_t = 100)]
        definitions: usize,
    },
    /// Makes ConfigMaps of 1 KB and pods of 5 KB: the server's memory for each byte of their JSON
    Memory {
        #[command(flatten)]
        target: Target,
        /// How many ConfigMaps
        #[arg(long, default_value_t = 28_000)]
        objects: usize,
        /// How many pods
        #[arg(long, default_value_t = 10_000)]
        pods: usize,
    },
    /// Makes so many ConfigMaps of 1 KB, and says nothing about it
    Fill {
        #[command(flatten)]
        target: Target,
        /// How many
        #[arg(long, default_value_t = 28_000)]
        objects: usize,
    },
    /// Starts a server: from its process to its first acknowledged write
    Start {
        #[command(flatten)]
        launch: Launch,
    },
    /// Starts a server and leaves it alone: resident memory of all its processes
    Idle {
        #[command(flatten)]
        launch: Launch,
        /// How long it is left alone
        #[arg(long, default_value_t = 20.0, value_name = "SECONDS")]
        after: f64,
    },
    /// Starts a cluster with thousands of nodes and runs thousands of pods: how soon, memory, processor time at rest
    Nodes {
        #[command(flatten)]
        cluster: Whole,
        /// How many nodes
        #[arg(long, default_value_t = 5000)]
        nodes: usize,
        /// The nodes are made through the API; otherwise the command brings them
        #[arg(long)]
        create_nodes: bool,
        /// How many Deployments
        #[arg(long, default_value_t = 100)]
        deployments: usize,
        /// How many pods of each
        #[arg(long, default_value_t = 100)]
        replicas: usize,
        /// How long the cluster is left alone before its rest is measured
        #[arg(long, default_value_t = 30.0, value_name = "SECONDS")]
        settle: f64,
        /// How long its rest is measured
        #[arg(long, default_value_t = 30.0, value_name = "SECONDS")]
        rest: f64,
    },
    /// Creates a large Deployment, replaces all of it, deletes it: how long each takes, and requests a pod
    Rollout {
        #[command(flatten)]
        cluster: Whole,
        /// How many nodes there are to be ready before it begins
        #[arg(long, default_value_t = 100)]
        nodes: usize,
        /// The nodes are made through the API; otherwise the command brings them
        #[arg(long)]
        create_nodes: bool,
        /// How many pods
        #[arg(long, default_value_t = 1000)]
        replicas: usize,
    },
    /// Deletes a namespace of many objects: until it is gone
    Namespace {
        #[command(flatten)]
        cluster: Whole,
        /// How many objects
        #[arg(long, default_value_t = 20_000)]
        objects: usize,
    },
    /// Deletes the owner of many objects: until they are gone
    Garbage {
        #[command(flatten)]
        cluster: Whole,
        /// How many objects
        #[arg(long, default_value_t = 10_000)]
        objects: usize,
    },
    /// Reads the figures of both servers from standard input, and prints them side by side
    Report,
}

/// The server that is measured.
#[derive(Args)]
struct Target {
    /// How to reach it
    #[arg(long, value_name = "FILE")]
    kubeconfig: PathBuf,
    /// Its process, whose descendants count with it
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
}

/// The server that is started.
#[derive(Args)]
struct Launch {
    /// Where it will be, if its kubeconfig is there before it is ready
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The command that runs it in the foreground and prints `ready URL KUBECONFIG`
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// The whole cluster that is started.
#[derive(Args)]
struct Whole {
    /// How long anything that is waited for may take
    #[arg(long, default_value_t = 900.0, value_name = "SECONDS")]
    limit: f64,
    /// The command that runs it in the foreground and prints `ready URL KUBECONFIG`
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

impl Whole {
    fn limit(&self) -> Duration {
        Duration::from_secs_f64(self.limit)
    }
}

fn main() -> ExitCode {
    // One thread: a second would take from the server what is measured.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(measure(Arguments::parse().measure)),
        Err(error) => Err(error.into()),
    };
    let printed = result.and_then(|text| Ok(writeln!(std::io::stdout(), "{text}")?));
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "coracle-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(measure: Measure) -> Result<String, load::LoadError> {
    let figures = match measure {
        Measure::Report => return Ok(report::table(&std::io::read_to_string(std::io::stdin())?)),
        Measure::Create { target, clients, seconds } => {
            load::create::measure(&target.access()?, clients, Duration::from_secs_f64(seconds)).await
        }
        Measure::Get { target, protocol, accept, clients, seconds } => {
            let time = Duration::from_secs_f64(seconds);
            load::get::measure(&target.access()?, target.pid, (protocol, &accept), clients, time).await
        }
        Measure::List { target, form, pods, rounds } => {
            load::list::measure(&target.access()?, target.pid, form, pods, rounds).await
        }
        Measure::Watch { target, watchers, accept, rate, seconds } => {
            let time = Duration::from_secs_f64(seconds);
            load::watch::churn(&target.access()?, target.pid, (watchers, &accept), rate, time).await
        }
        Measure::IdleWatches { target, watches } => {
            load::watch::idle(&target.access()?, target.process()?, watches).await
        }
        Measure::Apply { target, clients, seconds } => {
            let time = Duration::from_secs_f64(seconds);
            load::apply::measure(&target.access()?, target.pid, clients, time).await
        }
        Measure::Leases { target, nodes, seconds } => {
            let time = Duration::from_secs_f64(seconds);
            load::leases::measure(&target.access()?, target.pid, nodes, time).await
        }
        Measure::Crds { target, definitions } => {
            load::definitions::measure(&target.access()?, target.process()?, definitions).await
        }
        Measure::Memory { target, objects, pods } => {
            load::memory::measure(&target.access()?, target.process()?, objects, pods).await
        }
        Measure::Schedule { target, scenario, nodes, pods, clients } => {
            load::schedule::measure(&target.access()?, target.pid, scenario, nodes, pods, clients).await
        }
        Measure::Fill { target, objects } => load::create::fill(&target.access()?, objects).await,
        Measure::Start { launch } => load::start::start(&launch.command, launch.kubeconfig.as_deref()).await,
        Measure::Idle { launch, after } => {
            load::start::idle(&launch.command, Duration::from_secs_f64(after)).await
        }
        Measure::Nodes { cluster, nodes, create_nodes, deployments, replicas, settle, rest } => {
            let scale = load::nodes::Scale {
                nodes,
                deployments,
                replicas,
                create_nodes,
                limit: cluster.limit(),
                settle: Duration::from_secs_f64(settle),
                rest: Duration::from_secs_f64(rest),
            };
            load::nodes::measure(&cluster.command, scale).await
        }
        Measure::Rollout { cluster, nodes, create_nodes, replicas } => {
            let rollout = load::rollout::Rollout { replicas, nodes, create_nodes, limit: cluster.limit() };
            load::rollout::measure(&cluster.command, rollout).await
        }
        Measure::Namespace { cluster, objects } => {
            load::namespace::measure(&cluster.command, objects, cluster.limit()).await
        }
        Measure::Garbage { cluster, objects } => {
            load::garbage::measure(&cluster.command, objects, cluster.limit()).await
        }
    };
    Ok(figures?.to_string())
}

impl Target {
    fn access(&self) -> Result<Access, load::LoadError> {
        Ok(Access::from_kubeconfig(&self.kubeconfig)?)
    }

    fn process(&self) -> Result<u32, load::LoadError> {
        self.pid.ok_or_else(|| std::io::Error::other("--pid is needed to measure memory").into())
    }
}
