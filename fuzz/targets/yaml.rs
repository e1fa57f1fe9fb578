//! YAML that becomes a tree, and trees that become YAML.
#![no_main]

use apiserver_lite::codec::yaml;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some(tree) = coracle_fuzz::tree(data) {
        let _ = yaml::write(&tree);
    }
    if let Ok(tree) = yaml::read(data) {
        let _ = yaml::write(&tree);
    }
});
