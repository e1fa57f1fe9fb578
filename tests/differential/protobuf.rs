//! Answers in protobuf.

use apiserver_lite::codec::protobuf::{self, write};
use serde_json::Value;

use crate::exchange::Exchange;
use crate::side::{Answer, Body};

/// The same read in protobuf, where the answer to a read was an object in JSON.
pub fn again(exchange: &Exchange, answer: &Answer) -> Option<Exchange> {
    let plain = exchange.request.starts_with("GET ")
        && exchange.watch.is_none()
        && exchange.headers.is_empty()
        && !exchange.request.starts_with("GET /openapi")
        && answer.headers.get("content-type").is_some_and(|it| it == "application/json");
    let Body::Tree(tree) = &answer.body else { return None };
    if !plain || tree.get("kind").is_none() {
        return None;
    }
    let mut again = exchange.clone();
    again.name = format!("{} (protobuf)", exchange.name);
    again.capture.clear();
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
