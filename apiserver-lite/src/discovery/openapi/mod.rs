//! OpenAPI v2 and v3 from the rows and their schemas: what kubectl needs to
//! validate, apply, explain and diff, and client generators to generate.
//!
//! Facts come from the tables, descriptions from k8s-openapi.

use serde_json::{Map, Value, json};

use super::groups::{Group, Version};

mod custom;
mod definitions;
mod descriptions;
mod fingerprint;
mod gnostic;
mod operations;
mod paths;

pub use fingerprint::of as fingerprint;
pub use gnostic::protobuf;

use definitions::Definitions;

/// The two versions of OpenAPI, where they differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Swagger 2.0
    V2,
    /// OpenAPI 3.0
    V3,
}

impl Form {
    /// The reference to a definition.
    fn reference(self, name: &str) -> Value {
        let folder = match self {
            Self::V2 => "#/definitions/",
            Self::V3 => "#/components/schemas/",
        };
        json!({ "$ref": format!("{folder}{name}") })
    }
}

/// The name of a version's v3 document, `apis/apps/v1`.
pub fn name(group: &Group, version: &Version) -> String {
    match group.name.as_str() {
        "" => format!("api/{}", version.name),
        name => format!("apis/{name}/{}", version.name),
    }
}

/// The list of all v3 documents: by name, the URL.
pub fn index(urls: impl Iterator<Item = (String, String)>) -> Value {
    let paths: Map<_, _> = urls.map(|(name, url)| (name, json!({ "serverRelativeURL": url }))).collect();
    json!({ "paths": paths })
}

/// The v3 document of a version.
pub fn v3(group: &Group, version: &Version) -> Value {
    let mut definitions = Definitions::new(Form::V3);
    let paths = paths::of(group, version, &mut definitions);
    json!({
        "openapi": "3.0.0",
        "info": info(),
        "paths": paths,
        "components": {
            "schemas": definitions.finish(),
            "securitySchemes": { "BearerToken": bearer() },
        },
    })
}

/// The v2 document of all groups.
pub fn v2(groups: &[Group]) -> Value {
    let mut definitions = Definitions::new(Form::V2);
    let mut paths = Map::new();
    for group in groups {
        for version in &group.versions {
            paths.append(&mut paths::of(group, version, &mut definitions));
        }
    }
    json!({
        "swagger": "2.0",
        "info": info(),
        "paths": paths,
        "definitions": definitions.finish(),
        "securityDefinitions": { "BearerToken": bearer() },
        "security": [{ "BearerToken": [] }],
    })
}

fn info() -> Value {
    json!({ "title": "Kubernetes", "version": "1.37" })
}

fn bearer() -> Value {
    json!({ "description": "Bearer Token authentication", "type": "apiKey", "name": "authorization", "in": "header" })
}
