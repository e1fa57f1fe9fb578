//! What two servers cannot have alike: identities, times, revisions, addresses.
//!
//! An identity is not struck out but paired: once the reference's uid A stood where ours had B, A and B mean
//! the same, and whoever says A elsewhere must be answered with B. So it shows when an update changes a uid,
//! or a request that changes nothing makes a new revision.

use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;

use regex::Regex;

/// What kind of thing a masked piece of text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A UUID.
    Uid,
    /// An object's resourceVersion.
    Revision,
    /// An allocated cluster IP.
    Address,
    /// A name that the server made up.
    Name,
    /// A moment around now; the precision must be the same, the moment need not.
    Time,
    /// Anything else that only must be there.
    Opaque,
}

impl Kind {
    fn is_identity(self) -> bool {
        !matches!(self, Self::Time | Self::Opaque)
    }
}

/// Which of the reference's identities is which of ours.
#[derive(Debug, Default)]
pub struct Pairs {
    ours: HashMap<(Kind, String), String>,
    reference: HashMap<(Kind, String), String>,
}

impl Pairs {
    /// Whether the two mean the same, which is so from now on if neither was seen before.
    pub fn pair(&mut self, kind: Kind, reference: &str, ours: &str) -> bool {
        if !kind.is_identity() {
            return true;
        }
        let forth = self.ours.get(&(kind, reference.to_owned()));
        let back = self.reference.get(&(kind, ours.to_owned()));
        match (forth, back) {
            (None, None) => {
                self.ours.insert((kind, reference.to_owned()), ours.to_owned());
                self.reference.insert((kind, ours.to_owned()), reference.to_owned());
                true
            }
            (Some(known), _) => known == ours,
            (None, Some(_)) => false,
        }
    }
}

static PIECES: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r#"(?x)
        (?P<uid>\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b)
        | (?P<time>\b20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d))
        | (?P<address>\b10\.(9[6-9]|10\d|11[01])\.\d{1,3}\.\d{1,3}\b)
        | (?P<port>:3[0-2]\d{3}/)
        | (?P<token>\beyJ[\w-]+\.[\w-]+\.[\w-]+)
        | (?P<server>\b(127\.0\.0\.1|192\.0\.2\.1|localhost):\d{4,5}\b)
        | (?P<name>\bkube-api-access-[a-z0-9]{5}\b)
        | (?P<digest>SHA256=[0-9a-f]{64}\b)
        | (?P<revision>
            (resource\ version:\ |ResourceVersion\ in\ (precondition|object\ meta):\ |current:\ )\d+(\ \(\d+\))?
            | ResourceVersion\ in\ (the\ precondition|record)\ \(\d+\)
            | \\?"resourceVersion\\?":\\?"\d+
            | odePort\\?":\d{5}\b
            | heckNodePort\\?":\d{5}\b)
        "#,
    )
    .expect("a valid pattern")
});

const NAMES: [&str; 9] = ["uid", "time", "address", "port", "token", "server", "name", "digest", "revision"];

static AGE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^(\d+[ydhms])+( ago)?$").expect("a valid pattern"));

