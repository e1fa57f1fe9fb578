//! Where two answers differ.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use crate::exchange::{Exchange, Part};
use crate::mask::{self, Kind, Pairs};
use crate::side::{Answer, Body};

/// One place where ours is not as the reference's.
#[derive(Clone, Debug)]
pub struct Difference {
    /// `status`, `header NAME`, `layout`, or the path in the body: `.items[0].metadata.name`.
    pub at: String,
    /// What the reference has there.
    pub reference: String,
    /// What ours has.
    pub ours: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n      reference: {}\n      ours:      {}", self.at, self.reference, self.ours)
    }
}

/// Compares answers, exchange after exchange.
pub struct Comparison {
    pairs: Pairs,
    /// `YYYY-MM-DD`: a time before it is not masked.
    since: String,
    /// What servers were asked to make names of.
    prefixes: BTreeSet<String>,
    found: Vec<Difference>,
}

impl Comparison {
    /// Begins, on the day `since`.
    pub fn new(since: String) -> Self {
        Self { pairs: Pairs::default(), since, prefixes: BTreeSet::new(), found: Vec::new() }
    }

    /// Where the two answers to `exchange` differ.
    pub fn compare(&mut self, exchange: &Exchange, reference: &Answer, ours: &Answer) -> Vec<Difference> {
        self.found.clear();
        if let Some(prefix) =
            exchange.body.as_ref().and_then(|body| body.pointer("/metadata/generateName")?.as_str())
        {
            // Upstream leaves room for its letters in a name of 63.
            self.prefixes.extend(
                prefix.get(..58).or(Some(prefix)).filter(|prefix| !prefix.is_empty()).map(str::to_owned),
            );
        }
        if let Some(failure) = &ours.failure {
            self.differ("answer", &failure_or_ok(&reference.failure), failure);
            return std::mem::take(&mut self.found);
        }
        if exchange.compares(Part::Status) && reference.status != ours.status {
            self.differ("status", &reference.status.to_string(), &ours.status.to_string());
        }
        if exchange.compares(Part::Headers) {
            let names: BTreeSet<&String> = reference.headers.keys().chain(ours.headers.keys()).collect();
            for name in names {
                let of = |answer: &Answer| answer.headers.get(name).cloned().unwrap_or("(none)".into());
                self.text(&format!("header {name}"), &of(reference), &of(ours));
            }
        }
        if exchange.compares(Part::Body) {
            self.body(exchange, &reference.body, &ours.body);
            if exchange.only.is_empty() && reference.layout != ours.layout {
                self.differ("layout", &reference.layout, &ours.layout);
            }
        }
        std::mem::take(&mut self.found)
    }

    fn differ(&mut self, at: &str, reference: &str, ours: &str) {
        let common = reference.bytes().zip(ours.bytes()).take_while(|(a, b)| a == b).count();
        self.found.push(Difference {
            at: at.into(),
            reference: brief(reference, common),
            ours: brief(ours, common),
        });
    }

    fn body(&mut self, exchange: &Exchange, reference: &Body, ours: &Body) {
        match (reference, ours) {
            (Body::Tree(a), Body::Tree(b)) if exchange.only.is_empty() => self.value("", a, b, false),
            (Body::Tree(a), Body::Tree(b)) => {
                for pointer in &exchange.only {
                    let [a, b] = [a, b].map(|tree| tree.pointer(pointer).unwrap_or(&Value::Null));
                    self.value(&pointer.replace('/', "."), a, b, false);
                }
            }
            (Body::Text(a), Body::Text(b)) => self.text("body", a, b),
            (Body::Frames { events: a, ended: x }, Body::Frames { events: b, ended: y }) => {
                self.array("", a, b);
                if x != y {
                    self.differ("end of stream", &x.to_string(), &y.to_string());
                }
            }
            (Body::Bytes(_), Body::Bytes(_)) => {}
            (a, b) => self.differ("body", &a.to_string(), &b.to_string()),
        }
    }

