//! Sets of field paths, and the form that managedFields keep them in.
//!
//! A set is a tree of path elements in upstream's order. It borrows the names
//! in it from the objects and the managedFields that it was read from.

use std::{borrow::Cow, cmp::Ordering, fmt};

use serde_json::{Map, Value};

/// A step from a value to one in it.
#[derive(Debug, Clone, PartialEq)]
pub enum Element<'a> {
    /// A field of a struct or a key of a map.
    Field(&'a str),
    /// The element of a list whose fields have these values, sorted by name.
    Key(Vec<(Cow<'a, str>, Cow<'a, Value>)>),
    /// The element of a list of scalars.
    Value(Cow<'a, Value>),
    /// The element at an index.
    Index(i64),
}

impl Element<'_> {
    /// Fields stand before keys, keys before values, values before indices.
    pub fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Field(a), Self::Field(b)) => a.cmp(b),
            (Self::Key(a), Self::Key(b)) => {
                let pairs = a.iter().zip(b).map(|((name, value), (other_name, other_value))| {
                    name.cmp(other_name).then_with(|| compare_values(value, other_value))
                });
                pairs.fold(Ordering::Equal, Ordering::then).then(a.len().cmp(&b.len()))
            }
            (Self::Value(a), Self::Value(b)) => compare_values(a, b),
            (Self::Index(a), Self::Index(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Field(_) => 0,
            Self::Key(_) => 1,
            Self::Value(_) => 2,
            Self::Index(_) => 3,
        }
    }

    /// `f:spec`, `k:{"name":"a"}`, `v:"x"`, `i:3`.
    fn encode(&self) -> String {
        match self {
            Self::Field(name) => ["f:", name].concat(),
            Self::Value(value) => ["v:", &json_text(value)].concat(),
            Self::Index(index) => format!("i:{index}"),
            Self::Key(fields) => {
                let mut out = String::from("k:{");
                for (index, (name, value)) in fields.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    out.push_str(&json_text(&Value::String(name.to_string())));
                    out.push(':');
                    out.push_str(&json_text(value));
                }
                out.push('}');
                out
            }
        }
    }
}

impl<'a> Element<'a> {
    // `None` for a kind of element that a later version may know.
    fn decode(text: &'a str) -> Result<Option<Self>, NotFields> {
        let (kind, rest) = match (text.get(..1), text.get(1..2), text.get(2..)) {
            (Some(kind), Some(":"), Some(rest)) => (kind, rest),
            _ => return Err(NotFields),
        };
        Ok(Some(match kind {
            "f" => Self::Field(rest),
            "v" => Self::Value(Cow::Owned(serde_json::from_str(rest).map_err(|_| NotFields)?)),
            "i" => Self::Index(rest.parse().map_err(|_| NotFields)?),
            "k" => {
                // Sorted by name, as a map's members are.
                let fields: Map<String, Value> = serde_json::from_str(rest).map_err(|_| NotFields)?;
                Self::Key(
                    fields.into_iter().map(|(name, value)| (Cow::Owned(name), Cow::Owned(value))).collect(),
                )
            }
            _ => return Ok(None),
        }))
    }
}

/// As conflicts show it: `.spec`, `[name="a"]`, `[="x"]`, `[3]`.
impl fmt::Display for Element<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Value(value) => write!(f, "[={}]", shown(value)),
            Self::Index(index) => write!(f, "[{index}]"),
            Self::Key(fields) => {
                f.write_str("[")?;
                for (index, (name, value)) in fields.iter().enumerate() {
                    let comma = if index > 0 { "," } else { "" };
                    write!(f, "{comma}{name}={}", shown(value))?;
                }
                f.write_str("]")
            }
        }
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => coracle_api::field::go_quote(text),
        other => other.to_string(),
    }
}

