//! What each target does with the fuzzer's bytes: panics are findings.
//!
//! One place for two drivers: libFuzzer's (`targets/`), and the test
//! `mutations`, which needs no more than any other test.

use apiserver_lite::{
    apply::{Writer, applied, fieldset::FieldSet, updated},
    codec::{
        self,
        negotiation::{self, Forms, Offer},
        protobuf::{self, write},
        yaml as yaml_codec,
    },
    custom::json_path::JsonPath,
    patch::{json, merge, strategic},
    registry::{
        options::{ListOptions, WriteOptions, Writing},
        page::Page,
    },
    request::{Query, RequestInfo},
    schema::decode as schema_decode,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use coracle_api::{
    FieldSelector, LabelSelector, Object, Quantity, Resource, facts::RESOURCES, schedule::Schedule,
};
use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::{Map, Value};

/// What a target does with an input.
pub type Body = fn(&[u8]);

/// All of them, by name.
pub const ALL: &[(&str, Body)] = &[
    ("accept", accept),
    ("apply", apply),
    ("decode", decode),
    ("json_patch", json_patch),
    ("page_tokens", page_tokens),
    ("paths", paths),
    ("protobuf", protobuf),
    ("selectors", selectors),
    ("strategic_merge", strategic_merge),
    ("texts", texts),
    ("yaml", yaml),
];

const PREFIX: &str = "/registry/pods/";

const METHODS: [Method; 8] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
    Method::TRACE,
];

/// The headers that content is negotiated by.
pub fn accept(data: &[u8]) {
    let (value, query) = pair(data).unwrap_or((data, b""));
    let Ok(value) = HeaderValue::from_bytes(value) else { return };
    let query = Query::parse(&String::from_utf8_lossy(query));
    let mut headers = HeaderMap::new();
    for name in [header::ACCEPT, header::CONTENT_TYPE, header::USER_AGENT] {
        headers.insert(name, value.clone());
    }
    for forms in [Forms::Whole, Forms::Unstored, Forms::Object, Forms::List] {
        for protobuf in [false, true] {
            let _ = negotiation::output(&headers, &query, Offer { forms, protobuf });
        }
    }
    let _ = negotiation::stream(&headers, &query, RESOURCES[0]);
    let _ = negotiation::input(&headers);
}

/// An object as it is stored, a line's end, a configuration that is applied to it.
pub fn apply(data: &[u8]) {
    let Some((live, config)) = pair(data) else { return };
    let Some((resource, live)) = object_of(live) else { return };
    let Ok(live) = schema_decode::value(&Value::Object(live), &resource.gvk, &resource.schema) else {
        return;
    };
    let Some(config) = tree_of(config).and_then(Object::from_value) else { return };
    let now = jiff::Timestamp::UNIX_EPOCH;
    for (subresource, force) in [("", false), ("", true), ("status", true)] {
        let writer = Writer { manager: "a", subresource, now };
        let done = applied(resource, Some(&live.object), &config, &writer, force);
        // The same once more changes nothing and is no conflict.
        if let Ok(done) = done
            && subresource.is_empty()
        {
            let _ = applied(resource, Some(&done), &config, &writer, false);
        }
    }
    let writer = Writer { manager: "kubectl", subresource: "", now };
    let _ = applied(resource, None, &config, &writer, false);
    if let Ok(mut new) = schema_decode::value(&Value::Object(config.0), &resource.gvk, &resource.schema) {
        updated(resource, Some(&live.object), &mut new.object, &writer);
    }
}

/// Bodies in JSON and YAML, as each kind; what is decoded has a protobuf form that reads back.
pub fn decode(data: &[u8]) {
    let Some((resource, body)) = kind(data) else { return };
    let _ = schema_decode::syntax(body);
    let _ = schema_decode::yaml(body, &resource.gvk, &resource.schema);
    let Ok(decoded) = schema_decode::json(body, &resource.gvk, &resource.schema) else { return };
    let _ = decoded.refusal(&resource.gvk);
    let message = protobuf::write::message(&decoded.object.0, &resource.schema);
    let enveloped = protobuf::write::envelope(&resource.api_version(), &resource.gvk.kind, &message);
    protobuf::read(&enveloped, &resource.schema).expect("what we write can be read");
    let stored = codec::json::plain(&decoded.object);
    let again =
        schema_decode::json(&stored, &resource.gvk, &resource.schema).expect("what is stored can be decoded");
    assert!(codec::json::plain(&again.object) == stored, "the canonical form is its own");
}

/// A document, a line's end, a JSON patch; the patch as a merge patch too.
pub fn json_patch(data: &[u8]) {
    let Some((document, patch)) = pair(data) else { return };
    let Some(document) = tree_of(document) else { return };
    let _ = json::check(patch);
    let _ = merge::check(patch);
    let _ = json::apply(document.clone(), patch);
    let _ = merge::apply(document, patch);
}

