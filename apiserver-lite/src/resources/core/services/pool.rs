//! Which cluster addresses and node ports are taken.
//!
//! The state is under one lock and is derived from the stored services before
//! the first use, so nothing else has to be stored or repaired: what a write
//! takes is taken before the write reaches the store, and given back when it
//! does not get there.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use coracle_api::Object;
use parking_lot::Mutex;

use super::shape::{cluster_ips, needs_health_check, node_ports};
use crate::resources::{
    core::addresses,
    tree::{number, section},
};

/// Why something is not to be had. The texts are upstream's.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// Everything is taken.
    #[error("range is full")]
    Full,
    /// The address is taken.
    #[error("provided IP is already allocated")]
    AddressTaken,
    /// The port is taken.
    #[error("provided port is already allocated")]
    PortTaken,
    /// The address is of none of the cluster's networks.
    #[error("the provided network does not match the current range")]
    Mismatched,
    /// The address is not of the network that a dry run looks at.
    #[error("the provided IP ({0}) is not in the valid range. The range of valid IPs is {1}")]
    ForeignAddress(IpAddr, String),
    /// The port is none of the cluster's.
    #[error("provided port is not in the valid range. The range of valid ports is {0}-{1}")]
    ForeignPort(u16, u16),
}

/// A network of cluster addresses.
#[derive(Debug, Clone)]
pub struct Network {
    text: String,
    v6: bool,
    base: u128,
    bits: u32,
}

impl Network {
    /// Reads the cluster's networks, `10.96.0.0/12,fd00::/108`; what is none is
    /// left out (the configuration was checked at start-up).
    pub fn all(text: &str) -> Vec<Self> {
        text.split(',').filter_map(|it| Self::parse(it.trim())).collect()
    }

    fn parse(text: &str) -> Option<Self> {
        let (address, length) = text.split_once('/')?;
        let (v6, base, width) = match addresses::lenient_ip(address)? {
            IpAddr::V4(ip) => (false, u128::from(u32::from(ip)), 32),
            IpAddr::V6(ip) => (true, u128::from(ip), 128),
        };
        // No more than 2^64 addresses: nobody gets further.
        let bits = width - length.parse::<u32>().ok().filter(|length| *length <= width)?;
        Some(Self {
            text: text.to_owned(),
            v6,
            base: base >> bits.min(127) << bits.min(127),
            bits: bits.min(64),
        })
    }

    /// `IPv4` or `IPv6`.
    pub fn family(&self) -> &'static str {
        if self.v6 { "IPv6" } else { "IPv4" }
    }

    fn size(&self) -> u128 {
        1 << self.bits
    }

    // How many addresses are given out: not the network's own, and for IPv4
    // not the broadcast address.
    fn hosts(&self) -> u128 {
        self.size().saturating_sub(if self.v6 { 1 } else { 2 })
    }

    fn host(&self, index: u128) -> IpAddr {
        let value = self.base + 1 + index;
        if self.v6 { IpAddr::V6(Ipv6Addr::from(value)) } else { IpAddr::V4(Ipv4Addr::from(value as u32)) }
    }

    /// The network's own address, which stands for any in a dry run.
    pub fn any(&self) -> IpAddr {
        if self.v6 {
            IpAddr::V6(Ipv6Addr::from(self.base))
        } else {
            IpAddr::V4(Ipv4Addr::from(self.base as u32))
        }
    }

    /// Whether it gives that address out.
    ///
    /// # Errors
    /// `ForeignAddress`
    pub fn check(&self, ip: IpAddr) -> Result<(), PoolError> {
        let (v6, value) = match ip {
            IpAddr::V4(ip) => (false, u128::from(u32::from(ip))),
            IpAddr::V6(ip) => (true, u128::from(ip)),
        };
        let inside = v6 == self.v6 && value > self.base && value - self.base <= self.hosts();
        if inside { Ok(()) } else { Err(PoolError::ForeignAddress(ip, self.text.clone())) }
    }
}

