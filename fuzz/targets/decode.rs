//! Bodies in JSON and YAML, as each kind; what is decoded has a protobuf form that reads back.
#![no_main]

use apiserver_lite::{
    codec::{self, protobuf},
    schema::decode,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((resource, body)) = coracle_fuzz::kind(data) else { return };
    let _ = decode::syntax(body);
    let _ = decode::yaml(body, &resource.gvk, &resource.schema);
    let Ok(decoded) = decode::json(body, &resource.gvk, &resource.schema) else { return };
    let _ = decoded.refusal(&resource.gvk);
    let message = protobuf::write::message(&decoded.object.0, &resource.schema);
    let enveloped = protobuf::write::envelope(&resource.api_version(), &resource.gvk.kind, &message);
    protobuf::read(&enveloped, &resource.schema).expect("what we write can be read");
    let stored = codec::json::plain(&decoded.object);
    let again = decode::json(&stored, &resource.gvk, &resource.schema).expect("what is stored can be decoded");
    assert!(codec::json::plain(&again.object) == stored, "the canonical form is its own");
});
