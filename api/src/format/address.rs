//! IP addresses and networks. Upstream reads them leniently (leading zeros,
//! IPv4 in IPv6) and then says what it no longer accepts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::field::go_quote;

/// Reads an address as old objects may have it: with leading zeros in IPv4. An
/// IPv4 address mapped into IPv6 is the IPv4 address, as Go prints it.
pub fn parse_ip(text: &str) -> Option<IpAddr> {
    match text.find(['.', ':']).map(|at| text.as_bytes()[at]) {
        Some(b'.') => sloppy_v4(text).map(IpAddr::V4),
        Some(_) => sloppy_v6(text).map(|it| it.to_ipv4_mapped().map_or(IpAddr::V6(it), IpAddr::V4)),
        None => None,
    }
}

/// Reads `ADDRESS/LENGTH` in the same way: the address as it is written, and
/// the length of the prefix. An IPv4 address mapped into IPv6 stays one.
pub fn parse_cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = text.split_once('/')?;
    let address = match sloppy_v4(address) {
        Some(v4) => IpAddr::V4(v4),
        None => IpAddr::V6(sloppy_v6(address)?),
    };
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let length = decimal(length)?;
    (length <= bits).then_some((address, u8::try_from(length).ok()?))
}

fn decimal(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

fn sloppy_v4(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        *octet = u8::try_from(decimal(parts.next()?)?).ok()?;
    }
    parts.next().is_none().then(|| Ipv4Addr::from(octets))
}

fn sloppy_v6(text: &str) -> Option<Ipv6Addr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    // Only the zeros of an IPv4 tail can make the difference, and those of a
    // group, which Go reads at any length.
    let groups = text.split(':').map(|group| {
        if group.contains('.') {
            sloppy_v4(group).map(|it| it.to_string())
        } else {
            let kept = group.trim_start_matches('0');
            let zero = kept.is_empty() && !group.is_empty();
            Some(if zero { "0".to_owned() } else { kept.to_owned() })
        }
    });
    groups.collect::<Option<Vec<_>>>()?.join(":").parse().ok()
}

// What strict reading refuses in an address that lenient reading accepts.
fn strict_faults(text: &str) -> Vec<String> {
    match text.parse::<IpAddr>() {
        Err(_) => vec!["must not have leading 0s".to_owned()],
        Ok(IpAddr::V6(it)) if it.to_ipv4_mapped().is_some() => {
            vec!["must not be an IPv4-mapped IPv6 address".to_owned()]
        }
        Ok(_) => Vec::new(),
    }
}

/// An address in canonical form: what new fields take.
pub fn ip(text: &str) -> Vec<String> {
    let errors = ip_lenient(text);
    match parse_ip(text) {
        Some(address) if errors.is_empty() && address.to_string() != text => {
            vec![not_canonical(&address.to_string())]
        }
        _ => errors,
    }
}

/// An address in any form: what fields take that came before the strict rule.
pub fn ip_lenient(text: &str) -> Vec<String> {
    if parse_ip(text).is_none() {
        return vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()];
    }
    strict_faults(text)
}

/// A network in canonical form: what new fields take.
pub fn cidr(text: &str) -> Vec<String> {
    let errors = cidr_lenient(text);
    match parse_cidr(text) {
        Some((address, length)) if errors.is_empty() => {
            let canonical = format!("{}/{length}", masked(address, length));
            if canonical == text { errors } else { vec![not_canonical(&canonical)] }
        }
        _ => errors,
    }
}

/// A network in any form: what fields take that came before the strict rule.
pub fn cidr_lenient(text: &str) -> Vec<String> {
    let Some((address, length)) = parse_cidr(text) else {
        return vec!["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)".to_owned()];
    };
    let (head, tail) = text.split_once('/').unwrap_or_default();
    let fault = if head.parse::<IpAddr>().is_err() || (tail.len() > 1 && tail.starts_with('0')) {
        "must not have leading 0s in IP or prefix length"
    } else if matches!(address, IpAddr::V6(it) if it.to_ipv4_mapped().is_some()) {
        "must not have an IPv4-mapped IPv6 address"
    } else if masked(address, length) != address {
        "must not have bits set beyond the prefix length"
    } else {
        return Vec::new();
    };
    vec![fault.to_owned()]
}

/// An address with the length of its network, `192.168.1.5/24`.
pub fn interface_address(text: &str) -> Vec<String> {
    let Some((address, length)) = parse_cidr(text) else {
        let message = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)";
        return vec![message.to_owned()];
    };
    let (address, length) = match address {
        IpAddr::V6(it) => match it.to_ipv4_mapped() {
            Some(v4) => (IpAddr::V4(v4), if length > 32 { length.saturating_sub(96) } else { length }),
            None => (address, length),
        },
        IpAddr::V4(_) => (address, length),
    };
    let canonical = format!("{address}/{length}");
    if canonical == text { Vec::new() } else { vec![not_canonical(&canonical)] }
}

fn not_canonical(canonical: &str) -> String {
    format!("must be in canonical form ({})", go_quote(canonical))
}

fn masked(address: IpAddr, length: u8) -> IpAddr {
    let length = u32::from(length);
    match address {
        IpAddr::V4(it) => {
            let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(it.to_bits() & mask))
        }
        IpAddr::V6(it) => {
            let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(it.to_bits() & mask))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rule: fn(&str) -> Vec<String>, table: &[(&str, &str)]) {
        for (text, expected) in table {
            assert_eq!(rule(text).join("; "), *expected, "{text:?}");
        }
    }

    #[test]
    fn addresses() {
        let invalid = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
        check(
            ip,
            &[
                ("10.9.8.7", ""),
                ("2001:db8::ffff", ""),
                ("", invalid),
                ("1.2.3", invalid),
                ("1.2.3.4.5", invalid),
                ("1.2.3.256", invalid),
                ("::1%eth0", invalid),
                ("01.2.3.4", "must not have leading 0s"),
                ("::ffff:1.2.3.4", "must not be an IPv4-mapped IPv6 address"),
                ("2001:DB8::1", "must be in canonical form (\"2001:db8::1\")"),
            ],
        );
        check(ip_lenient, &[("2001:DB8::1", ""), ("1.2.3.04", "must not have leading 0s")]);
    }

    #[test]
    fn networks() {
        let invalid = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
        check(
            cidr,
            &[
                ("10.9.8.0/24", ""),
                ("0.0.0.0/0", ""),
                ("::/0", ""),
                ("10.9.8.0", invalid),
                ("10.9.8.0/33", invalid),
                ("10.9.8.0/-1", invalid),
                ("10.9.8.1/24", "must not have bits set beyond the prefix length"),
                ("10.9.08.0/24", "must not have leading 0s in IP or prefix length"),
                ("10.9.8.0/024", "must not have leading 0s in IP or prefix length"),
                ("::ffff:1.2.3.0/120", "must not have an IPv4-mapped IPv6 address"),
                ("2001:DB8::/64", "must be in canonical form (\"2001:db8::/64\")"),
            ],
        );
        check(
            interface_address,
            &[
                ("192.168.1.5/24", ""),
                ("192.168.1.5", "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)"),
                ("::ffff:192.168.0.1/120", "must be in canonical form (\"192.168.0.1/24\")"),
            ],
        );
    }
}
