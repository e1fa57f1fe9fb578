//! What expressions may name, by where they stand.

use std::cmp::Ordering;

use kube_cel::cel::parser::Parser;

use super::{
    Fault, check,
    kind::{Field, Kind, Object},
    parse,
};
use crate::custom::cel::{apart, is_known, unfit};

/// What an expression may name.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    variables: Vec<(&'static str, Kind)>,
    /// Whether patches may be made.
    patches: bool,
}

const VARIABLES: &str = "variables";

impl Scope {
    /// What admission knows of a request, and its `params` and `authorizer` where there are some.
    pub fn of_admission(params: bool, authorizer: bool) -> Self {
        let mut variables = vec![
            ("object", Kind::Dyn),
            ("oldObject", Kind::Dyn),
            ("namespaceObject", Kind::Object(&NAMESPACE)),
            ("request", Kind::Object(&REQUEST)),
        ];
        if params {
            variables.push(("params", Kind::Dyn));
        }
        if authorizer {
            variables.push(("authorizer", Kind::Opaque("kubernetes.authorization.Authorizer")));
            let check = Kind::Opaque("kubernetes.authorization.ResourceCheck");
            variables.push(("authorizer.requestResource", check));
        }
        Self { variables, patches: false }
    }

    /// A device.
    pub fn of_devices() -> Self {
        Self { variables: vec![("device", Kind::Object(&DEVICE))], patches: false }
    }

    /// The same, where patches may be made.
    #[must_use]
    pub fn patching(self) -> Self {
        Self { patches: true, ..self }
    }

    /// The same with the variables of a policy.
    #[must_use]
    pub fn with(mut self, variables: &[(String, Kind)]) -> Self {
        self.variables.push((VARIABLES, Kind::Variables(variables.to_vec())));
        self
    }

    /// The type of a variable.
    pub fn variable(&self, name: &str) -> Option<Kind> {
        self.variables.iter().rfind(|(known, _)| *known == name).map(|(_, kind)| kind.clone())
    }

    /// The type of what is made with that name and braces.
    pub fn made(&self, name: &str) -> Option<Kind> {
        match name {
            "JSONPatch" if self.patches => Some(Kind::Opaque("JSONPatch")),
            "Object" if self.patches => Some(Kind::Opaque("Object")),
            name if self.patches && name.starts_with("Object.") => Some(Kind::Unknown),
            name if name.starts_with("google.protobuf.") => Some(Kind::Unknown),
            _ => None,
        }
    }

    /// Whether there is a function of that name.
    pub fn calls(&self, name: &str) -> bool {
        const OF_AUTHORIZERS: &[&str] = &[
            "group",
            "resource",
            "subresource",
            "namespace",
            "name",
            "check",
            "path",
            "serviceAccount",
            "allowed",
            "reason",
            "errored",
            "error",
            "fieldSelector",
            "labelSelector",
        ];
        const OF_OPTIONALS: &[&str] = &["of", "none", "ofNonZeroValue", "orValue", "or", "optional"];
        OF_AUTHORIZERS.contains(&name)
            || OF_OPTIONALS.contains(&name)
            || (self.patches && name == "escapeKey")
            || is_known(name)
    }

    /// The type of an expression.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn compile(&self, expression: &str) -> Result<Kind, Fault> {
        if let Some(why) = unfit(expression) {
            return Err(Fault::Unfit(why));
        }
        let compiled = apart(|| self.read(expression));
        compiled
            .unwrap_or_else(|()| Err(Fault::Unfit("the expression is too complex for this server".into())))
    }

    fn read(&self, expression: &str) -> Result<Kind, Fault> {
        if let Err(errors) = Parser::new().enable_optional_syntax(true).parse(expression) {
            // What the library says besides the grammar is of its own making.
            let of_grammar = |text: &str| text.starts_with("Syntax error: ");
            let any = errors.errors.iter().any(|error| of_grammar(&error.msg));
            let said = errors.errors.into_iter().filter(|error| !any || of_grammar(&error.msg));
            let faults = said.map(|error| {
                let (line, column) = (error.pos.0.max(1) as usize, error.pos.1.max(1) as usize);
                (line, column, error.msg)
            });
            return Err(wrong(expression, faults.collect()));
        }
        // What only the library reads is let through.
        let Some(node) = parse::parse(expression) else { return Ok(Kind::Unknown) };
        let (kind, faults) = check::check(&node, self);
        if faults.is_empty() {
            return Ok(kind);
        }
        let faults = faults.into_iter().map(|(at, text)| {
            let before: Vec<char> = expression.chars().take(at).collect();
            let line = before.iter().filter(|c| **c == '\n').count() + 1;
            let column = before.iter().rev().take_while(|c| **c != '\n').count() + 1;
            (line, column, text)
        });
        Err(wrong(expression, faults.collect()))
    }
}

