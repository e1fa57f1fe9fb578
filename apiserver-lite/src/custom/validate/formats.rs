//! The formats of texts that CRDs may ask for: upstream's list, read as
//! loosely or strictly as its library does.

use coracle_api::{format, stamp::parse_duration};
use regex::Regex;

/// Whether a text has the format. One that is not known is not checked.
pub fn matches(format: &str, text: &str) -> bool {
    let fits = |pattern: &str| Regex::new(pattern).is_ok_and(|it| it.is_match(text));
    match format.replace('-', "").as_str() {
        "bsonobjectid" => text.len() == 24 && text.bytes().all(|it| it.is_ascii_hexdigit()),
        "uri" => uri(text),
        "email" => email(text),
        "hostname" => hostname(text),
        "ipv4" => format::parse_ip(text).is_some_and(|it| it.is_ipv4()) && !text.contains(':'),
        "ipv6" => format::parse_ip(text).is_some() && text.contains(':'),
        "cidr" => format::parse_cidr(text).is_some(),
        "mac" => mac(text),
        "uuid" => uuid(text, None),
        "uuid3" => uuid(text, Some('3')),
        "uuid4" => uuid(text, Some('4')),
        "uuid5" => uuid(text, Some('5')),
        "isbn" => isbn10(text) || isbn13(text),
        "isbn10" => isbn10(text),
        "isbn13" => isbn13(text),
        "creditcard" => credit_card(text),
        "ssn" => text.len() == 11 && fits(r"^\d{3}[- ]?\d{2}[- ]?\d{4}$"),
        "hexcolor" => fits("^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$"),
        "rgbcolor" => fits(RGB),
        "byte" => fits(r"^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})$"),
        "date" => date(text),
        "datetime" => date_time(text),
        "duration" => duration(text),
        "k8sshortname" => format::dns1123_label(text).is_empty(),
        "k8slongname" => format::dns1123_subdomain(text).is_empty(),
        _ => true,
    }
}

const RGB: &str = r"^rgb\(\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*,\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*,\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*\)$";

// What Go's url.ParseRequestURI takes: an absolute URI or an absolute path.
fn uri(text: &str) -> bool {
    if text.is_empty() || text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
        return false;
    }
    if !escapes(text) {
        return false;
    }
    if text.starts_with('/') {
        return true;
    }
    let Some((scheme, rest)) = text.split_once(':') else { return text == "*" };
    let named = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    if !named {
        return false;
    }
    let Some(authority) = rest.strip_prefix("//") else { return true };
    let host = authority.split(['/', '?']).next().unwrap_or_default();
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let port = match (host.rfind(']'), host.rfind(':')) {
        (Some(bracket), Some(colon)) if colon > bracket => host.get(colon + 1..),
        (None, Some(colon)) => host.get(colon + 1..),
        _ => None,
    };
    !host.contains([' ', '<', '>', '"', '{', '}', '|', '\\', '^', '`'])
        && port.is_none_or(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
}

fn escapes(text: &str) -> bool {
    text.split('?')
        .next()
        .unwrap_or_default()
        .split('%')
        .skip(1)
        .all(|rest| rest.len() >= 2 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit()))
}

// What Go's mail.ParseAddress takes, as far as people write it.
fn email(text: &str) -> bool {
    let text = text.trim();
    let address = match (text.rfind('<'), text.strip_suffix('>')) {
        (Some(open), Some(rest)) => rest.get(open + 1..).unwrap_or_default(),
        (None, None) => text,
        _ => return false,
    };
    let Some((local, domain)) = address.rsplit_once('@') else { return false };
    let atom = |part: &str| {
        !part.is_empty()
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || !c.is_ascii())
    };
    let dotted = |text: &str| text.split('.').all(atom);
    let quoted = local.len() > 2 && local.starts_with('"') && local.ends_with('"');
    let literal = domain.starts_with('[') && domain.ends_with(']');
    (quoted || dotted(local)) && (literal || dotted(domain))
}

fn hostname(text: &str) -> bool {
    const PATTERN: &str = r"^([a-zA-Z0-9\p{S}\p{L}]((-?[a-zA-Z0-9\p{S}\p{L}]{0,62})?)|([a-zA-Z0-9\p{S}\p{L}](([a-zA-Z0-9-\p{S}\p{L}]{0,61}[a-zA-Z0-9\p{S}\p{L}])?)(\.)){1,}([a-zA-Z\p{L}]){2,63})$";
    text.len() <= 255
        && text.split('.').all(|part| part.len() <= 63)
        && Regex::new(PATTERN).is_ok_and(|it| it.is_match(text))
}