    fn value(&mut self, path: &str, a: &Value, b: &Value, of_list: bool) {
        match (a, b) {
            (Value::Object(x), Value::Object(y)) => {
                let of_list = x.contains_key("items")
                    || x.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("List"))
                    || x.contains_key("rows")
                    || x.get("type").is_some_and(|t| t == "BOOKMARK")
                    || (of_list && !x.contains_key("apiVersion"))
                    || (of_list && path.ends_with(".object"));
                let [x, y] = [x, y].map(|fields| self.keyed(fields));
                let keys: BTreeSet<&String> = x.keys().chain(y.keys()).collect();
                for key in keys {
                    let path = format!("{path}.{key}");
                    match (x.get(key), y.get(key)) {
                        (Some((key_a, a)), Some((key_b, b))) => {
                            self.text(&path, key_a, key_b);
                            self.value(&path, a, b, of_list);
                        }
                        (Some((_, a)), None) => self.differ(&path, &a.to_string(), "(none)"),
                        (None, Some((_, b))) => self.differ(&path, "(none)", &b.to_string()),
                        (None, None) => {}
                    }
                }
            }
            (Value::Array(x), Value::Array(y)) => self.array(path, x, y),
            (Value::String(x), Value::String(y)) => self.string(path, x, y, of_list),
            (Value::Number(_), Value::Number(_)) if mask::by_place(path, of_list) == Some(Kind::Opaque) => {}
            (a, b) if a == b => {}
            (a, b) => self.differ(path, &a.to_string(), &b.to_string()),
        }
    }

    /// Fields by what remains of their keys when identities are cut out: owners are keys of managed fields.
    fn keyed<'v>(
        &self,
        fields: &'v serde_json::Map<String, Value>,
    ) -> BTreeMap<String, (&'v str, &'v Value)> {
        let mut keyed = BTreeMap::new();
        for (key, value) in fields {
            let mut skeleton = mask::cut(key, &self.since).0;
            while keyed.contains_key(&skeleton) {
                skeleton.push('\'');
            }
            keyed.insert(skeleton, (key.as_str(), value));
        }
        keyed
    }

    /// By place; where the lengths differ, by what the items call themselves.
    fn array(&mut self, path: &str, a: &[Value], b: &[Value]) {
        // Their order is that of their times, and a second may begin between two requests.
        let sorted = |items: &[Value]| {
            let mut items = items.to_vec();
            items.sort_by_key(|item| {
                ["manager", "operation", "subresource", "apiVersion"].map(|it| item[it].to_string())
            });
            items
        };
        // So is that of errors in what Go keeps in maps.
        let as_errors = |items: &[Value]| {
            let mut items = items.to_vec();
            items.sort_by_key(Value::to_string);
            items
        };
        let by_owner = if path.ends_with(".managedFields") {
            Some([sorted(a), sorted(b)])
        } else if path.ends_with(".causes")
            && a.iter().any(|it| it["message"].as_str().is_some_and(in_any_order))
        {
            Some([as_errors(a), as_errors(b)])
        } else {
            None
        };
        let [a, b] = by_owner.as_ref().map_or([a, b], |[a, b]| [a.as_slice(), b.as_slice()]);
        if a.len() == b.len() {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                self.value(&format!("{path}[{index}]"), a, b, false);
            }
            return;
        }
        self.differ(&format!("{path}.length"), &a.len().to_string(), &b.len().to_string());
        let mut rest: Vec<&Value> = b.iter().collect();
        for (index, item) in a.iter().enumerate() {
            let at = format!("{path}[{index}]");
            match rest.iter().position(|other| label(other) == label(item)) {
                Some(position) => self.value(&at, item, rest.remove(position), false),
                None => self.differ(&at, &item.to_string(), "(none)"),
            }
        }
        for item in rest {
            self.differ(&format!("{path}[+]"), "(none)", &item.to_string());
        }
    }

    fn string(&mut self, path: &str, a: &str, b: &str, of_list: bool) {
        let kind = mask::by_place(path, of_list).filter(|_| !a.is_empty() && !b.is_empty() && a != "0");
        if let Some(kind) = kind {
            if !self.pairs.pair(kind, a, b) {
                self.differ(path, &format!("{a}, seen before beside another"), b);
            }
            return;
        }
        let age = path.contains(".cells[") && mask::is_age(a) && mask::is_age(b);
        if a != b && !age {
            self.text(path, a, b);
        }
    }

    fn text(&mut self, at: &str, a: &str, b: &str) {
        // Go goes through the fields of an object in any order.
        let any_order = a.starts_with("failed to create typed patch object") || in_any_order(a);
        let [whole_a, whole_b] = [a, b].map(without_owners);
        let [a, b] = &[&*whole_a, &*whole_b].map(|text| {
            let mut lines: Vec<&str> = if in_any_order(text) {
                text.split(&[',', '[', ']']).map(str::trim).collect()
            } else {
                text.lines().collect()
            };
            if any_order {
                lines.sort_unstable();
            }
            if any_order { Cow::Owned(lines.join("\n")) } else { Cow::Borrowed(text) }
        });
        let (text_a, names_a) = mask::cut_names(a, &self.prefixes);
        let (text_b, names_b) = mask::cut_names(b, &self.prefixes);
        let (skeleton_a, pieces_a) = mask::cut(&text_a, &self.since);
        let (skeleton_b, pieces_b) = mask::cut(&text_b, &self.since);
        let same = skeleton_a == skeleton_b
            && names_a.iter().zip(&names_b).all(|(a, b)| self.pairs.pair(Kind::Name, a, b))
            && pieces_a.iter().zip(&pieces_b).all(|((kind, a), (_, b))| self.pairs.pair(*kind, a, b));
        if !same {
            self.differ(at, a, b);
        }
    }
}

