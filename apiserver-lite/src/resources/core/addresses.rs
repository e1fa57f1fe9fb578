//! IP addresses and networks in the fields that have always taken them: Go's
//! lenient parser reads them, today's rules refuse what is ambiguous.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use coracle_api::{FieldError, FieldPath};

/// The detail of what is no address.
pub const NOT_AN_IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const NOT_A_CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// Reads an address as Go's older parser did: IPv4 parts may have leading
/// zeros, IPv4 mapped into IPv6 is IPv4.
pub fn lenient_ip(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        let ip: Ipv6Addr = text.parse().ok()?;
        return Some(ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4));
    }
    let mut octets = [0; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next()?;
        if part.is_empty() || part.len() > 255 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let digits = part.trim_start_matches('0');
        *octet = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    }
    parts.next().is_none().then_some(IpAddr::V4(Ipv4Addr::from(octets)))
}

fn mapped(text: &str) -> bool {
    text.parse::<Ipv6Addr>().is_ok_and(|ip| ip.to_ipv4_mapped().is_some())
}

/// Whether it is an IPv6 address.
pub fn is_v6(text: &str) -> bool {
    matches!(lenient_ip(text), Some(IpAddr::V6(_)))
}

/// What is wrong with an address.
pub fn ip(text: &str, path: &FieldPath) -> Vec<FieldError> {
    let fault = if lenient_ip(text).is_none() {
        NOT_AN_IP
    } else if text.parse::<IpAddr>().is_err() {
        "must not have leading 0s"
    } else if mapped(text) {
        "must not be an IPv4-mapped IPv6 address"
    } else {
        return Vec::new();
    };
    vec![FieldError::invalid(path, text, fault)]
}

/// As [`ip`], and in the one form that it has.
pub fn canonical_ip(text: &str, path: &FieldPath) -> Vec<FieldError> {
    let errors = ip(text, path);
    match lenient_ip(text) {
        Some(it) if errors.is_empty() && it.to_string() != text => {
            vec![FieldError::invalid(path, text, format!("must be in canonical form (\"{it}\")"))]
        }
        _ => errors,
    }
}

/// What is wrong with an address that traffic is sent to.
pub fn endpoint_ip(text: &str, path: &FieldPath) -> Vec<FieldError> {
    let Some(ip) = lenient_ip(text) else {
        return vec![FieldError::invalid(path, text, "must be a valid IP address")];
    };
    let (link_local, link_local_multicast) = match ip {
        IpAddr::V4(ip) => (ip.is_link_local(), ip.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(ip) => (ip.is_unicast_link_local(), ip.segments()[0] & 0xff0f == 0xff02),
    };
    let faults = [
        (ip.is_unspecified(), format!("may not be unspecified ({text})")),
        (ip.is_loopback(), "may not be in the loopback range (127.0.0.0/8, ::1/128)".to_owned()),
        (link_local, "may not be in the link-local range (169.254.0.0/16, fe80::/10)".to_owned()),
        (
            link_local_multicast,
            "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".to_owned(),
        ),
    ];
    faults
        .into_iter()
        .filter(|(wrong, _)| *wrong)
        .map(|(_, fault)| FieldError::invalid(path, text, fault))
        .collect()
}

/// A network: an address in it, and how many leading bits are its.
fn lenient_cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = text.split_once('/')?;
    let address = lenient_ip(address)?;
    if length.is_empty() || !length.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let length: u8 = length.parse().ok()?;
    (length <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, length))
}

// The first address of a network.
fn masked(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(ip) => {
            let bits = u32::from(ip) & u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            IpAddr::V4(bits.into())
        }
        IpAddr::V6(ip) => {
            let bits = u128::from(ip) & u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            IpAddr::V6(bits.into())
        }
    }
}

/// Whether it is an IPv6 network; `None` for what is none.
pub fn cidr_is_v6(text: &str) -> Option<bool> {
    lenient_cidr(text).map(|(address, _)| address.is_ipv6())
}

/// Whether `inner` is a part of `outer` and not all of it; `None` where one is
/// no network.
pub fn contains_strictly(outer: &str, inner: &str) -> Option<bool> {
    let ((outer, outer_length), (inner, inner_length)) = (lenient_cidr(outer)?, lenient_cidr(inner)?);
    let same_family = outer.is_ipv4() == inner.is_ipv4();
    let inside = masked(inner, outer_length) == masked(outer, outer_length);
    Some(same_family && inner_length > outer_length && inside)
}

