//! The command line. One file a subcommand.

mod alone;
mod completion;
mod controllers;
mod down;
mod election;
mod kubeconfig;
mod nodes;
mod scheduler;
mod scrape;
mod status;
mod up;
mod version;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::data_dir::DataDir;

/// A whole Kubernetes in one binary.
#[derive(Parser)]
#[command(name = "coracle", version, about, propagate_version = true)]
struct Cli {
    /// What is logged on stderr, `info` or `coracle=debug,warn`
    #[arg(long, global = true, env = "CORACLE_LOG", default_value = "warn", value_name = "FILTER")]
    log: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a cluster and keep it running in the foreground
    Up(up::Up),
    /// Say whether the cluster runs, and where
    Status(status::Status),
    /// Print the kubeconfig of the cluster's administrator
    Kubeconfig(kubeconfig::Kubeconfig),
    /// Stop the cluster
    Down(down::Down),
    /// Print the version
    Version(version::Version),
    /// Run the controllers alone, against any cluster
    Controllers(controllers::Controllers),
    /// Run the scheduler alone, against any cluster, or ask it about a pod
    Scheduler(scheduler::Scheduler),
    /// Run simulated nodes alone, in any cluster
    Nodes(nodes::Nodes),
    /// Print a script that completes commands in a shell
    Completion(completion::Completion),
}

/// Which cluster.
#[derive(Args)]
struct Place {
    /// The directory of the cluster: everything that it keeps
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl Place {
    fn path(&self) -> Result<PathBuf, String> {
        if let Some(path) = &self.data_dir {
            return Ok(path.clone());
        }
        let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        absolute("XDG_DATA_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
            .map(|base| base.join("coracle"))
            .ok_or_else(|| "there is no home directory: say --data-dir".to_owned())
    }

    fn existing(&self) -> Result<DataDir, String> {
        Ok(DataDir::at(&self.path()?))
    }
}

/// Runs the command that the process was given.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_new(&cli.log).unwrap_or_else(|error| {
        eprintln!("coracle: --log: {error}; logging warnings");
        EnvFilter::new("warn")
    });
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let done = match cli.command {
        Command::Up(it) => it.run(),
        Command::Status(it) => it.run(),
        Command::Kubeconfig(it) => it.run(),
        Command::Down(it) => it.run(),
        Command::Version(it) => it.run(),
        Command::Controllers(it) => it.run(),
        Command::Scheduler(it) => it.run(),
        Command::Nodes(it) => it.run(),
        Command::Completion(it) => it.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("coracle: {error}");
            ExitCode::FAILURE
        }
    }
}
