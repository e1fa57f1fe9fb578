//! What the processes of a server have used, from `/proc`.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

/// A process and all its descendants.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    root: u32,
}

impl Family {
    /// The family of the process with this id.
    pub fn of(root: u32) -> Self {
        Self { root }
    }

    /// Processor time, user and system, used so far by those that are alive.
    pub fn cpu(self) -> Duration {
        let ticks: u64 = self.members().into_iter().filter_map(|pid| Stat::read(pid).map(|s| s.ticks)).sum();
        let per_second = rustix::param::clock_ticks_per_second().max(1);
        Duration::from_secs_f64(ticks as f64 / per_second as f64)
    }

    /// Resident memory in bytes, summed; pages that members share count once for each.
    pub fn resident(self) -> u64 {
        let of = |pid: u32| -> Option<u64> {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
            line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
        };
        // A shell that only waits for its servers is not part of what is measured.
        self.members().into_iter().filter(|pid| !is_shell(*pid)).filter_map(of).sum()
    }

    /// The ids of all members, the root first.
    pub fn members(self) -> Vec<u32> {
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            if let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok())
                && let Some(stat) = Stat::read(pid)
            {
                children.entry(stat.parent).or_default().push(pid);
            }
        }
        let mut members = vec![self.root];
        let mut next = 0;
        while let Some(pid) = members.get(next) {
            members.extend(children.remove(pid).unwrap_or_default());
            next += 1;
        }
        members
    }
}

fn is_shell(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm"))
        .is_ok_and(|name| matches!(name.trim(), "bash" | "up" | "sh"))
}

#[derive(Debug, PartialEq)]
struct Stat {
    parent: u32,
    ticks: u64,
}

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// proc_pid_stat(5): the parent is field 4; user and system time, in ticks, are fields 14 and 15.
    fn parse(text: &str) -> Option<Self> {
        // The second field, the command, is in parentheses and may itself hold any character.
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        Some(Self { parent: u32::try_from(number(4)?).ok()?, ticks: number(14)? + number(15)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat() {
        let check = |text: &str, expected: Option<Stat>| assert_eq!(Stat::parse(text), expected, "{text}");
        check("7 (a) b) S 3 7 7 0 -1 4 5 6 7 8 11 22 0", Some(Stat { parent: 3, ticks: 33 }));
        check("7 (a) S 3", None);
        check("", None);
    }

    #[test]
    fn own_family() {
        let family = Family::of(std::process::id());
        assert!(family.members().contains(&std::process::id()));
        assert!(family.resident() > 0);
    }
}