/// What is wrong with a network.
pub fn cidr(text: &str, path: &FieldPath) -> Vec<FieldError> {
    let fault = match lenient_cidr(text) {
        None => NOT_A_CIDR,
        Some((address, length)) => {
            let (shown, digits) = text.split_once('/').unwrap_or_default();
            if shown.parse::<IpAddr>().is_err() || (digits.len() > 1 && digits.starts_with('0')) {
                "must not have leading 0s in IP or prefix length"
            } else if mapped(shown) {
                "must not have an IPv4-mapped IPv6 address"
            } else if masked(address, length) != address {
                "must not have bits set beyond the prefix length"
            } else {
                return Vec::new();
            }
        }
    };
    vec![FieldError::invalid(path, text, fault)]
}

/// As [`cidr`], and in the one form that it has.
pub fn canonical_cidr(text: &str, path: &FieldPath) -> Vec<FieldError> {
    let errors = cidr(text, path);
    match lenient_cidr(text).map(|(address, length)| format!("{address}/{length}")) {
        Some(shown) if errors.is_empty() && shown != text => {
            vec![FieldError::invalid(path, text, format!("must be in canonical form (\"{shown}\")"))]
        }
        _ => errors,
    }
}

/// What to say about an address that is right but not in the usual form.
pub fn ip_warnings(path: &FieldPath, text: &str) -> Option<String> {
    let ip = lenient_ip(text)?;
    if text.parse::<IpAddr>().is_err() || mapped(text) {
        return Some(format!("{path}: non-standard IP address {text:?} is invalid: use \"{ip}\""));
    }
    (ip.is_ipv6() && ip.to_string() != text)
        .then(|| format!("{path}: IPv6 address {text:?} should be in RFC 5952 canonical format (\"{ip}\")"))
}

/// What to say about a network that is right but not in the usual form.
pub fn cidr_warnings(path: &FieldPath, text: &str) -> Option<String> {
    let (address, length) = lenient_cidr(text)?;
    let (shown, digits) = text.split_once('/')?;
    let first = masked(address, length);
    let plain = format!("{first}/{length}");
    if shown.parse::<IpAddr>().is_err() || mapped(shown) || (digits.len() > 1 && digits.starts_with('0')) {
        return Some(format!("{path}: non-standard CIDR value {text:?} is invalid: use \"{plain}\""));
    }
    if first != address {
        return Some(format!(
            "{path}: CIDR value {text:?} is ambiguous in this context (should be \"{plain}\" or \"{address}/{}\"?)",
            if address.is_ipv4() { 32 } else { 128 }
        ));
    }
    (address.is_ipv6() && plain != text).then(|| {
        format!("{path}: IPv6 CIDR value {text:?} should be in RFC 5952 canonical format (\"{plain}\")")
    })
}

/// An address and a port, IPv6 in brackets.
pub fn with_port(ip: &str, port: i64) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(of: fn(&str, &FieldPath) -> Vec<FieldError>, cases: &[(&str, &str)]) {
        for (text, expected) in cases {
            let errors = of(text, &FieldPath::new("ip"));
            let details: Vec<String> = errors.into_iter().map(|error| error.detail).collect();
            assert_eq!(details.join("; "), *expected, "{text}");
        }
    }

    #[test]
    fn addresses() {
        check(
            ip,
            &[
                ("10.0.0.1", ""),
                ("2001:DB8::1", ""),
                ("10.0.0.01", "must not have leading 0s"),
                ("::ffff:10.0.0.1", "must not be an IPv4-mapped IPv6 address"),
                ("10.0.0", NOT_AN_IP),
                ("10.0.0.256", NOT_AN_IP),
                ("", NOT_AN_IP),
            ],
        );
        check(
            canonical_ip,
            &[("2001:DB8::1", "must be in canonical form (\"2001:db8::1\")"), ("10.0.0.1", "")],
        );
        check(
            endpoint_ip,
            &[
                ("127.0.0.1", "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
                ("0.0.0.0", "may not be unspecified (0.0.0.0)"),
                ("fe80::1", "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
                ("224.0.0.9", "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
                ("x", "must be a valid IP address"),
            ],
        );
    }

    #[test]
    fn networks() {
        check(
            cidr,
            &[
                ("10.0.0.0/8", ""),
                ("0.0.0.0/0", ""),
                ("10.0.0.1/8", "must not have bits set beyond the prefix length"),
                ("010.0.0.0/8", "must not have leading 0s in IP or prefix length"),
                ("10.0.0.0/08", "must not have leading 0s in IP or prefix length"),
                ("10.0.0.0/33", NOT_A_CIDR),
                ("10.0.0.0", NOT_A_CIDR),
            ],
        );
    }
}