// As upstream's compiler says it: each with its line, and a mark below.
fn wrong(expression: &str, mut faults: Vec<(usize, usize, String)>) -> Fault {
    faults.sort_by(|a, b| match a.0.cmp(&b.0) {
        Ordering::Equal => a.1.cmp(&b.1),
        other => other,
    });
    let shown: Vec<String> = faults
        .into_iter()
        .map(|(line, column, text)| {
            if expression.is_empty() {
                return format!("ERROR: <input>:1:0: {text}");
            }
            let of_line = expression.split('\n').nth(line - 1).unwrap_or_default().replace('\t', " ");
            format!("ERROR: <input>:{line}:{column}: {text}\n | {of_line}\n | {}^", ".".repeat(column - 1))
        })
        .collect();
    Fault::Wrong(format!("compilation failed: {}", shown.join("\n")))
}

static GROUP_VERSION_KIND: Object = Object {
    name: "kubernetes.GroupVersionKind",
    fields: &[("group", Field::String), ("version", Field::String), ("kind", Field::String)],
};

static GROUP_VERSION_RESOURCE: Object = Object {
    name: "kubernetes.GroupVersionResource",
    fields: &[("group", Field::String), ("version", Field::String), ("resource", Field::String)],
};

static USER: Object = Object {
    name: "kubernetes.UserInfo",
    fields: &[
        ("username", Field::String),
        ("uid", Field::String),
        ("groups", Field::Strings),
        ("extra", Field::Lists),
    ],
};

static REQUEST: Object = Object {
    name: "kubernetes.AdmissionRequest",
    fields: &[
        ("kind", Field::Object(&GROUP_VERSION_KIND)),
        ("resource", Field::Object(&GROUP_VERSION_RESOURCE)),
        ("subResource", Field::String),
        ("requestKind", Field::Object(&GROUP_VERSION_KIND)),
        ("requestResource", Field::Object(&GROUP_VERSION_RESOURCE)),
        ("requestSubResource", Field::String),
        ("name", Field::String),
        ("namespace", Field::String),
        ("operation", Field::String),
        ("userInfo", Field::Object(&USER)),
        ("dryRun", Field::Bool),
        ("options", Field::Dyn),
    ],
};

static NAMESPACE: Object = Object {
    name: "kubernetes.Namespace",
    fields: &[
        ("metadata", Field::Object(&NAMESPACE_METADATA)),
        ("spec", Field::Object(&NAMESPACE_SPEC)),
        ("status", Field::Object(&NAMESPACE_STATUS)),
    ],
};

static NAMESPACE_SPEC: Object =
    Object { name: "kubernetes.NamespaceSpec", fields: &[("finalizers", Field::Strings)] };

static NAMESPACE_STATUS: Object = Object {
    name: "kubernetes.NamespaceStatus",
    fields: &[("conditions", Field::Objects(&NAMESPACE_CONDITION)), ("phase", Field::String)],
};

static NAMESPACE_CONDITION: Object = Object {
    name: "kubernetes.NamespaceCondition",
    fields: &[
        ("status", Field::String),
        ("type", Field::String),
        ("lastTransitionTime", Field::Time),
        ("message", Field::String),
        ("reason", Field::String),
    ],
};

static NAMESPACE_METADATA: Object = Object {
    name: "kubernetes.NamespaceMetadata",
    fields: &[
        ("name", Field::String),
        ("generateName", Field::String),
        ("namespace", Field::String),
        ("labels", Field::Map),
        ("annotations", Field::Map),
        ("UID", Field::String),
        ("creationTimestamp", Field::Time),
        ("deletionGracePeriodSeconds", Field::Int),
        ("deletionTimestamp", Field::Time),
        ("generation", Field::Int),
        ("resourceVersion", Field::String),
        ("finalizers", Field::Strings),
    ],
};

static DEVICE: Object = Object {
    name: "kubernetes.DRADevice",
    fields: &[
        ("driver", Field::String),
        ("allowMultipleAllocations", Field::Bool),
        ("attributes", Field::ByDomain("")),
        ("capacity", Field::ByDomain("kubernetes.Quantity")),
    ],
};
