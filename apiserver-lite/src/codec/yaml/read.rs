//! From YAML's events to JSON, without recursion and within limits.

use std::collections::HashMap;

use coracle_api::field::go_quote;
use granit_parser::{Event, Parser, ScalarStyle, Span, Tag, options};
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::{Document, scalar};

/// Deeper nesting is refused, with upstream's text for its own limit.
const MAX_DEPTH: usize = 512;

/// So much may be copied for anchors and aliases, in bytes (a node is 16).
const MAX_COPIED: usize = 8 << 20;

// `line` counts from 1; upstream leaves the first out.
fn too_deep(line: usize) -> String {
    let line = if line > 1 { format!("line {line}: ") } else { String::new() };
    format!("yaml: {line}exceeded max depth of 10000")
}

pub(super) fn document(body: &[u8]) -> Result<Document, String> {
    let Ok(text) = std::str::from_utf8(body) else {
        return Err("yaml: invalid leading UTF-8 octet".to_owned());
    };
    let options = options! {
        emit_anchor_events: true,
        emit_unresolved_aliases: true,
        block_scalar_eof_without_line_feed: true,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    let mut builder = Builder::default();
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| syntax(body, &error.info(), error.marker().line()))?;
        match event {
            Event::DocumentStart(_, Some(version)) if (version.major, version.minor) != (1, 1) => {
                return Err("yaml: found incompatible YAML document".to_owned());
            }
            Event::DocumentEnd => break,
            event => builder.take(event, span)?,
        }
    }
    let duplicates = (!builder.duplicates.is_empty())
        .then(|| format!("yaml: unmarshal errors:\n{}", builder.duplicates.join("\n")));
    Ok(Document { value: builder.root.unwrap_or_default(), duplicates })
}

// Upstream's parser is libyaml in Go: libyaml's words are taken where it
// refuses the text as well.
fn syntax(body: &[u8], ours: &str, line: usize) -> String {
    if ours.contains("nesting") || ours.contains("recursion") {
        return too_deep(line);
    }
    let Err(error) = serde_yaml_ng::from_slice::<IgnoredAny>(body) else {
        return format!("yaml: {ours}");
    };
    let text = error.to_string();
    let message = text.split(" at line ").next().unwrap_or_default();
    // Go counts lines from 0, leaves line 0 out, and adds one for what the
    // scanner finds.
    let scanned = !message.starts_with("did not find expected") || message.contains("tag");
    match error.location().map(|location| location.line() - 1) {
        Some(line) if line > 0 => format!("yaml: line {}: {message}", line + usize::from(scanned)),
        _ => format!("yaml: {message}"),
    }
}

enum Key {
    // The key in JSON and as Go shows it.
    Text(String, String),
    // `<<`
    Merge,
}

enum Frame {
    Sequence { items: Vec<Value>, anchor: usize },
    Mapping { map: Map<String, Value>, key: Option<Key>, anchor: usize },
}

