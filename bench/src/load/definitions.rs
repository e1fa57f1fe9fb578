//! Custom resource definitions: what one more costs in memory.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::create::unique;
use super::{Client, Clients, LoadError};
use crate::kubeconfig::Access;
use crate::process::Family;

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const PATIENCE: Duration = Duration::from_secs(60);

/// Makes so many definitions, and waits until they are served: how much the server's resident memory grows for
/// each.
///
/// # Errors
/// When one cannot be made, or is not served.
pub async fn measure(access: &Access, pid: u32, definitions: usize) -> Result<Value, LoadError> {
    let family = Family::of(pid);
    let mut client = Clients::spread(access, 1).await?.client(0).await?;
    let prefix = unique();
    // What the first ones make the server do once is not what one more costs.
    make(&mut client, &format!("{prefix}w"), 3).await?;
    settle().await;
    let before = family.resident();
    let begin = Instant::now();
    make(&mut client, &prefix, definitions).await?;
    let wall = begin.elapsed().as_secs_f64();
    settle().await;
    let grown = family.resident().saturating_sub(before) as f64;
    Ok(json!({
        "definitions": definitions,
        "kb_each": grown / 1e3 / definitions.max(1) as f64,
        "wall_s": wall,
    }))
}

async fn settle() {
    tokio::time::sleep(Duration::from_secs(10)).await;
}

async fn make(client: &mut Client, prefix: &str, count: usize) -> Result<(), LoadError> {
    for number in 0..count {
        client.ask("POST", DEFINITIONS, definition(&format!("{prefix}{number}"))).await?;
    }
    for number in 0..count {
        let path = format!("/apis/{prefix}{number}.bench.example.com/v1/things");
        let begin = Instant::now();
        loop {
            match client.ask("GET", &path, Bytes::new()).await {
                Ok(_) => break,
                Err(error) if begin.elapsed() > PATIENCE => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }
    Ok(())
}

// About as much as an operator's: some twenty fields with descriptions, status, scale and columns.
fn definition(name: &str) -> Bytes {
    let group = format!("{name}.bench.example.com");
    let described = |kind: &str| json!({"type": kind, "description": "What a person reads about this field, in a sentence or two of the usual length."});
    let mut fields: Map<String, Value> =
        (0..20).map(|n| (format!("field{n}"), described(["string", "integer", "boolean"][n % 3]))).collect();
    fields.insert("replicas".to_owned(), json!({"type": "integer", "minimum": 0, "default": 1}));
    fields.insert(
        "items".to_owned(),
        json!({"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string", "pattern": "^[a-z]+$"}}}}),
    );
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": fields},
        "status": {"type": "object", "properties": {"replicas": {"type": "integer"}, "phase": {"type": "string"}}},
    }});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("things.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": schema},
                "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}},
                "additionalPrinterColumns": [{"name": "Phase", "type": "string", "jsonPath": ".status.phase"}],
            }],
        },
    });
    Bytes::from(definition.to_string())
}
