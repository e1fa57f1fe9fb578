//! Each case of `tests.yaml`: what is there, what is written, and what of the
//! stored object, or of the refusal, is expected.

use std::sync::Arc;

use coracle_store::{Embedded, Mode, Options};
use serde::Deserialize;
use serde_json::Value;

use super::*;
use crate::{
    codec,
    config::Config,
    registry::{
        Rows, bootstrap,
        change::Change,
        options::WriteOptions,
        write::{Author, Written},
    },
    resources,
    watch::Hub,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(default)]
    user: String,
    #[serde(default)]
    have: Vec<Value>,
    #[serde(default)]
    create: Value,
    #[serde(default)]
    update: Value,
    #[serde(default)]
    part: String,
    // JSON pointers and what is there; `null`: nothing.
    #[serde(default)]
    expect: serde_json::Map<String, Value>,
    #[serde(default)]
    warn: Vec<String>,
    #[serde(default)]
    error: String,
}

struct Fixture {
    registry: Registry,
    user: User,
    warnings: Vec<String>,
}

impl Fixture {
    async fn new(user: &str) -> Self {
        let hub = Arc::new(Hub::new(10));
        let store = Arc::new(Embedded::open(Options::new(Mode::Memory, hub.clone())).unwrap());
        let registry = Registry::new(store, hub, Config::default(), Rows::new(resources::builtins()));
        bootstrap::run(&registry).await.unwrap();
        let user = match user {
            "" => User::authenticated("admin", &["system:masters"]),
            name => User::authenticated(name, &[]),
        };
        Self { registry, user, warnings: Vec::new() }
    }

    async fn write(&mut self, object: &Value, part: Option<&str>) -> Result<Object, ApiError> {
        let mut object = Object::from_value(object.clone()).unwrap();
        let (group, version) = object.api_version().rsplit_once('/').unwrap_or(("", object.api_version()));
        let rows = self.registry.rows();
        let is = |facts: &coracle_api::Resource| {
            (&*facts.gvk.group, &*facts.gvk.version, &*facts.gvk.kind) == (group, version, object.kind())
        };
        let row = rows.all().iter().find(|row| is(&row.facts)).unwrap().clone();
        if row.facts.namespaced && object.namespace().is_empty() {
            object.set_meta("namespace", Some("default".into()));
        }
        row.strategy.default(&mut object);
        let namespace = object.namespace().to_owned();
        let target = Target { row, namespace, name: object.name().to_owned() };
        let options = WriteOptions::own();
        let mut author =
            Author { user: &self.user, options: &options, manager: "test", warnings: Vec::new() };
        let written = match part {
            None => self.registry.create(&target, object, &mut author).await,
            Some(part) => {
                let part = match part {
                    "" => Part::Whole,
                    "status" => Part::Status,
                    other => Part::Other(other),
                };
                self.registry.update(&target, part, &Change::Replace(object), &mut author).await
            }
        };
        self.warnings = author.warnings;
        match written? {
            Written::Stored { record, .. } | Written::Deleted(record) => {
                Ok(codec::json::parse_stored(&record.bytes))
            }
            Written::Dry { object, .. } => Ok(object),
        }
    }
}

async fn check(case: &Case) {
    let name = &case.name;
    let mut fixture = Fixture::new(&case.user).await;
    for object in &case.have {
        fixture.write(object, None).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        if !object["status"].is_null() {
            fixture.write(object, Some("status")).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
    let written = match case.update.is_null() {
        true => fixture.write(&case.create, None).await,
        false => fixture.write(&case.update, Some(&case.part)).await,
    };
    let error = written.as_ref().err().map(ToString::to_string).unwrap_or_default();
    assert_eq!(error, case.error, "{name}");
    if error.is_empty() {
        assert_eq!(fixture.warnings, case.warn, "{name}");
    }
    let Ok(object) = written else { return };
    let object = object.into_value();
    for (path, expected) in &case.expect {
        let found = object.pointer(path).unwrap_or(&Value::Null);
        assert_eq!(&masked(found), expected, "{name}: {path}");
    }
}

// Names of token volumes are random.
fn masked(value: &Value) -> Value {
    match value {
        Value::String(text) if text.starts_with("kube-api-access-") => "kube-api-access-*".into(),
        Value::Array(list) => list.iter().map(masked).collect(),
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), masked(value))).collect(),
        other => other.clone(),
    }
}

#[tokio::test]
async fn plugins_admit_as_upstream() {
    let cases: Vec<Case> = serde_yaml_ng::from_str(include_str!("tests.yaml")).unwrap();
    for case in &cases {
        check(case).await;
    }
}