#[derive(Default)]
struct Builder {
    root: Option<Value>,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Value>,
    names: HashMap<usize, String>,
    copied: usize,
    duplicates: Vec<String>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), String> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                let tag = tag.as_deref().map_or("", suffix);
                let merge = text == "<<" && plain && matches!(tag, "" | "merge");
                if merge && self.awaits_key() {
                    return self.key(Key::Merge);
                }
                let value = scalar::value(&text, plain, tag)?;
                self.place(value, anchor, span)
            }
            Event::SequenceStart(_, anchor, _) => {
                self.open(Frame::Sequence { items: Vec::new(), anchor }, span)
            }
            Event::MappingStart(_, anchor, _) => {
                self.open(Frame::Mapping { map: Map::new(), key: None, anchor }, span)
            }
            Event::SequenceEnd | Event::MappingEnd => match self.stack.pop() {
                Some(Frame::Sequence { items, anchor }) => self.place(Value::Array(items), anchor, span),
                Some(Frame::Mapping { map, anchor, .. }) => self.place(Value::Object(map), anchor, span),
                None => Ok(()),
            },
            Event::Alias(id) => self.alias(id, span),
            Event::UnresolvedAlias(name) => Err(format!("yaml: unknown anchor '{name}' referenced")),
            Event::Anchor(id, name) => {
                self.names.insert(id, name.into_owned());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn open(&mut self, frame: Frame, span: Span) -> Result<(), String> {
        if self.stack.len() >= MAX_DEPTH {
            return Err(too_deep(span.start.line()));
        }
        self.stack.push(frame);
        Ok(())
    }

    fn alias(&mut self, id: usize, span: Span) -> Result<(), String> {
        let Some(value) = self.anchors.get(&id) else {
            let name = self.names.get(&id).map(String::as_str).unwrap_or_default();
            return Err(format!("yaml: anchor '{name}' value contains itself"));
        };
        let value = copied(value, &mut self.copied)?;
        // What an alias stands for may be deep itself.
        if self.stack.len() + depth(&value) > MAX_DEPTH {
            return Err(too_deep(span.start.line()));
        }
        self.place(value, 0, span)
    }

    fn awaits_key(&self) -> bool {
        matches!(self.stack.last(), Some(Frame::Mapping { key: None, .. }))
    }

    fn key(&mut self, found: Key) -> Result<(), String> {
        if let Some(Frame::Mapping { key, .. }) = self.stack.last_mut() {
            *key = Some(found);
        }
        Ok(())
    }

    // A whole value: it becomes an element, a key, a key's value, or the root.
    fn place(&mut self, value: Value, anchor: usize, span: Span) -> Result<(), String> {
        if anchor != 0 {
            self.anchors.insert(anchor, copied(&value, &mut self.copied)?);
        }
        match self.stack.last_mut() {
            None => self.root = Some(value),
            Some(Frame::Sequence { items, .. }) => items.push(value),
            Some(Frame::Mapping { map, key, .. }) => match key.take() {
                None => *key = Some(key_of(value)?),
                Some(Key::Merge) => merge(map, value)?,
                Some(Key::Text(name, shown)) => {
                    if map.insert(name, value).is_some() {
                        let line = span.start.line();
                        self.duplicates.push(format!("  line {line}: key {shown} already set in map"));
                    }
                }
            },
        }
        Ok(())
    }
}

fn suffix(tag: &Tag) -> &str {
    match tag.handle() {
        "tag:yaml.org,2002:" | "!!" => tag.suffix(),
        "" if tag.suffix().is_empty() => "",
        _ => "!",
    }
}

// JSON's keys are text.
fn key_of(value: Value) -> Result<Key, String> {
    Ok(match value {
        Value::String(text) => {
            let shown = go_quote(&text);
            Key::Text(text, shown)
        }
        Value::Bool(_) | Value::Number(_) => Key::Text(value.to_string(), value.to_string()),
        Value::Null => {
            return Err("unsupported map key of type: %!s(<nil>), key: <nil>, value: false".to_owned());
        }
        other => return Err(format!("yaml: invalid map key: {}", go_syntax(&other))),
    })
}

// Go's %#v of the trees that its yaml package builds.
fn go_syntax(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".to_owned(),
        Value::String(text) => go_quote(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(go_syntax).collect();
            format!("[]interface {{}}{{{}}}", items.join(", "))
        }
        Value::Object(map) => {
            let entry = |(key, value): (&String, &Value)| format!("{}:{}", go_quote(key), go_syntax(value));
            let entries: Vec<String> = map.iter().map(entry).collect();
            format!("map[interface {{}}]interface {{}}{{{}}}", entries.join(", "))
        }
        other => other.to_string(),
    }
}

// Of several maps the first wins; all of them win over what stood before.
fn merge(map: &mut Map<String, Value>, value: Value) -> Result<(), String> {
    let maps = match value {
        Value::Array(items) => items,
        one => vec![one],
    };
    for value in maps.into_iter().rev() {
        let Value::Object(more) = value else {
            return Err("yaml: map merge requires map or sequence of maps as the value".to_owned());
        };
        map.extend(more);
    }
    Ok(())
}

// A copy, within what may be copied at all.
fn copied(value: &Value, before: &mut usize) -> Result<Value, String> {
    *before += size(value);
    if *before > MAX_COPIED {
        return Err("yaml: document contains excessive aliasing".to_owned());
    }
    Ok(value.clone())
}

fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => 16 + text.len(),
        Value::Array(items) => 16 + items.iter().map(size).sum::<usize>(),
        Value::Object(map) => 16 + map.iter().map(|(key, value)| key.len() + size(value)).sum::<usize>(),
        _ => 16,
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}
