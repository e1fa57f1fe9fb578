//! The small languages: quantities, schedules, JSON paths, field sets.
#![no_main]

use apiserver_lite::{apply::fieldset::FieldSet, custom::json_path::JsonPath};
use coracle_api::{Quantity, schedule::Schedule};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
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
    let (path, tree) = coracle_fuzz::pair(data).unwrap_or((data, data));
    let Some(tree) = coracle_fuzz::tree(tree) else { return };
    if let Ok(path) = JsonPath::parse(&String::from_utf8_lossy(path)) {
        let _ = path.find(&tree);
    }
    if let Ok(set) = FieldSet::decode(&tree) {
        let encoded = set.encode();
        let again = FieldSet::decode(&encoded).expect("what we encode can be decoded");
        assert_eq!(again.encode(), encoded);
    }
});