/// The pool of one cluster.
#[derive(Default)]
pub struct Pool(Mutex<State>);

#[derive(Default)]
struct State {
    learned: bool,
    // Who went before anything was learned: a listing may still show them.
    gone: HashSet<String>,
    ips: HashSet<IpAddr>,
    ports: HashSet<u16>,
}

/// Addresses and ports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holding {
    /// Cluster addresses.
    pub ips: Vec<IpAddr>,
    /// Node ports.
    pub ports: Vec<u16>,
}

impl Holding {
    /// What a service has.
    pub fn of(service: &Object) -> Self {
        let spec = section(service, "spec");
        let ips = cluster_ips(spec).into_iter().filter_map(addresses::lenient_ip).collect();
        let mut ports = node_ports(spec);
        if needs_health_check(spec) {
            ports.push(number(&spec["healthCheckNodePort"]));
        }
        ports.sort_unstable();
        ports.dedup();
        let ports =
            ports.into_iter().filter(|port| *port != 0).filter_map(|port| port.try_into().ok()).collect();
        Self { ips, ports }
    }

    /// What of it `other` does not have.
    #[must_use]
    pub fn without(mut self, other: &Self) -> Self {
        self.ips.retain(|ip| !other.ips.contains(ip));
        self.ports.retain(|port| !other.ports.contains(port));
        self
    }
}

impl Pool {
    /// Whether the stored services must still be [learned](Self::learn).
    pub fn is_new(&self) -> bool {
        !self.0.lock().learned
    }

    /// Learns from all stored services what is taken. Only the first listing
    /// counts: none of a later one is missing, as every write takes first.
    pub fn learn<'a>(&self, services: impl Iterator<Item = &'a Object>) {
        let mut state = self.0.lock();
        if state.learned {
            return;
        }
        for service in
            services.filter(|it| !state.gone.contains(it.uid())).map(Holding::of).collect::<Vec<_>>()
        {
            state.ips.extend(service.ips);
            state.ports.extend(service.ports);
        }
        state.gone = HashSet::new();
        state.learned = true;
    }

    /// Frees what a service had that is gone.
    pub fn forget(&self, service: &Object) {
        let held = Holding::of(service);
        let mut state = self.0.lock();
        if !state.learned {
            state.gone.insert(service.uid().to_owned());
        }
        state.free(&held);
    }

    /// Frees addresses and ports.
    pub fn free(&self, held: &Holding) {
        self.0.lock().free(held);
    }

    /// Begins to take, none of `avoided`. Others wait until the [`Taking`] is
    /// over.
    pub fn take<'a>(&'a self, seed: &str, dry_run: bool, avoided: &'a HashSet<IpAddr>) -> Taking<'a> {
        Taking { state: self.0.lock(), seed: hash(seed), dry_run, avoided, held: Holding::default() }
    }
}

impl State {
    fn free(&mut self, held: &Holding) {
        held.ips.iter().for_each(|ip| {
            self.ips.remove(ip);
        });
        held.ports.iter().for_each(|port| {
            self.ports.remove(port);
        });
    }
}

/// One write's way through the pool, under its lock.
pub struct Taking<'a> {
    state: parking_lot::MutexGuard<'a, State>,
    seed: u64,
    dry_run: bool,
    avoided: &'a HashSet<IpAddr>,
    held: Holding,
}

