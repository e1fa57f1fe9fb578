//! Formats of names and values: what Kubernetes lets them be.
//!
//! Each function gives what is wrong with a text, in upstream's words and
//! order; nothing when it is good. The source of the rules is
//! k8s.io/apimachinery's `util/validation` and `api/validate/content`.

mod address;

pub use address::{cidr, cidr_lenient, interface_address, ip, ip_lenient, parse_cidr, parse_ip};

const LABEL_LENGTH: usize = 63;
const SUBDOMAIN_LENGTH: usize = 253;

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const LABEL_ERROR: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character";
const SUBDOMAIN: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const SUBDOMAIN_ERROR: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
const CASELESS_ERROR: &str = "an RFC 1123 subdomain must consist of alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
const UNDERSCORE: &str = r"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*";
const UNDERSCORE_ERROR: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character";
const WILDCARD: &str = r"\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const WILDCARD_ERROR: &str = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character";
const RFC1035: &str = "[a-z]([-a-z0-9]*[a-z0-9])?";
const RFC1035_ERROR: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character";
const KEY: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const KEY_ERROR: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
const VALUE: &str = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?";
const VALUE_ERROR: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
const IDENTIFIER_ERROR: &str = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_'";
const ENV_ERROR: &str = "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or '.', and must not start with a digit";
const RELAXED_ENV_ERROR: &str =
    "a valid environment variable name must consist only of printable ASCII characters other than '='";
const CONFIG_KEY_ERROR: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
const INTEGER_ERROR: &str = "must be a valid decimal integer in canonical form";
const NON_EMPTY: &str = "must be non-empty";

/// `must be no more than N characters`
pub fn max_length(length: usize) -> String {
    format!("must be no more than {length} characters")
}

/// `must be between LOW and HIGH, inclusive`
pub fn inclusive_range(low: i64, high: i64) -> String {
    format!("must be between {low} and {high}, inclusive")
}

/// What a text that does not match `regex` is told, with examples of good ones.
pub fn mismatch(message: &str, regex: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{message} (regex used for validation is '{regex}')");
    }
    let examples: Vec<String> = examples.iter().map(|it| format!("'{it}', ")).collect();
    format!("{message} (e.g. {}regex used for validation is '{regex}')", examples.join(" or "))
}

fn max_bytes(length: usize) -> String {
    format!("must be no more than {length} bytes")
}

// Begins and ends with `edge`, and has only `inner` between.
fn framed(text: &str, edge: impl Fn(u8) -> bool, inner: impl Fn(u8) -> bool) -> bool {
    match text.as_bytes() {
        [] => false,
        [one] => edge(*one),
        [first, middle @ .., last] => edge(*first) && edge(*last) && middle.iter().all(|c| inner(*c)),
    }
}

fn lower(c: u8) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

fn is_label(text: &str) -> bool {
    framed(text, lower, |c| lower(c) || c == b'-')
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label)
}

fn is_label_key(text: &str) -> bool {
    framed(text, |c| c.is_ascii_alphanumeric(), |c| c.is_ascii_alphanumeric() || b"-_.".contains(&c))
}

/// A DNS label (RFC 1123).
pub fn dns1123_label(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > LABEL_LENGTH {
        errors.push(max_length(LABEL_LENGTH));
    }
    if !is_label(text) {
        errors.push(if is_subdomain(text) {
            "must not contain dots".to_owned()
        } else {
            mismatch(LABEL_ERROR, LABEL, &["my-name", "123-abc"])
        });
    }
    errors
}

/// A DNS subdomain (RFC 1123), what most names must be.
pub fn dns1123_subdomain(text: &str) -> Vec<String> {
    subdomain(text, is_subdomain, max_length, || mismatch(SUBDOMAIN_ERROR, SUBDOMAIN, &["example.com"]))
}