/// Page tokens: as they come, and as base64 of what comes.
pub fn page_tokens(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = Page::decode(text, PREFIX);
    }
    if let Ok(page) = Page::decode(&URL_SAFE_NO_PAD.encode(data), PREFIX) {
        assert!(page.after.starts_with(PREFIX), "a token must not lead elsewhere: {page:?}");
        assert!(!page.after.split('/').any(|part| part == ".."), "{page:?}");
        let _ = Page::decode(&page.encode(PREFIX), PREFIX);
    }
}

/// Request lines, and the options in them.
pub fn paths(data: &[u8]) {
    let Ok(target) = std::str::from_utf8(data) else { return };
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    for method in METHODS {
        let info = RequestInfo::parse(&method, path, query);
        assert!(
            !info.is_resource
                || !info.verb.is_empty()
                || method == Method::OPTIONS
                || method == Method::TRACE
        );
        let _ = ListOptions::parse(&info.query, info.verb == "watch");
        let _ = WriteOptions::parse(&info.query, Writing::Patch { apply: true });
    }
}

/// Bodies in protobuf, as each kind: bare messages and with their envelope.
pub fn protobuf(data: &[u8]) {
    let Some((resource, bytes)) = kind(data) else { return };
    let _ = protobuf::read(bytes, &resource.schema);
    let _ = protobuf::types(bytes);
    let version = resource.api_version();
    let enveloped = write::envelope(&version, &resource.gvk.kind, bytes);
    let Ok(first) = protobuf::read(&enveloped, &resource.schema) else { return };
    // What is written of it reads as the same.
    let written = write::message(&first.object, &resource.schema);
    let again = protobuf::read(&write::envelope(&version, &resource.gvk.kind, &written), &resource.schema);
    let again = again.expect("what we write can be read");
    assert_eq!(write::message(&again.object, &resource.schema), written, "{}", resource.gvk.kind);
}

/// Label and field selectors, as text and as objects.
pub fn selectors(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(selector) = LabelSelector::parse(text) {
        let _ = selector.matches(|key| (key.len() % 2 == 0).then_some("1"));
        for requirement in selector.requirements().unwrap_or_default() {
            let _ = selector.exact(requirement.key());
        }
    }
    if let Ok(selector) = FieldSelector::parse(text) {
        let _ = selector.matches(|field| (field.len() % 2 == 0).then_some("1"));
    }
    if let Some(tree) = tree_of(data) {
        let _ = LabelSelector::from_value(&tree);
    }
}

/// An object, a line's end, a strategic merge patch for its kind.
pub fn strategic_merge(data: &[u8]) {
    let Some((object, patch)) = pair(data) else { return };
    let Some((resource, object)) = object_of(object) else { return };
    let _ = strategic::check(patch);
    let _ = strategic::apply(Value::Object(object), patch, &resource.schema);
}

/// The small languages: quantities, schedules, JSON paths, field sets.
pub fn texts(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(quantity) = Quantity::parse(text) {
        let shown = quantity.to_string();
        let again = Quantity::parse(&shown).expect("what we show can be parsed");
        assert_eq!(again.to_string(), shown, "{text}");
        let _ = (quantity.value(), quantity.milli_value(), quantity.plus(&again), quantity.minus(&again));
    }
    if let Ok(schedule) = Schedule::parse(text) {
        let _ = schedule.next(jiff::Timestamp::UNIX_EPOCH);
    }
    let (path, tree) = pair(data).unwrap_or((data, data));
    let Some(tree) = tree_of(tree) else { return };
    if let Ok(path) = JsonPath::parse(&String::from_utf8_lossy(path)) {
        let _ = path.find(&tree);
    }
    if let Ok(set) = FieldSet::decode(&tree) {
        let encoded = set.encode();
        let again = FieldSet::decode(&encoded).expect("what we encode can be decoded");
        assert_eq!(again.encode(), encoded);
    }
}

/// YAML that becomes a tree, and trees that become YAML.
pub fn yaml(data: &[u8]) {
    if let Some(tree) = tree_of(data) {
        let _ = yaml_codec::write(&tree);
    }
    if let Ok(tree) = yaml_codec::read(data) {
        let _ = yaml_codec::write(&tree);
    }
}

/// The kind that the first byte stands for, and the rest.
fn kind(data: &[u8]) -> Option<(&'static Resource, &[u8])> {
    let (first, rest) = data.split_first()?;
    Some((RESOURCES[usize::from(*first) % RESOURCES.len()], rest))
}

/// Two bodies: lines are how people write corpora, and JSON needs none.
fn pair(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = data.iter().position(|byte| *byte == b'\n')?;
    Some((&data[..at], &data[at + 1..]))
}

/// A tree that a server could have stored: it is no deeper than bodies may be.
fn tree_of(text: &[u8]) -> Option<Value> {
    serde_json::from_slice(text).ok()
}

/// An object, by the kind that it names.
fn object_of(text: &[u8]) -> Option<(&'static Resource, Map<String, Value>)> {
    let Value::Object(object) = tree_of(text)? else { return None };
    let kind = object.get("kind")?.as_str()?;
    let version = object.get("apiVersion")?.as_str()?;
    let resource = RESOURCES.iter().find(|it| it.gvk.kind == kind && it.api_version() == version)?;
    Some((resource, object))
}
