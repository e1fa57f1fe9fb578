//! An object as it is stored, a line's end, a configuration that is applied to it.
#![no_main]

use apiserver_lite::{
    apply::{Writer, applied, updated},
    schema::decode,
};
use coracle_api::Object;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let Some((live, config)) = coracle_fuzz::pair(data) else { return };
    let Some((resource, live)) = coracle_fuzz::object(live) else { return };
    let Ok(live) = decode::value(&Value::Object(live), &resource.gvk, &resource.schema) else { return };
    let Some(config) = coracle_fuzz::tree(config).and_then(Object::from_value) else { return };
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
    if let Ok(mut new) = decode::value(&Value::Object(config.0), &resource.gvk, &resource.schema) {
        updated(resource, Some(&live.object), &mut new.object, &writer);
    }
});