/// The same, with upper case letters allowed.
pub fn dns1123_subdomain_caseless(text: &str) -> Vec<String> {
    let good = |text: &str| is_subdomain(&text.to_ascii_lowercase());
    subdomain(text, good, max_bytes, || mismatch(CASELESS_ERROR, SUBDOMAIN, &["Example.com"]))
}

/// The same, with underscores.
pub fn dns1123_subdomain_with_underscore(text: &str) -> Vec<String> {
    let label = |label: &str| {
        framed(label.strip_prefix('_').unwrap_or(label), lower, |c| lower(c) || c == b'-' || c == b'_')
    };
    let good = |text: &str| text.split('.').all(label);
    subdomain(text, good, max_length, || mismatch(UNDERSCORE_ERROR, UNDERSCORE, &["example.com"]))
}

/// `*.example.com`
pub fn wildcard_dns1123_subdomain(text: &str) -> Vec<String> {
    let good = |text: &str| text.strip_prefix("*.").is_some_and(is_subdomain);
    subdomain(text, good, max_length, || mismatch(WILDCARD_ERROR, WILDCARD, &["*.example.com"]))
}

fn subdomain(
    text: &str,
    good: impl Fn(&str) -> bool,
    too_long: fn(usize) -> String,
    bad: impl Fn() -> String,
) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > SUBDOMAIN_LENGTH {
        errors.push(too_long(SUBDOMAIN_LENGTH));
    }
    if !good(text) {
        errors.push(bad());
    }
    errors
}

/// A DNS label (RFC 1035), which starts with a letter.
pub fn dns1035_label(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > LABEL_LENGTH {
        errors.push(max_length(LABEL_LENGTH));
    }
    if !is_label(text) || !text.starts_with(|c: char| c.is_ascii_lowercase()) {
        errors.push(mismatch(RFC1035_ERROR, RFC1035, &["my-name", "abc-123"]));
    }
    errors
}

/// A qualified name, which is what label and annotation keys are:
/// `example.com/name` or `name`.
pub fn qualified_name(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    let bad = || mismatch(KEY_ERROR, KEY, &["MyName", "my.name", "123-abc"]);
    let mut parts = text.split('/');
    let (first, second) = (parts.next().unwrap_or_default(), parts.next());
    if parts.next().is_some() {
        let optional = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
        return vec![format!("a valid label key {} {optional}", bad())];
    }
    let name = second.unwrap_or(first);
    if second.is_some() {
        if first.is_empty() {
            errors.push(format!("prefix part {NON_EMPTY}"));
        } else {
            let bad = || mismatch(SUBDOMAIN_ERROR, SUBDOMAIN, &["example.com"]);
            let found = subdomain(first, is_subdomain, max_bytes, bad);
            errors.extend(found.iter().map(|it| format!("prefix part {it}")));
        }
    }
    if name.is_empty() {
        errors.push(format!("name part {NON_EMPTY}"));
    } else if name.len() > LABEL_LENGTH {
        errors.push(format!("name part {}", max_bytes(LABEL_LENGTH)));
    }
    if !is_label_key(name) {
        errors.push(format!("name part {}", bad()));
    }
    errors
}

/// A qualified name with a prefix: `example.com/name`.
pub fn prefixed_label_key(text: &str) -> Vec<String> {
    let errors = qualified_name(text);
    if errors.is_empty() && !text.contains('/') {
        return vec!["must include a prefix (e.g. 'example.com/key')".to_owned()];
    }
    errors
}

/// The value of a label.
pub fn label_value(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > LABEL_LENGTH {
        errors.push(max_bytes(LABEL_LENGTH));
    }
    if !text.is_empty() && !is_label_key(text) {
        errors.push(mismatch(VALUE_ERROR, VALUE, &["MyValue", "my_value", "12345"]));
    }
    errors
}

/// An identifier of C.
pub fn c_identifier(text: &str) -> Vec<String> {
    let good = !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_');
    let error = || mismatch(IDENTIFIER_ERROR, "[A-Za-z_][A-Za-z0-9_]*", &["my_name", "MY_NAME", "MyName"]);
    if good { Vec::new() } else { vec![error()] }
}

