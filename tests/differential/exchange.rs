//! What is asked of both servers: the YAML files of `exchanges/`.
//!
//! A file is a list of entries, run in order in a namespace of the file's own (`{{ns}}`). An entry is
//! - an exchange: see [`Exchange`] for its fields;
//! - `let: {NAME: VALUE...}`: variables for what follows in the file; or
//! - `for: [CASE...]` (or a variable that is such a list) with `each: [ENTRY...]`: the entries once for each case,
//!   whose fields (or, of a string, `it`) are variables.
//!
//! `yet.yaml` beside the folder names, by kind (`{{k}}`), the exchanges for which ours still answers otherwise: they are
//! asked, and not compared.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::template::{Variables, expand};

/// One request, and what of its answer matters.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// Unique in its file.
    pub name: String,
    /// `METHOD /path?query`.
    pub request: String,
    /// Further request headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Who asks.
    #[serde(default, rename = "as")]
    pub identity: Identity,
    /// The body, sent as JSON.
    pub body: Option<Value>,
    /// Instead of `body`: an object with every field set, see [`crate::junk::object`].
    pub junk: Option<String>,
    /// Changes to `body`, by JSON pointer; objects and lists on the way are made, `-` appends.
    #[serde(default)]
    pub set: BTreeMap<String, Value>,
    /// What to leave out of `body`, by JSON pointer.
    #[serde(default)]
    pub drop: Vec<String>,
    /// Sends `body` as YAML.
    #[serde(default)]
    pub yaml: bool,
    /// A body sent as it stands.
    pub text: Option<String>,
    /// A body of bytes, for those who make exchanges themselves.
    #[serde(skip)]
    pub bytes: Option<Vec<u8>>,
    /// Content-Type of the body; default JSON, or YAML.
    #[serde(rename = "type")]
    pub content_type: Option<String>,
    /// Variables for later exchanges, from this answer: by JSON pointer, or `header:NAME`.
    #[serde(default)]
    pub capture: BTreeMap<String, String>,
    /// Reads the answer as a stream of frames.
    pub watch: Option<Watch>,
    /// The version of HTTP: 1 or 2.
    #[serde(default = "two")]
    pub http: u8,
    /// What is compared; nothing named is everything.
    #[serde(default)]
    pub compare: Vec<Part>,
    /// Compares only these parts of the body, by JSON pointer.
    #[serde(default)]
    pub only: Vec<String>,
    /// Whether ours is known to answer otherwise still.
    #[serde(default)]
    pub yet: bool,
    /// Asks again, for some seconds, until the answer has this value at each JSON pointer; a text is at the empty one.
    #[serde(default)]
    pub until: BTreeMap<String, Value>,
}

/// How much of a watch is read.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watch {
    /// Stops after so many frames.
    pub events: usize,
    /// Stops after so long.
    #[serde(default = "five")]
    pub seconds: f64,
    /// Done once the watch is open.
    #[serde(default)]
    pub during: Vec<Exchange>,
}

/// Who asks.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Hash)]
#[serde(rename_all = "kebab-case")]
pub enum Identity {
    /// As the kubeconfig says: the cluster's administrator.
    #[default]
    Admin,
    /// Nobody.
    Anonymous,
    /// Somebody with a token that the server never issued.
    BadToken,
    /// Somebody whose certificate the cluster's authority signed, but who is in no privileged group.
    User,
    /// Somebody whose certificate another authority signed.
    Stranger,
}

/// A part of an answer.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// The status code.
    Status,
    /// The headers that matter.
    Headers,
    /// The body.
    Body,
}

/// The exchanges of one file.
#[derive(Debug)]
pub struct Script {
    /// The file's name, without `.yaml`.
    pub name: String,
    /// The namespace that is made for it.
    pub namespace: String,
    /// What to ask, in order.
    pub exchanges: Vec<Exchange>,
}

impl Exchange {
    /// Whether `part` is compared.
    pub fn compares(&self, part: Part) -> bool {
        self.compare.is_empty() || self.compare.contains(&part)
    }
}