/// Whether a message is among those that upstream gives in the order of a Go map, which is any: of a metric with several
/// sources, each that should not be there.
fn in_any_order(message: &str) -> bool {
    message.contains("must populate the given metric source only")
}

/// A message without the owners of fields in an object that it quotes: their order is that of their times, and a
/// second may begin between two requests. Where they stand in an object of their own they are compared.
fn without_owners(text: &str) -> Cow<'_, str> {
    const OWNERS: &str = "\\\"managedFields\\\":[";
    let Some(start) = text.find(OWNERS) else { return Cow::Borrowed(text) };
    let list = start + OWNERS.len();
    let mut depth = 1;
    let end = text[list..].find(|c: char| {
        depth += match c {
            '[' => 1,
            ']' => -1,
            _ => 0,
        };
        depth == 0
    });
    match end {
        Some(end) => Cow::Owned(format!("{}{}", &text[..list], &text[list + end..])),
        None => Cow::Borrowed(text),
    }
}

/// What an item of a list is known by.
fn label(item: &Value) -> String {
    let at = |pointer: &str| item.pointer(pointer).map(Value::to_string);
    let name = at("/metadata/name").or_else(|| at("/object/metadata/name")).or_else(|| at("/cells/0"));
    let own = ["/name", "/groupVersion", "/field", "/type", "/key", "/manager"].into_iter().filter_map(at);
    name.into_iter().chain(own).collect::<Vec<_>>().join(" ")
}

fn failure_or_ok(failure: &Option<String>) -> String {
    failure.clone().unwrap_or_else(|| "an answer".into())
}

/// A long text around `at`, the byte at which it begins to differ.
fn brief(text: &str, at: usize) -> String {
    const LIMIT: usize = 500;
    const BEFORE: usize = 60;
    if text.len() <= LIMIT {
        return text.to_owned();
    }
    let boundary = |mut at: usize| {
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let start = boundary(at.saturating_sub(BEFORE).min(text.len()));
    let end = boundary((start + LIMIT).min(text.len()));
    let [before, after] = [start > 0, end < text.len()].map(|cut| if cut { "..." } else { "" });
    format!("{before}{}{after} ({} bytes)", text.get(start..end).unwrap_or_default(), text.len())
}
