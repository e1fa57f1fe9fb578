//! Networks in CIDR notation.

use std::net::IpAddr;

use k8s_openapi::api::networking::v1::ServiceCIDR;

/// A network: its family, its address and how many bits of it count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prefix {
    v6: bool,
    base: u128,
    bits: u32,
}

impl Prefix {
    /// Reads `10.96.0.0/12`; none where it is no network.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let (v6, base) = number(address.parse().ok()?);
        let bits = bits.parse().ok().filter(|bits| *bits <= width(v6))?;
        let host = width(v6) - bits;
        Some(Self { v6, base: base.checked_shr(host).unwrap_or(0).checked_shl(host).unwrap_or(0), bits })
    }

    /// The networks of `cidr`.
    pub(crate) fn of(cidr: &ServiceCIDR) -> impl Iterator<Item = Self> {
        let cidrs = cidr.spec.as_ref().and_then(|spec| spec.cidrs.as_ref());
        cidrs.into_iter().flatten().filter_map(|text| Self::parse(text))
    }

    /// True when an address of it may be given to a service: not the network's
    /// own, and not the broadcast address of IPv4.
    pub(crate) fn gives(&self, ip: IpAddr) -> bool {
        let (v6, ip) = number(ip);
        let last = self.base | self.hosts();
        v6 == self.v6 && ip > self.base && (ip < last || (v6 && ip == last))
    }

    /// True when all of `other` is part of it.
    pub(crate) fn contains(&self, other: &Self) -> bool {
        self.bits <= other.bits && self.overlaps(other)
    }

    /// True when they have an address in common.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let hosts = self.hosts() | other.hosts();
        self.v6 == other.v6 && self.base & !hosts == other.base & !hosts
    }

    // The bits that tell its addresses apart.
    fn hosts(&self) -> u128 {
        let host = width(self.v6) - self.bits;
        1u128.checked_shl(host).map_or(u128::MAX, |size| size - 1)
    }
}

fn width(v6: bool) -> u32 {
    if v6 { 128 } else { 32 }
}

fn number(ip: IpAddr) -> (bool, u128) {
    match ip {
        IpAddr::V4(ip) => (false, u32::from(ip).into()),
        IpAddr::V6(ip) => (true, ip.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_are_given() {
        for (network, ip, gives) in [
            ("10.0.0.0/24", "10.0.0.0", false),
            ("10.0.0.0/24", "10.0.0.1", true),
            ("10.0.0.0/24", "10.0.0.254", true),
            ("10.0.0.0/24", "10.0.0.255", false),
            ("10.0.0.0/24", "10.0.1.1", false),
            ("10.0.0.7/24", "10.0.0.1", true),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("10.0.0.1/32", "10.0.0.1", false),
            ("fd00::/120", "fd00::", false),
            ("fd00::/120", "fd00::ff", true),
            ("fd00::/120", "10.0.0.1", false),
            ("::/0", "fd00::1", true),
        ] {
            let found = Prefix::parse(network).unwrap().gives(ip.parse().unwrap());
            assert_eq!(found, gives, "{network} {ip}");
        }
        for text in ["", "10.0.0.0", "10.0.0.0/33", "x/8", "10.0.0.0/-1", "fd00::/129"] {
            assert_eq!(Prefix::parse(text), None, "{text}");
        }
    }

    #[test]
    fn networks_in_networks() {
        for (one, other, overlaps, contains) in [
            ("10.0.0.0/8", "10.1.0.0/16", true, true),
            ("10.1.0.0/16", "10.0.0.0/8", true, false),
            ("10.1.0.0/16", "10.1.0.0/16", true, true),
            ("10.1.0.0/16", "10.2.0.0/16", false, false),
            ("0.0.0.0/0", "fd00::/64", false, false),
        ] {
            let (one, other) = (Prefix::parse(one).unwrap(), Prefix::parse(other).unwrap());
            assert_eq!(
                (one.overlaps(&other), one.contains(&other)),
                (overlaps, contains),
                "{one:?} {other:?}"
            );
        }
    }
}
