//! Label and field selectors, as text and as objects.
#![no_main]

use coracle_api::{FieldSelector, LabelSelector};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
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
    if let Some(tree) = coracle_fuzz::tree(data) {
        let _ = LabelSelector::from_value(&tree);
    }
});