/// The name of an environment variable in the strict form: what the keys of an
/// `envFrom` source once had to be.
pub fn env_var_name_strict(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    let good = !text.starts_with(|c: char| c.is_ascii_digit()) && is_config_key(text);
    if !good {
        let examples = ["my.env-name", "MY_ENV.NAME", "MyEnvName1"];
        errors.push(mismatch(ENV_ERROR, "[-._a-zA-Z][-._a-zA-Z0-9]*", &examples));
    }
    errors.extend(dots(text));
    errors
}

/// The name of an environment variable: any printable ASCII but `=`.
pub fn env_var_name(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.is_empty() {
        errors.push(format!("environment variable name {NON_EMPTY}"));
    }
    if !text.bytes().all(|c| (b' '..=b'~').contains(&c) && c != b'=') {
        errors.push(RELAXED_ENV_ERROR.to_owned());
    }
    errors
}

/// A key of a ConfigMap or Secret.
pub fn config_map_key(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > SUBDOMAIN_LENGTH {
        errors.push(max_length(SUBDOMAIN_LENGTH));
    }
    if !is_config_key(text) {
        errors.push(mismatch(CONFIG_KEY_ERROR, "[-._a-zA-Z0-9]+", &["key.name", "KEY_NAME", "key-name"]));
    }
    errors.extend(dots(text));
    errors
}

fn is_config_key(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"-._".contains(&c))
}

// Names that would leave the folder they are put in.
fn dots(text: &str) -> Option<String> {
    match text {
        "." => Some("must not be '.'".to_owned()),
        ".." => Some("must not be '..'".to_owned()),
        _ if text.starts_with("..") => Some("must not start with '..'".to_owned()),
        _ => None,
    }
}

/// The name of a port (RFC 6335).
pub fn port_name(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    let mut unless = |good: bool, message: &str| {
        if !good {
            errors.push(message.to_owned());
        }
    };
    unless(text.len() <= 15, "must be no more than 15 characters");
    let charset = !text.is_empty() && text.bytes().all(|c| lower(c) || c == b'-');
    unless(charset, "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)");
    unless(text.bytes().any(|c| c.is_ascii_lowercase()), "must contain at least one letter (a-z)");
    unless(!text.contains("--"), "must not contain consecutive hyphens");
    let edges = text.starts_with('-') || text.ends_with('-');
    unless(!edges, "must not begin or end with a hyphen");
    errors
}

/// A port number.
pub fn port_number(port: i64) -> Vec<String> {
    in_range(port, 1, 65535)
}

/// A Unix user or group id.
pub fn user_id(id: i64) -> Vec<String> {
    in_range(id, 0, i64::from(i32::MAX))
}

/// A number in an inclusive range.
pub fn in_range(value: i64, low: i64, high: i64) -> Vec<String> {
    if (low..=high).contains(&value) { Vec::new() } else { vec![inclusive_range(low, high)] }
}

/// `25%`
pub fn percent(text: &str) -> Vec<String> {
    let digits = text.strip_suffix('%').unwrap_or_default();
    if !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit()) {
        return Vec::new();
    }
    let message = "a valid percent string must be a numeric string followed by an ending '%'";
    vec![mismatch(message, "[0-9]+%", &["1%", "93%"])]
}

/// The name of an HTTP header.
pub fn http_header_name(text: &str) -> Vec<String> {
    if !text.is_empty() && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-') {
        return Vec::new();
    }
    let message = "a valid HTTP header must consist of alphanumeric characters or '-'";
    vec![mismatch(message, "[-A-Za-z0-9]+", &["X-Header-Name"])]
}

