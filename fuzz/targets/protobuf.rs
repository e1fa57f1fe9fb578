//! Bodies in protobuf, as each kind: bare messages and with their envelope.
#![no_main]

use apiserver_lite::codec::protobuf::{self, write};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((resource, bytes)) = coracle_fuzz::kind(data) else { return };
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
});