impl Taking<'_> {
    /// What was taken; the caller gives it back or keeps it.
    pub fn done(self) -> Holding {
        self.held
    }

    /// Gives back what was taken so far.
    pub fn undo(mut self) {
        let held = std::mem::take(&mut self.held);
        self.state.free(&held);
    }

    /// Takes that address of one of `networks`.
    ///
    /// # Errors
    /// `Mismatched`, `AddressTaken`, and in a dry run `ForeignAddress`
    pub fn ip(&mut self, networks: &[&Network], ip: IpAddr) -> Result<(), PoolError> {
        if self.dry_run {
            return networks.first().map_or(Ok(()), |network| network.check(ip));
        }
        if networks.iter().all(|network| network.check(ip).is_err()) {
            return Err(PoolError::Mismatched);
        }
        if self.avoided.contains(&ip) || !self.state.ips.insert(ip) {
            return Err(PoolError::AddressTaken);
        }
        self.held.ips.push(ip);
        Ok(())
    }

    /// Takes any address of the first of `networks` that has one.
    ///
    /// # Errors
    /// `Full`
    pub fn any_ip(&mut self, networks: &[&Network]) -> Result<IpAddr, PoolError> {
        if self.dry_run {
            return networks.first().map(|network| network.any()).ok_or(PoolError::Full);
        }
        let ip = networks.iter().find_map(|network| self.free_ip(network)).ok_or(PoolError::Full)?;
        self.state.ips.insert(ip);
        self.held.ips.push(ip);
        Ok(ip)
    }

    // First above the part that is kept for those who ask for one (KEP-3070),
    // then in it.
    fn free_ip(&self, network: &Network) -> Option<IpAddr> {
        let kept = kept(network.size(), 16, 16, 256);
        let taken = self.state.ips.len() + self.avoided.len();
        let free = |ip: IpAddr| !self.state.ips.contains(&ip) && !self.avoided.contains(&ip);
        let found = free_index(self.seed, network.hosts(), kept, taken, |index| free(network.host(index)));
        found.map(|index| network.host(index))
    }

    /// Takes that port.
    ///
    /// # Errors
    /// `ForeignPort`, `PortTaken`
    pub fn port(&mut self, (first, last): (u16, u16), port: i64) -> Result<(), PoolError> {
        let fits = u16::try_from(port).ok().filter(|port| (first..=last).contains(port));
        if self.dry_run {
            // As upstream, which looks at no range here.
            let taken = fits.is_some_and(|port| self.state.ports.contains(&port));
            return if taken { Err(PoolError::PortTaken) } else { Ok(()) };
        }
        let port = fits.ok_or(PoolError::ForeignPort(first, last))?;
        if !self.state.ports.insert(port) {
            return Err(PoolError::PortTaken);
        }
        self.held.ports.push(port);
        Ok(())
    }

    /// Takes any port: as with addresses, those that people ask for at last.
    ///
    /// # Errors
    /// `Full`
    pub fn any_port(&mut self, (first, last): (u16, u16)) -> Result<i64, PoolError> {
        if self.dry_run {
            // Ports that no service can get stand for any.
            self.held.ports.push(0);
            return Ok(i64::from(last) + 1 + self.held.ports.len() as i64);
        }
        let size = u128::from(last - first) + 1;
        let taken = self.state.ports.len();
        let found = free_index(self.seed, size, kept(size, 32, 16, 128), taken, |index| {
            !self.state.ports.contains(&(first + index as u16))
        });
        let port = first + found.ok_or(PoolError::Full)? as u16;
        self.state.ports.insert(port);
        self.held.ports.push(port);
        Ok(port.into())
    }
}

// How many of the first ones are given out last.
fn kept(size: u128, step: u128, least: u128, most: u128) -> u128 {
    if size <= least { 0 } else { (size / step).clamp(least, most) }
}

// A free one of `size`, from a place that the seed gives on: above `kept`
// first. No run of more than `taken` is all taken, so that many are looked at.
fn free_index(seed: u64, size: u128, kept: u128, taken: usize, free: impl Fn(u128) -> bool) -> Option<u128> {
    let look = |from: u128, count: u128| {
        let start = if count == 0 { 0 } else { u128::from(seed) % count };
        (0..count.min(taken as u128 + 1)).map(|step| from + (start + step) % count).find(|index| free(*index))
    };
    look(kept, size.saturating_sub(kept)).or_else(|| look(0, kept.min(size)))
}

// FNV-1a: the same place for the same object, so that a test need not own
// a random source.
fn hash(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