/// A decimal integer as people write it: no sign but `-`, no leading zeros.
pub fn decimal_integer(text: &str) -> Vec<String> {
    if text.is_empty() {
        return vec![NON_EMPTY.to_owned()];
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    let good = text == "0"
        || (!digits.is_empty() && !digits.starts_with('0') && digits.bytes().all(|c| c.is_ascii_digit()));
    if good { Vec::new() } else { vec![INTEGER_ERROR.to_owned()] }
}

/// A name that can stand between the slashes of a path.
pub fn path_segment_name(text: &str) -> Vec<String> {
    match text {
        "." | ".." => vec![format!("may not be '{text}'")],
        _ => path_segment_prefix(text),
    }
}

/// The beginning of such a name.
pub fn path_segment_prefix(text: &str) -> Vec<String> {
    let found = ["/", "%"].into_iter().filter(|it| text.contains(it));
    found.map(|it| format!("may not contain '{it}'")).collect()
}

/// An object's name that is a subdomain; `prefix` for the part that
/// `generateName` gives, which may end in a dash.
pub fn name_is_subdomain(name: &str, prefix: bool) -> Vec<String> {
    dns1123_subdomain(&masked(name, prefix))
}

/// An object's name that is a label (RFC 1123).
pub fn name_is_label(name: &str, prefix: bool) -> Vec<String> {
    dns1123_label(&masked(name, prefix))
}

/// An object's name that is a label (RFC 1035).
pub fn name_is_dns1035_label(name: &str, prefix: bool) -> Vec<String> {
    dns1035_label(&masked(name, prefix))
}

/// An object's name that only has to fit into a path.
pub fn name_is_path_segment(name: &str, prefix: bool) -> Vec<String> {
    if prefix { path_segment_prefix(name) } else { path_segment_name(name) }
}

// A dash at the end of a prefix is followed by something: it is judged as a
// letter. As upstream does it, the character before goes with it.
fn masked(name: &str, prefix: bool) -> std::borrow::Cow<'_, str> {
    let cut = name.len().checked_sub(2).and_then(|end| name.get(..end));
    match cut {
        Some(head) if prefix && name.ends_with('-') => format!("{head}a").into(),
        _ => name.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rule: fn(&str) -> Vec<String>, table: &[(&str, &[&str])]) {
        for (text, expected) in table {
            assert_eq!(&rule(text), expected, "{text:?}");
        }
    }

    #[test]
    fn dns_names() {
        let label = mismatch(LABEL_ERROR, LABEL, &["my-name", "123-abc"]);
        let long = "a".repeat(64);
        check(
            dns1123_label,
            &[
                ("a", &[]),
                ("1-a", &[]),
                ("a.b", &["must not contain dots"]),
                ("", &[&label]),
                ("a-", &[&label]),
                ("A", &[&label]),
                (&long, &["must be no more than 63 characters"]),
            ],
        );
        let subdomain = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or \
            '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for \
            validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
        let long = "a".repeat(254);
        check(
            dns1123_subdomain,
            &[
                ("a.b-c.1", &[]),
                ("a..b", &[subdomain]),
                ("", &[subdomain]),
                ("a\n", &[subdomain]),
                (&long, &["must be no more than 253 characters"]),
            ],
        );
        let rfc1035 = mismatch(RFC1035_ERROR, RFC1035, &["my-name", "abc-123"]);
        check(dns1035_label, &[("a1-b", &[]), ("1a", &[&rfc1035]), ("a.b", &[&rfc1035]), ("", &[&rfc1035])]);
        let wildcard = mismatch(WILDCARD_ERROR, WILDCARD, &["*.example.com"]);
        check(wildcard_dns1123_subdomain, &[("*.a", &[]), ("*a", &[&wildcard]), ("*.*.a", &[&wildcard])]);
        let underscore = mismatch(UNDERSCORE_ERROR, UNDERSCORE, &["example.com"]);
        check(
            dns1123_subdomain_with_underscore,
            &[("_a._b_c", &[]), ("a_", &[&underscore]), ("__a", &[&underscore])],
        );
        check(dns1123_subdomain_caseless, &[("Example.COM", &[])]);
    }

    #[test]
    fn labels() {
        let name = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with \
            an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
            '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
        let slashes = format!(
            "{} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
            name.replace("name part", "a valid label key")
        );
        let long = "a".repeat(64);
        check(
            qualified_name,
            &[
                ("app", &[]),
                ("example.com/My_app.1", &[]),
                ("", &["name part must be non-empty", name]),
                ("/a", &["prefix part must be non-empty"]),
                ("a/b/c", &[&slashes]),
                ("-a", &[name]),
                (&long, &["name part must be no more than 63 bytes"]),
            ],
        );
        let value = mismatch(VALUE_ERROR, VALUE, &["MyValue", "my_value", "12345"]);
        check(
            label_value,
            &[("", &[]), ("a_b", &[]), ("é", &[&value]), (&long, &["must be no more than 63 bytes"])],
        );
        check(
            prefixed_label_key,
            &[("a.b/c", &[]), ("c", &["must include a prefix (e.g. 'example.com/key')"])],
        );
    }

    #[test]
    fn keys_and_variables() {
        let key = mismatch(CONFIG_KEY_ERROR, "[-._a-zA-Z0-9]+", &["key.name", "KEY_NAME", "key-name"]);
        check(
            config_map_key,
            &[
                ("a.b_c-D", &[]),
                (".", &["must not be '.'"]),
                ("..", &["must not be '..'"]),
                ("..a", &["must not start with '..'"]),
                ("a/b", &[&key]),
                ("", &[&key]),
            ],
        );
        check(
            env_var_name,
            &[
                ("1 any!", &[]),
                ("", &["environment variable name must be non-empty"]),
                ("a=b", &[RELAXED_ENV_ERROR]),
                ("é", &[RELAXED_ENV_ERROR]),
            ],
        );
        let strict =
            mismatch(ENV_ERROR, "[-._a-zA-Z][-._a-zA-Z0-9]*", &["my.env-name", "MY_ENV.NAME", "MyEnvName1"]);
        check(env_var_name_strict, &[("my.env-name", &[]), ("1a", &[&strict]), ("", &[&strict])]);
        assert!(c_identifier("_a1").is_empty());
        assert!(c_identifier("1a")[0].starts_with("a valid C identifier"));
    }

    #[test]
    fn ports_numbers_and_paths() {
        let charset = "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)";
        let letter = "must contain at least one letter (a-z)";
        check(
            port_name,
            &[
                ("http", &[]),
                ("", &[charset, letter]),
                (
                    "-1--2",
                    &[letter, "must not contain consecutive hyphens", "must not begin or end with a hyphen"],
                ),
                ("a234567890123456", &["must be no more than 15 characters"]),
            ],
        );
        assert_eq!(port_number(0), ["must be between 1 and 65535, inclusive"]);
        check(
            decimal_integer,
            &[
                ("0", &[]),
                ("-5", &[]),
                ("", &["must be non-empty"]),
                ("-0", &[INTEGER_ERROR]),
                ("01", &[INTEGER_ERROR]),
                ("-", &[INTEGER_ERROR]),
            ],
        );
        check(
            path_segment_name,
            &[
                ("a:b", &[]),
                ("..", &["may not be '..'"]),
                ("%/", &["may not contain '/'", "may not contain '%'"]),
            ],
        );
        assert!(percent("5%").is_empty());
        assert_eq!(percent("5").len(), 1);
        assert_eq!(http_header_name("a b").len(), 1);
    }

    #[test]
    fn prefixes_may_end_in_a_dash() {
        assert!(name_is_subdomain("web-", true).is_empty());
        assert_eq!(name_is_subdomain("web-", false).len(), 1);
        assert_eq!(name_is_label("-", true).len(), 1);
        assert!(name_is_dns1035_label("é-", true).len() == 1);
    }
}
