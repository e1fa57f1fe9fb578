//! What a stretch of a measure took: time on the wall, and of the server's processors.

use std::time::{Duration, Instant};

use crate::process::Family;

/// A stretch that has begun.
pub struct Stretch {
    family: Option<Family>,
    cpu: Option<Duration>,
    begin: Instant,
}

/// What it took, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Spent {
    /// On the wall.
    pub wall: f64,
    /// Of the server's processors, where its process is known.
    pub cpu: Option<f64>,
}

impl Stretch {
    /// Begins; processor time is that of process `pid` and its descendants.
    pub fn begin(pid: Option<u32>) -> Self {
        let family = pid.map(Family::of);
        Self { family, cpu: family.map(Family::cpu), begin: Instant::now() }
    }

    /// What it has taken so far.
    pub fn spent(&self) -> Spent {
        let cpu = self.family.map(Family::cpu).zip(self.cpu).map(|(now, then)| now.saturating_sub(then));
        Spent { wall: self.begin.elapsed().as_secs_f64(), cpu: cpu.map(|cpu| cpu.as_secs_f64()) }
    }
}

impl Spent {
    /// So many things in this time: how many a second.
    pub fn per_second(&self, count: usize) -> f64 {
        count as f64 / self.wall
    }

    /// So many things in this time: how many a second of the server's processors.
    pub fn per_cpu_second(&self, count: usize) -> Option<f64> {
        self.cpu.map(|cpu| count as f64 / cpu)
    }
}