/// Reads all files of `directory`, in order of their names. `run` makes names unique among runs.
///
/// # Errors
/// When one is not understood; the message names the file and the entry.
pub fn load(directory: &Path, run: &str) -> Result<Vec<Script>, String> {
    let files = std::fs::read_dir(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let mut paths: Vec<_> = files.filter_map(Result::ok).map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.sort();
    let yet = directory.with_file_name("yet.yaml");
    let text = std::fs::read_to_string(&yet).map_err(|error| format!("{}: {error}", yet.display()))?;
    let yet: Yet = serde_yaml_ng::from_str(&text).map_err(|error| format!("{}: {error}", yet.display()))?;
    paths
        .iter()
        .map(|path| read(path, run, &yet).map_err(|error| format!("{}: {error}", path.display())))
        .collect()
}

/// The cases of the first `for` in the file at `path`, with the file's variables put in: what is not known stays.
///
/// # Errors
/// When there is none.
pub fn cases(path: &Path, mut variables: Variables) -> Result<Vec<Value>, String> {
    let in_file = |error: String| format!("{}: {error}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| in_file(error.to_string()))?;
    let entries: Vec<Value> = serde_yaml_ng::from_str(&text).map_err(|error| in_file(error.to_string()))?;
    for entry in &entries {
        match (entry.get("let"), entry.get("for")) {
            (Some(Value::Object(definitions)), _) => {
                for (name, value) in definitions {
                    variables.insert(name.clone(), expand(value, &variables));
                }
            }
            (_, Some(Value::Array(cases))) => {
                return Ok(cases.iter().map(|case| expand(case, &variables)).collect());
            }
            _ => {}
        }
    }
    Err(in_file("no cases".into()))
}

/// By kind, the exchanges that are asked and not compared.
type Yet = BTreeMap<String, Vec<String>>;

fn read(path: &Path, run: &str, yet: &Yet) -> Result<Script, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let entries: Vec<Value> = serde_yaml_ng::from_str(&text).map_err(|error| error.to_string())?;
    let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let namespace = format!("{name}-{run}");
    let variables: Variables =
        [("ns".to_owned(), namespace.clone().into()), ("run".to_owned(), run.into())].into();
    let mut exchanges = Vec::new();
    unfold(&entries, variables, yet, &mut exchanges)?;
    let mut names = std::collections::BTreeSet::new();
    for exchange in exchanges.iter().flat_map(|e: &Exchange| {
        std::iter::once(e).chain(e.watch.iter().flat_map(|watch| watch.during.iter()))
    }) {
        if !names.insert(&exchange.name) {
            return Err(format!("two exchanges are named {:?}", exchange.name));
        }
    }
    Ok(Script { name, namespace, exchanges })
}

fn unfold(
    entries: &[Value],
    mut variables: Variables,
    yet: &Yet,
    exchanges: &mut Vec<Exchange>,
) -> Result<(), String> {
    for entry in entries {
        if let Some(Value::Object(definitions)) = entry.get("let") {
            for (name, value) in definitions {
                variables.insert(name.clone(), expand(value, &variables));
            }
        } else if let (Some(cases), Some(Value::Array(each))) = (entry.get("for"), entry.get("each")) {
            // The list may be a variable.
            let listed = if cases.is_string() { expand(cases, &variables) } else { cases.clone() };
            let Value::Array(cases) = listed else { return Err(format!("for {cases}: not a list")) };
            for case in &cases {
                let mut variables = variables.clone();
                match expand(case, &variables) {
                    Value::Object(fields) => variables.extend(fields),
                    other => drop(variables.insert("it".to_owned(), other)),
                }
                unfold(each, variables, yet, exchanges)?;
            }
        } else {
            let mut exchange = expand(entry, &variables);
            if let Value::Object(fields) = &mut exchange {
                let kind = variables.get("k").and_then(Value::as_str).unwrap_or_default();
                let name = entry.get("name").and_then(Value::as_str).and_then(|it| it.strip_prefix("{{k}} "));
                if yet.get(kind).is_some_and(|names| names.iter().any(|it| Some(it.as_str()) == name)) {
                    fields.insert("yet".to_owned(), true.into());
                }
                // A case need not change the body in both ways.
                fields.retain(|name, value| !(matches!(name.as_str(), "set" | "drop") && value.is_string()));
            }
            let exchange = serde_json::from_value(exchange);
            exchanges.push(exchange.map_err(|error| format!("{error} in {entry}"))?);
        }
    }
    Ok(())
}

/// The body that an exchange sends, and its Content-Type.
pub fn body(exchange: &Exchange, variables: &Variables) -> Result<(Vec<u8>, Option<String>), String> {
    let typed = |default: &str| Some(exchange.content_type.clone().unwrap_or_else(|| default.to_owned()));
    if let Some(bytes) = &exchange.bytes {
        return Ok((bytes.clone(), typed("application/vnd.kubernetes.protobuf")));
    }
    if let Some(text) = &exchange.text {
        let text = crate::template::expand_text(text, variables);
        return Ok((text.into_bytes(), typed("application/json")));
    }
    let mut body = match (&exchange.body, &exchange.junk) {
        (_, Some(wanted)) => crate::junk::object(wanted)?,
        (Some(body), None) => expand(body, variables),
        (None, None) => return Ok((Vec::new(), exchange.content_type.clone())),
    };
    for (pointer, value) in &exchange.set {
        set(&mut body, pointer, expand(value, variables))?;
    }
    for pointer in &exchange.drop {
        remove(&mut body, pointer)?;
    }
    if exchange.yaml {
        let text = serde_yaml_ng::to_string(&body).map_err(|error| error.to_string())?;
        return Ok((text.into_bytes(), typed("application/yaml")));
    }
    Ok((body.to_string().into_bytes(), typed("application/json")))
}

fn keys(pointer: &str) -> Vec<String> {
    pointer.split('/').skip(1).map(|key| key.replace("~1", "/").replace("~0", "~")).collect()
}

fn set(root: &mut Value, pointer: &str, value: Value) -> Result<(), String> {
    let mut at = root;
    for key in keys(pointer) {
        if at.is_null() {
            *at = if key == "-" { Value::Array(Vec::new()) } else { Value::Object(Default::default()) };
        }
        at = match at {
            Value::Object(fields) => fields.entry(key).or_insert(Value::Null),
            Value::Array(items) => {
                let index = if key == "-" { items.len() } else { key.parse().unwrap_or(usize::MAX) };
                if index == items.len() {
                    items.push(Value::Null);
                }
                items.get_mut(index).ok_or_else(|| format!("set {pointer}: no item {key}"))?
            }
            _ => return Err(format!("set {pointer}: nothing can be in there")),
        };
    }
    *at = value;
    Ok(())
}

fn remove(root: &mut Value, pointer: &str) -> Result<(), String> {
    let (parent, _) = pointer.rsplit_once('/').ok_or_else(|| format!("drop {pointer}: not a pointer"))?;
    let key = keys(pointer).pop().unwrap_or_default();
    let removed = match root.pointer_mut(parent) {
        Some(Value::Object(fields)) => fields.remove(&key).is_some(),
        Some(Value::Array(items)) => match key.parse() {
            Ok(index) if index < items.len() => drop_item(items, index),
            _ => false,
        },
        _ => false,
    };
    if removed { Ok(()) } else { Err(format!("drop {pointer}: it is not there")) }
}

fn drop_item(items: &mut Vec<Value>, index: usize) -> bool {
    items.remove(index);
    true
}

fn two() -> u8 {
    2
}

fn five() -> f64 {
    5.0
}

#[test]
fn changes() {
    use serde_json::json;
    let check = |pointer: &str, expected: Value| {
        let mut value = json!({"a": [{"b": 1}]});
        set(&mut value, pointer, json!(7)).unwrap();
        assert_eq!(value, expected, "{pointer}");
    };
    check("/a/0/b", json!({"a": [{"b": 7}]}));
    check("/a/-", json!({"a": [{"b": 1}, 7]}));
    check("/x/y~1z", json!({"a": [{"b": 1}], "x": {"y/z": 7}}));
    let mut value = json!({"a": [1, 2]});
    remove(&mut value, "/a/0").unwrap();
    assert_eq!(value, json!({"a": [2]}));
    assert!(remove(&mut value, "/b").is_err());
}

#[test]
fn entries_for_cases() {
    let entries: Vec<Value> = serde_yaml_ng::from_str(
        "[{let: {x: 1}}, {for: [{k: a}, {k: b}], each: [{name: '{{k}}{{x}}', request: GET /}]}]",
    )
    .unwrap();
    let mut exchanges = Vec::new();
    unfold(&entries, Variables::new(), &Yet::new(), &mut exchanges).unwrap();
    assert_eq!(exchanges.iter().map(|e| e.name.as_str()).collect::<Vec<_>>(), ["a1", "b1"]);
}