/// JSON as upstream's encoder writes it: what could end a script in HTML is escaped.
pub(super) fn json_text(value: &Value) -> String {
    let text = value.to_string();
    if !text.contains(['&', '<', '>', '\u{2028}', '\u{2029}']) {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '&' | '<' | '>' | '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out
}

/// Upstream's order of scalars: numbers, text, booleans, then the rest.
fn compare_values(a: &Value, b: &Value) -> Ordering {
    fn rank(value: &Value) -> u8 {
        match value {
            Value::Number(_) => 0,
            Value::String(_) => 1,
            Value::Bool(_) => 2,
            Value::Array(_) => 3,
            Value::Object(_) => 4,
            Value::Null => 5,
        }
    }
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => match (x.as_i64(), y.as_i64()) {
            (Some(x), Some(y)) => x.cmp(&y),
            _ => x.as_f64().partial_cmp(&y.as_f64()).unwrap_or(Ordering::Equal),
        },
        (Value::String(x), Value::String(y)) => x.cmp(y),
        (Value::Bool(x), Value::Bool(y)) => x.cmp(y),
        (Value::Array(_) | Value::Object(_), _) if rank(a) == rank(b) => a.to_string().cmp(&b.to_string()),
        _ => rank(a).cmp(&rank(b)),
    }
}

/// The text or JSON is no field set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotFields;

/// One element of a set: it is in it, or paths through it are, or both.
#[derive(Debug, Clone, PartialEq)]
pub struct Node<'a> {
    /// The step.
    pub element: Element<'a>,
    /// Whether the path that ends here is in the set.
    pub member: bool,
    /// The paths that go on from here.
    pub children: FieldSet<'a>,
}

/// A set of field paths. No node is without a member in it or below it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FieldSet<'a> {
    nodes: Vec<Node<'a>>,
}

impl<'a> FieldSet<'a> {
    /// Whether no path is in it.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Its elements, sorted.
    pub fn nodes(&self) -> &[Node<'a>] {
        &self.nodes
    }

    /// Its elements, to change what is below them.
    pub(super) fn nodes_mut(&mut self) -> &mut [Node<'a>] {
        &mut self.nodes
    }

    /// Adds an element, which must come after all that are there, unless
    /// nothing is in it.
    pub fn push(&mut self, element: Element<'a>, member: bool, children: FieldSet<'a>) {
        if member || !children.is_empty() {
            self.nodes.push(Node { element, member, children });
        }
    }

    /// Puts elements that were pushed in another order in order.
    pub fn sort(&mut self) {
        self.nodes.sort_by(|a, b| a.element.compare(&b.element));
    }