fn mac(text: &str) -> bool {
    let hex =
        |part: &str, digits: usize| part.len() == digits && part.bytes().all(|it| it.is_ascii_hexdigit());
    let of = |separator: char, digits: usize, counts: &[usize]| {
        let parts: Vec<&str> = text.split(separator).collect();
        counts.contains(&parts.len()) && parts.iter().all(|part| hex(part, digits))
    };
    of(':', 2, &[6, 8, 20]) || of('-', 2, &[6, 8, 20]) || of('.', 4, &[3, 4, 10])
}

fn uuid(text: &str, version: Option<char>) -> bool {
    let parts: [usize; 5] = [8, 4, 4, 4, 12];
    let mut rest = text;
    let mut groups = Vec::new();
    for (index, length) in parts.into_iter().enumerate() {
        if index > 0 {
            rest = rest.strip_prefix('-').unwrap_or(rest);
        }
        let Some((group, after)) = rest.split_at_checked(length) else { return false };
        if !group.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return false;
        }
        groups.push(group);
        rest = after;
    }
    let versioned = |wanted: char| {
        let variant = |it: &str| it.starts_with(['8', '9', 'a', 'b', 'A', 'B']);
        groups.get(2).is_some_and(|it| it.starts_with(wanted))
            && (wanted == '3' || groups.get(3).is_some_and(|it| variant(it)))
    };
    rest.is_empty() && version.is_none_or(versioned)
}

fn digits(text: &str) -> Vec<u32> {
    text.chars().filter_map(|c| c.to_digit(10)).collect()
}

fn bare(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace() && *c != '-').collect()
}

fn isbn10(text: &str) -> bool {
    let text = bare(text);
    let Some((body, check)) = text.split_at_checked(9).filter(|(_, check)| check.len() == 1) else {
        return false;
    };
    let body = digits(body);
    let check = match check {
        "X" => Some(10),
        digit => digit.parse::<u32>().ok(),
    };
    let sum: u32 = body.iter().zip(1..).map(|(digit, weight)| digit * weight).sum();
    body.len() == 9 && check.is_some_and(|check| (sum + 10 * check).is_multiple_of(11))
}

fn isbn13(text: &str) -> bool {
    let text = bare(text);
    let all = digits(&text);
    if all.len() != 13 || text.len() != 13 {
        return false;
    }
    let sum: u32 = all.iter().zip([1, 3].into_iter().cycle()).map(|(digit, weight)| digit * weight).sum();
    sum.is_multiple_of(10)
}

fn credit_card(text: &str) -> bool {
    const PATTERN: &str = r"^(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35\d{3})\d{11})$";
    let digits = digits(text);
    let plain: String = digits.iter().map(u32::to_string).collect();
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(index, digit)| match (index % 2, digit * 2) {
            (0, _) => *digit,
            (_, doubled) if doubled >= 10 => doubled % 10 + 1,
            (_, doubled) => doubled,
        })
        .sum();
    sum.is_multiple_of(10) && Regex::new(PATTERN).is_ok_and(|it| it.is_match(&plain))
}

fn date(text: &str) -> bool {
    text.len() == 10 && text.is_ascii() && jiff::civil::Date::strptime("%Y-%m-%d", text).is_ok()
}

fn date_time(text: &str) -> bool {
    let text = text.to_lowercase();
    let mut parts = text.split('t');
    let (Some(day), Some(time)) = (parts.next(), parts.next()) else { return false };
    let Ok(pattern) = Regex::new(r"^([0-9]{2}):([0-9]{2}):([0-9]{2})(.[0-9]+)?(z|([+-][0-9]{2}:[0-9]{2}))$")
    else {
        return false;
    };
    let Some(found) = pattern.captures(time) else { return false };
    date(day) && &found[1] <= "23" && &found[2] <= "59" && &found[3] <= "59"
}

// Go's durations, and those of Scala: `3 days`.
fn duration(text: &str) -> bool {
    if parse_duration(text).is_ok() {
        return true;
    }
    const SHORT: &[&str] = &["ns", "us", "µs", "ms", "s", "m", "h", "hr", "d", "w", "wk"];
    const LONG: &[&str] = &["nano", "micro", "milli", "sec", "min", "hour", "day", "week"];
    let Ok(pattern) = Regex::new(r"(\d+)\s*([A-Za-zµ]+)") else { return false };
    pattern.captures_iter(text).any(|found| {
        let unit = found[2].to_lowercase();
        found[1].parse::<i64>().is_ok()
            && (SHORT.contains(&unit.as_str()) || LONG.iter().any(|long| unit.starts_with(long)))
    })
}
