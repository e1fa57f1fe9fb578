//! What the system tells of this process, where it has `/proc`.

use std::fs;

use coracle_api::metrics::{Desc, Gathered, Sample};

use super::facts;

// Linux tells times in these to everybody, whatever it counts in itself.
const TICKS: f64 = 100.0;
const PAGE: f64 = 4096.0;

/// Adds the measures of the process.
pub fn gather(out: &mut Vec<Gathered>) {
    let mut add = |desc: &'static Desc, value: Option<f64>| {
        let samples = value.map(|value| Sample::number(&[], value)).into_iter().collect();
        out.push(Gathered { desc, samples });
    };
    let stat = stat();
    let field = |at: usize| stat.as_ref().and_then(|fields| fields.get(at)?.parse::<f64>().ok());
    add(&facts::CPU, field(11).zip(field(12)).map(|(user, system)| (user + system) / TICKS));
    add(&facts::VIRTUAL, field(20));
    add(&facts::RESIDENT, field(21).map(|pages| pages * PAGE));
    add(&facts::START_TIME, started());
    add(&facts::OPEN_FILES, fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as f64));
    add(&facts::MAX_FILES, limit("Max open files"));
    add(&facts::MAX_VIRTUAL, limit("Max address space"));
    let (received, sent) = network().unzip();
    add(&facts::RECEIVED, received);
    add(&facts::TRANSMITTED, sent);
}

/// When the process began, in seconds since the epoch.
pub fn started() -> Option<f64> {
    let ticks: f64 = stat()?.get(19)?.parse().ok()?;
    let system = fs::read_to_string("/proc/stat").ok()?;
    let boot: f64 = system.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(boot + ticks / TICKS)
}

// The fields after the name of the command, which may hold anything.
fn stat() -> Option<Vec<String>> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

fn limit(name: &str) -> Option<f64> {
    let text = fs::read_to_string("/proc/self/limits").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    match line.split_whitespace().next()? {
        // As Go's library has it: all bits set.
        "unlimited" => Some(u64::MAX as f64),
        number => number.parse().ok(),
    }
}

fn network() -> Option<(f64, f64)> {
    let text = fs::read_to_string("/proc/self/net/netstat").ok()?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("IpExt:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let of = |wanted: &str| {
        let at = names.split_whitespace().position(|name| name == wanted)?;
        values.split_whitespace().nth(at)?.parse().ok()
    };
    Some((of("InOctets")?, of("OutOctets")?))
}
