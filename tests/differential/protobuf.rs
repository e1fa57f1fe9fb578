//! Answers in protobuf.

use apiserver_lite::codec::protobuf::{self, write};
use serde_json::{Value, json};

use crate::exchange::Exchange;
use crate::side::{Answer, Body};

/// The same read in protobuf, where the answer to a read was an object in JSON.
pub fn again(exchange: &Exchange, answer: &Answer) -> Option<Exchange> {
    let plain = exchange.request.starts_with("GET ")
        && exchange.headers.is_empty()
        && !exchange.request.starts_with("GET /openapi")
        && answer.headers.get("content-type").is_some_and(|it| it == "application/json");
    let of_kind = match &answer.body {
        Body::Tree(tree) => tree.get("kind").is_some(),
        // What was done during a watch cannot be done again.
        Body::Frames { .. } => exchange.watch.as_ref().is_some_and(|watch| watch.during.is_empty()),
        _ => false,
    };
    if !plain || !of_kind {
        return None;
    }
    let mut again = exchange.clone();
    again.name = format!("{} (protobuf)", exchange.name);
    again.capture.clear();
    // It is so by now.
    again.until.clear();
    again.headers.insert("Accept".into(), "application/vnd.kubernetes.protobuf".into());
    Some(again)
}

/// What bytes in an envelope say, and whether our writer makes the same bytes of it.
pub fn answer(bytes: &[u8]) -> Result<(Body, String), String> {
    let unread = |error: String| format!("the protobuf is not readable: {error}");
    let (version, kind) = protobuf::types(bytes).map_err(|error| unread(error.to_string()))?;
    let schema = protobuf::known(&version, &kind).ok_or_else(|| unread(format!("{version} {kind}")))?;
    let read = protobuf::read(bytes, &schema).map_err(|error| unread(error.to_string()))?;
    let written = write::envelope(&version, &kind, &write::message(&read.object, &schema));
    let layout = if written == bytes {
        "as we write it".to_owned()
    } else {
        let common = written.iter().zip(bytes).take_while(|(a, b)| a == b).count();
        let part =
            |bytes: &[u8]| format!("{:02x?}", &bytes[common.min(bytes.len())..bytes.len().min(common + 24)]);
        format!("from byte {common} on {}, where we write {}", part(bytes), part(&written))
    };
    let mut tree = read.object;
    tree.insert("apiVersion".into(), version.into());
    tree.insert("kind".into(), kind.into());
    Ok((Body::Tree(Value::Object(tree)), layout))
}

/// The frames of a watch: each has its length before it.
pub fn frames(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (frame, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        rest = after;
        Some(frame)
    })
}

/// An event in a frame. Its object is in an envelope in a message.
pub fn event(frame: &[u8]) -> Result<Value, String> {
    let (kind, rest) = part(frame, 1)?;
    let (raw, end) = part(rest, 2)?;
    let (object, end_of_raw) = part(raw, 1)?;
    if !end.is_empty() || !end_of_raw.is_empty() {
        return Err("an event has more than a type and an object".into());
    }
    let (body, layout) = answer(object)?;
    let Body::Tree(object) = body else { return Err("an event's object is no object".into()) };
    Ok(json!({ "type": String::from_utf8_lossy(kind), "object": object, "layout": layout }))
}

// The bytes of the field that a message begins with, and what follows.
fn part(bytes: &[u8], number: u8) -> Result<(&[u8], &[u8]), String> {
    let cut = || format!("an event breaks off before field {number}");
    let (tag, mut rest) = bytes.split_first().ok_or_else(cut)?;
    if *tag != number << 3 | 2 {
        return Err(format!("a tag of {tag} where field {number} was to come"));
    }
    let (mut length, mut shift) = (0usize, 0);
    loop {
        let (byte, after) = rest.split_first().ok_or_else(cut)?;
        rest = after;
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    rest.split_at_checked(length).ok_or_else(cut)
}
