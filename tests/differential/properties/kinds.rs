//! The kinds that are stored, with an object of each that is valid: those of `exchanges/whole.yaml`.

use std::path::Path;

use apiserver_lite::codec::protobuf::known;
use coracle_api::schema::{Ref, Struct};
use serde_json::Value;

use crate::exchange;
use crate::template::{Variables, expand};

/// The group of which objects, once stored, change what a server does to others.
const FAR_REACHING: &str = "admissionregistration.k8s.io/";
/// Groups whose controllers are in the API server.
const ACTED_ON: [&str; 3] = ["apiextensions.k8s.io/", "apiregistration.k8s.io/", "flowcontrol."];

pub struct Kind {
    pub version: String,
    pub kind: String,
    /// The path of the collection.
    pub url: String,
    /// The namespace, which no other kind is in: quotas and limits would reach others.
    pub namespace: String,
    /// A name that the kind allows.
    pub name: String,
    /// A valid object, without metadata.
    pub base: Value,
    pub schema: Ref<Struct>,
}

impl Kind {
    /// Those of the file.
    ///
    /// # Errors
    /// When a case is not as they are, or no table has the kind.
    pub fn all(file: &Path, run: &str) -> Result<Vec<Self>, String> {
        let variables: Variables = [("run".to_owned(), run.into())].into();
        let cases = exchange::cases(file, variables)?;
        cases.iter().enumerate().map(|(at, case)| Self::read(case, format!("kind-{at}-{run}"))).collect()
    }

    fn read(case: &Value, namespace: String) -> Result<Self, String> {
        let variables: Variables = [("ns".to_owned(), namespace.clone().into())].into();
        let case = expand(case, &variables);
        let text = |name: &str| case.get(name).and_then(Value::as_str).map(str::to_owned);
        let missing = || format!("a case without version, kind or url: {case}");
        let (version, kind) = (text("version").ok_or_else(missing)?, text("kind").ok_or_else(missing)?);
        let schema = known(&version, &kind).ok_or_else(|| format!("no kind {version} {kind}"))?;
        let base = case.get("full").cloned().unwrap_or_default();
        let url = text("url").ok_or_else(missing)?;
        let name = text("b").unwrap_or_else(|| "b".to_owned());
        Ok(Self { version, kind, url, namespace, name, base, schema })
    }

    /// Whether any may be stored. Of some the real server writes the status itself, when it gets to it, and a new
    /// network keeps it from giving out addresses for a while.
    pub fn is_stored(&self) -> bool {
        self.kind != "ServiceCIDR" && !ACTED_ON.iter().any(|group| self.version.starts_with(group))
    }

    /// Whether objects by chance may be stored.
    pub fn is_harmless(&self) -> bool {
        !self.version.starts_with(FAR_REACHING)
    }

    /// A name that no other case has.
    pub fn name_for(&self, seed: u64) -> String {
        match self.kind.as_str() {
            "IPAddress" => format!("203.0.{}.{}", 113 + seed / 250 % 100, seed % 250),
            "CustomResourceDefinition" | "APIService" => self.name.clone(),
            _ => format!("{}-{seed}", self.name),
        }
    }
}
