//! An object, a line's end, a strategic merge patch for its kind.
#![no_main]

use apiserver_lite::patch::strategic;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let Some((object, patch)) = coracle_fuzz::pair(data) else { return };
    let Some((resource, object)) = coracle_fuzz::object(object) else { return };
    let _ = strategic::check(patch);
    let _ = strategic::apply(Value::Object(object), patch, &resource.schema);
});