    /// The node of an element.
    pub fn get(&self, element: &Element<'_>) -> Option<&Node<'a>> {
        let place = self.nodes.binary_search_by(|node| node.element.compare(element)).ok()?;
        self.nodes.get(place)
    }

    /// The paths that are in either.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        if self.is_empty() {
            return other;
        }
        if other.is_empty() {
            return self;
        }
        let mut nodes = Vec::with_capacity(self.nodes.len() + other.nodes.len());
        let mut left = self.nodes.into_iter().peekable();
        let mut right = other.nodes.into_iter().peekable();
        while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
            match a.element.compare(&b.element) {
                Ordering::Less => nodes.extend(left.next()),
                Ordering::Greater => nodes.extend(right.next()),
                Ordering::Equal => {
                    if let (Some(a), Some(b)) = (left.next(), right.next()) {
                        nodes.push(Node {
                            element: a.element,
                            member: a.member || b.member,
                            children: a.children.union(b.children),
                        });
                    }
                }
            }
        }
        nodes.extend(left);
        nodes.extend(right);
        Self { nodes }
    }

    // Keeps of the nodes that both have what `keep` makes of them, and of the
    // others all or none.
    fn combine(
        &self,
        other: &FieldSet<'_>,
        alone: bool,
        keep: &mut dyn FnMut(&Node<'a>, &Node<'_>) -> (bool, FieldSet<'a>),
    ) -> Self {
        let mut out = Self::default();
        let mut right = other.nodes.iter().peekable();
        for node in &self.nodes {
            while right.next_if(|it| it.element.compare(&node.element) == Ordering::Less).is_some() {}
            match right.peek().filter(|it| it.element.compare(&node.element) == Ordering::Equal) {
                Some(same) => {
                    let (member, children) = keep(node, same);
                    out.push(node.element.clone(), member, children);
                }
                None if alone => out.nodes.push(node.clone()),
                None => {}
            }
        }
        out
    }

    /// The paths that are in both.
    #[must_use]
    pub fn intersection(&self, other: &FieldSet<'_>) -> Self {
        self.combine(other, false, &mut |a, b| (a.member && b.member, a.children.intersection(&b.children)))
    }

    /// The paths that are in `self` and not in `other`.
    #[must_use]
    pub fn difference(&self, other: &FieldSet<'_>) -> Self {
        self.combine(other, true, &mut |a, b| (a.member && !b.member, a.children.difference(&b.children)))
    }

    /// Whether a path is in both.
    pub fn meets(&self, other: &FieldSet<'_>) -> bool {
        let mut right = other.nodes.iter().peekable();
        self.nodes.iter().any(|node| {
            while right.next_if(|it| it.element.compare(&node.element) == Ordering::Less).is_some() {}
            let same = right.peek().filter(|it| it.element.compare(&node.element) == Ordering::Equal);
            same.is_some_and(|it| (it.member && node.member) || node.children.meets(&it.children))
        })
    }

    /// Takes a path of field names and all that go through it out.
    pub fn cut(&mut self, path: &[&str]) {
        self.change(path, &mut |node| {
            node.member = false;
            node.children = Self::default();
        });
    }

    /// Takes a path of field names out, and leaves those that go through it.
    pub fn disown(&mut self, path: &[&str]) {
        self.change(path, &mut |node| node.member = false);
    }

    fn change(&mut self, path: &[&str], change: &mut dyn FnMut(&mut Node<'a>)) {
        let Some((name, rest)) = path.split_first() else { return };
        let element = Element::Field(name);
        let Ok(place) = self.nodes.binary_search_by(|node| node.element.compare(&element)) else { return };
        let Some(node) = self.nodes.get_mut(place) else { return };
        if rest.is_empty() {
            change(node);
        } else {
            node.children.change(rest, change);
        }
        if !node.member && node.children.is_empty() {
            self.nodes.remove(place);
        }
    }

    /// Its `fieldsV1`.
    pub fn encode(&self) -> Value {
        Value::Object(self.encode_nodes(false))
    }

    fn encode_nodes(&self, member: bool) -> Map<String, Value> {
        let mut out = Map::new();
        if member && !self.is_empty() {
            out.insert(".".to_owned(), Value::Object(Map::new()));
        }
        for node in &self.nodes {
            let children = node.children.encode_nodes(node.member);
            out.insert(node.element.encode(), Value::Object(children));
        }
        out
    }

    /// The set in a `fieldsV1`.
    ///
    /// # Errors
    /// When it is none.
    pub fn decode(fields: &'a Value) -> Result<Self, NotFields> {
        Ok(Self::decode_node(fields)?.0)
    }

    // The paths below, and whether the path that leads here is in the set.
    fn decode_node(fields: &'a Value) -> Result<(Self, bool), NotFields> {
        let mut set = Self::default();
        let mut member = false;
        let fields = match fields {
            Value::Object(fields) => fields,
            Value::Null => return Ok((set, true)),
            _ => return Err(NotFields),
        };
        let mut sorted = true;
        for (name, below) in fields {
            if name == "." {
                member = true;
                continue;
            }
            let Some(element) = Element::decode(name)? else { continue };
            let (children, is_member) = Self::decode_node(below)?;
            // Text order is the set's but for keys and values of numbers.
            let last = set.nodes.last();
            sorted &= last.is_none_or(|last| last.element.compare(&element) == Ordering::Less);
            set.push(element, is_member, children);
        }
        if !sorted {
            set.sort();
        }
        let member = member || set.is_empty();
        Ok((set, member))
    }

    /// Calls `visit` with each path, members of a level before those below it.
    pub fn each(&self, visit: &mut dyn FnMut(&str)) {
        self.each_below("", visit);
    }

    fn each_below(&self, path: &str, visit: &mut dyn FnMut(&str)) {
        for node in self.nodes.iter().filter(|node| node.member) {
            visit(&format!("{path}{}", node.element));
        }
        for node in self.nodes.iter().filter(|node| !node.children.is_empty()) {
            node.children.each_below(&format!("{path}{}", node.element), visit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Value {
        serde_json::from_str(json).expect("test JSON")
    }

    #[test]
    fn sets_survive_their_json() {
        #[track_caller]
        fn check(json: &str, paths: &[&str]) {
            let fields = parse(json);
            let set = FieldSet::decode(&fields).expect("a field set");
            let mut found = Vec::new();
            set.each(&mut |path| found.push(path.to_owned()));
            assert_eq!(found, paths, "{json}");
            assert_eq!(set.encode(), fields, "{json}");
        }
        check("{}", &[]);
        check(r#"{"f:a":{}}"#, &[".a"]);
        check(r#"{"f:a":{".":{},"f:b":{}},"f:c":{}}"#, &[".a", ".c", ".a.b"]);
        check(
            r#"{"k:{\"port\":443,\"protocol\":\"TCP\"}":{},"k:{\"port\":80,\"protocol\":\"TCP\"}":{}}"#,
            &[r#"[port=80,protocol="TCP"]"#, r#"[port=443,protocol="TCP"]"#],
        );
        check(
            r#"{"v:\"a\\u0026b\"":{},"v:true":{},"i:3":{},"v:2":{}}"#,
            &["[=2]", r#"[="a&b"]"#, "[=true]", "[3]"],
        );
    }

    #[test]
    fn what_is_no_field_set_is_refused() {
        for json in ["3", r#"{"f":{}}"#, r#"{"f:a":3}"#, r#"{"v:{":{}}"#, r#"{"i:x":{}}"#, r#"{"k:3":{}}"#] {
            assert_eq!(FieldSet::decode(&parse(json)), Err(NotFields), "{json}");
        }
        // A kind of element that is not known yet is left out.
        assert_eq!(FieldSet::decode(&parse(r#"{"z:a":{}}"#)), Ok(FieldSet::default()));
    }

    #[test]
    fn sets_combine() {
        #[track_caller]
        fn check(a: &str, b: &str, union: &str, intersection: &str, difference: &str) {
            let (a, b) = (parse(a), parse(b));
            let (a, b) = (FieldSet::decode(&a).expect("a set"), FieldSet::decode(&b).expect("a set"));
            assert_eq!(a.intersection(&b).encode(), parse(intersection));
            assert_eq!(a.meets(&b), intersection != "{}");
            assert_eq!(a.difference(&b).encode(), parse(difference));
            assert_eq!(a.union(b).encode(), parse(union));
        }
        check(
            r#"{"f:a":{".":{},"f:b":{}},"f:c":{}}"#,
            r#"{"f:a":{"f:b":{},"f:x":{}},"f:d":{}}"#,
            r#"{"f:a":{".":{},"f:b":{},"f:x":{}},"f:c":{},"f:d":{}}"#,
            r#"{"f:a":{"f:b":{}}}"#,
            r#"{"f:a":{},"f:c":{}}"#,
        );
        check(
            r#"{"f:a":{".":{},"f:b":{}}}"#,
            r#"{"f:a":{}}"#,
            r#"{"f:a":{".":{},"f:b":{}}}"#,
            r#"{"f:a":{}}"#,
            r#"{"f:a":{"f:b":{}}}"#,
        );
        check(r#"{"f:a":{}}"#, "{}", r#"{"f:a":{}}"#, "{}", r#"{"f:a":{}}"#);
    }

    #[test]
    fn paths_leave_sets() {
        #[track_caller]
        fn check(set: &str, path: &[&str], cut: &str, disowned: &str) {
            let set = parse(set);
            let mut first = FieldSet::decode(&set).expect("a set");
            let mut second = first.clone();
            first.cut(path);
            second.disown(path);
            assert_eq!((first.encode(), second.encode()), (parse(cut), parse(disowned)), "{set} {path:?}");
        }
        check(
            r#"{"f:a":{".":{},"f:b":{}},"f:c":{}}"#,
            &["a"],
            r#"{"f:c":{}}"#,
            r#"{"f:a":{"f:b":{}},"f:c":{}}"#,
        );
        check(r#"{"f:a":{"f:b":{}}}"#, &["a", "b"], "{}", "{}");
        check(r#"{"f:a":{}}"#, &["a", "b"], r#"{"f:a":{}}"#, r#"{"f:a":{}}"#);
    }
}