/// `text` cut into what must be equal and what must only mean the same.
///
/// Moments before `since` (`YYYY-MM-DD`) were given by the exchange and are compared as they are.
pub fn cut<'t>(text: &'t str, since: &str) -> (String, Vec<(Kind, &'t str)>) {
    let mut skeleton = String::with_capacity(text.len());
    let mut pieces = Vec::new();
    let mut end = 0;
    for found in PIECES.captures_iter(text) {
        let Some((name, piece)) = NAMES.into_iter().find_map(|name| Some((name, found.name(name)?))) else {
            continue;
        };
        let kind = match name {
            "uid" => Kind::Uid,
            "time" if piece.as_str() < since => continue,
            "time" => Kind::Time,
            "address" => Kind::Address,
            "name" => Kind::Name,
            _ => Kind::Opaque,
        };
        skeleton.push_str(text.get(end..piece.start()).unwrap_or_default());
        // A time's length stays: seconds and microseconds differ.
        match kind {
            Kind::Time => skeleton.push_str(&format!("<time {}>", piece.len())),
            _ => skeleton.push_str(&format!("<{name}>")),
        }
        pieces.push((kind, piece.as_str().trim_matches([':', '/'])));
        end = piece.end();
    }
    skeleton.push_str(text.get(end..).unwrap_or_default());
    (skeleton, pieces)
}

/// What the string or number at `path` is by where it stands, if that says all.
///
/// `parent` tells whether a resourceVersion is a list's (which counts writes that are none of ours).
pub fn by_place(path: &str, of_list: bool) -> Option<Kind> {
    let key = path.rsplit('.').next().unwrap_or_default();
    match key {
        // What a migration says of another kind's list.
        "resourceVersion" if path.ends_with("status.resourceVersion") => None,
        "resourceVersion" if of_list => Some(Kind::Opaque),
        "resourceVersion" => Some(Kind::Revision),
        "continue" | "serverAddress" => Some(Kind::Opaque),
        // A port of a dry run is given out again, by ours or by the reference, to whom chance will have it.
        "nodePort" | "healthCheckNodePort" => Some(Kind::Opaque),
        _ => None,
    }
}

/// Whether `text` is a time that has passed, as tables tell it.
pub fn is_age(text: &str) -> bool {
    AGE.is_match(text)
}

/// `text` with the names cut out that the server made of one of `prefixes`, and those names.
pub fn cut_names(text: &str, prefixes: &BTreeSet<String>) -> (String, Vec<String>) {
    let (mut text, mut names) = (text.to_owned(), Vec::new());
    for prefix in prefixes {
        let mut from = 0;
        while let Some(found) = text.get(from..).and_then(|rest| rest.find(prefix.as_str())) {
            let suffix = from + found + prefix.len();
            from = suffix;
            if let Some(letters) = text.get(suffix..suffix + 5).filter(|letters| is_random(letters)) {
                names.push(format!("{prefix}{letters}"));
                text.replace_range(suffix..suffix + 5, "<...>");
            }
        }
    }
    (text, names)
}

/// Whether these are letters that upstream makes random names of.
fn is_random(letters: &str) -> bool {
    letters.bytes().all(|byte| b"bcdfghjklmnpqrstvwxz2456789".contains(&byte))
}

#[test]
fn pairs() {
    let mut pairs = Pairs::default();
    let mut check = |reference: &str, ours: &str, expected: bool| {
        assert_eq!(pairs.pair(Kind::Uid, reference, ours), expected, "{reference} {ours}");
    };
    check("a", "b", true);
    check("a", "b", true);
    check("a", "c", false);
    check("d", "b", false);
}

#[test]
fn pieces() {
    let check = |text: &str, expected: &str| {
        assert_eq!(cut(text, "2026-01-01").0, expected);
    };
    check("uid 01234567-89ab-cdef-0123-456789abcdef!", "uid <uid>!");
    check("2026-11-24T05:58:34Z 2020-11-24T05:58:34Z", "<time 20> 2020-11-24T05:58:34Z");
    check("80:31234/TCP on 10.96.0.1", "80<port>TCP on <address>");
    check(r#"{\"resourceVersion\":\"7\"}"#, r#"{<revision>\"}"#);
    check(r#"{\"nodePort\":31234,"#, r#"{\"n<revision>,"#);
    check("too old resource version: 1 (20)", "too old <revision>");
}

#[test]
fn generated_names() {
    let prefixes = BTreeSet::from(["web-".to_owned()]);
    let check = |text: &str, expected: &str| assert_eq!(cut_names(text, &prefixes).0, expected);
    check("Pod \"web-x2bcd\" is not web-aaaaa or web-", "Pod \"web-<...>\" is not web-aaaaa or web-");
    check("", "");
}
