//! `coracle down`

use std::{
    path::Path,
    time::{Duration, Instant},
};

use clap::Args;
use rustix::process::{Pid, Signal, kill_process};

use super::Place;
use crate::data_dir::DataDir;

const PATIENCE: Duration = Duration::from_secs(15);

#[derive(Args)]
pub(super) struct Down {
    #[command(flatten)]
    place: Place,
    /// Delete everything that the cluster kept, too
    #[arg(long)]
    purge: bool,
}

impl Down {
    pub(super) fn run(self) -> Result<(), String> {
        let data = self.place.existing()?;
        match data.running() {
            Some(running) => stop(&data, running.pid)?,
            None if !self.purge => return Err(format!("no cluster runs on {}", data.path().display())),
            None => {}
        }
        if self.purge {
            purge(data.path())?;
        }
        Ok(())
    }
}

fn stop(data: &DataDir, pid: u32) -> Result<(), String> {
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or("the process is none")?;
    kill_process(process, Signal::TERM).map_err(|error| format!("cannot stop process {pid}: {error}"))?;
    let started = Instant::now();
    while data.running().is_some_and(|running| running.pid == pid) {
        if started.elapsed() > PATIENCE {
            return Err(format!("process {pid} does not stop"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    eprintln!("stopped process {pid}");
    Ok(())
}

// Only what is a cluster's: a wrong --data-dir must not cost anybody else's
// files.
fn purge(path: &Path) -> Result<(), String> {
    if !path.exists() {
        return Ok(());
    }
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    for name in ["store", "pki"] {
        let part = path.join(name);
        if part.exists() {
            std::fs::remove_dir_all(&part).map_err(failed)?;
        }
    }
    for name in ["kubeconfig", "running.json", "lock"] {
        let part = path.join(name);
        if part.exists() {
            std::fs::remove_file(&part).map_err(failed)?;
        }
    }
    if let Err(error) = std::fs::remove_dir(path) {
        eprintln!("coracle: {} stays: {error}", path.display());
    }
    Ok(())
}
