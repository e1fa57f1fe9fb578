//! Coracle's own custom resources: their Rust types, and the YAML generated
//! from them.
//!
//! [`NodePool`] asks for simulated nodes of a shape, [`Stage`] says how
//! simulated pods and nodes move on. `yaml/` has their definitions as a
//! cluster takes them, `examples/` what people may write. [`install`] gives
//! them to a cluster.

mod install;
pub mod node_pool;
pub mod stage;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

pub use install::install;
pub use node_pool::NodePool;
pub use stage::Stage;

/// The group of them all.
pub const GROUP: &str = "coracle.dev";
/// The version of them all.
pub const VERSION: &str = "v1alpha1";

/// The definitions of them all.
pub fn definitions() -> Vec<CustomResourceDefinition> {
    vec![NodePool::crd(), Stage::crd()]
}

#[cfg(test)]
mod tests {
    use expect_test::{ExpectFile, expect_file};
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_yaml_is_what_the_types_say() {
        let check = |crd: CustomResourceDefinition, expected: ExpectFile| {
            let yaml = serde_yaml_ng::to_string(&crd).unwrap();
            let name = crd.metadata.name.unwrap();
            expected.assert_eq(&format!("# Generated from the types: {name}\n{yaml}"));
        };
        check(NodePool::crd(), expect_file!["../yaml/nodepools.yaml"]);
        check(Stage::crd(), expect_file!["../yaml/stages.yaml"]);
    }

    #[test]
    fn schemas_are_structural() {
        fn walk(schema: &Value, path: &str) {
            let open = schema["x-kubernetes-preserve-unknown-fields"] == true;
            let typed = schema["type"].is_string() || schema["x-kubernetes-int-or-string"] == true;
            assert!(typed || open, "{path} has no type: {schema}");
            for key in ["$ref", "oneOf", "anyOf", "allOf", "definitions"] {
                assert!(schema.get(key).is_none(), "{path} has {key}");
            }
            for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
                walk(inner, &format!("{path}.{name}"));
            }
            for key in ["items", "additionalProperties"] {
                if schema[key].is_object() {
                    walk(&schema[key], &format!("{path}.{key}"));
                }
            }
        }
        for crd in definitions() {
            let value = serde_json::to_value(&crd).unwrap();
            walk(&value["spec"]["versions"][0]["schema"]["openAPIV3Schema"], &crd.spec.names.kind);
        }
    }

    #[test]
    fn the_examples_are_read() {
        let mut read = 0;
        for entry in std::fs::read_dir("examples").unwrap() {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            for document in serde_yaml_ng::Deserializer::from_str(&text) {
                let value: Value = serde::Deserialize::deserialize(document).unwrap();
                match value["kind"].as_str() {
                    Some("NodePool") => drop(serde_json::from_value::<NodePool>(value).unwrap()),
                    Some("Stage") => drop(serde_json::from_value::<Stage>(value).unwrap()),
                    _ => continue,
                }
                read += 1;
            }
        }
        assert!(read > 0, "{read} examples");
    }
}
