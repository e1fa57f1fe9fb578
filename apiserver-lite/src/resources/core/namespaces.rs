//! Namespaces.
//!
//! A deletion marks the namespace `Terminating`; it stays as long as
//! `spec.finalizers` holds something, which only `/finalize` changes.

use coracle_api::{FieldError, FieldPath, Object, format};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    registry::{delete::Decision, options::DeleteOptions},
    resources::{
        Column, Part, Strategy, Write,
        columns::{AGE, NAME, show},
        restore,
        tree::{field, map_mut, text, texts, time},
    },
};

/// The finalizer that the namespace controller takes away when the namespace
/// is empty.
pub const FINALIZER: &str = "kubernetes";
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// The behaviour of namespaces.
pub struct Namespaces;

impl Strategy for Namespaces {
    fn default(&self, object: &mut Object) {
        label_with_name(object);
        let phase = field(object, &["status", "phase"]);
        if text(phase).is_empty() {
            object.section_mut("status").insert("phase".to_owned(), "Active".into());
        }
    }

    fn prepare(&self, write: &Write<'_>, new: &mut Object, old: Option<&Object>) {
        match (write.part, old) {
            (_, None) => {
                // A generated name comes after the defaults.
                label_with_name(new);
                new.0.insert("status".to_owned(), json!({"phase": "Active"}));
                add_finalizer(new);
            }
            (Part::Status, Some(old)) => restore(new, old, "spec"),
            (Part::Other("finalize"), Some(old)) => restore(new, old, "status"),
            (_, Some(old)) => {
                restore(new, old, "spec");
                restore(new, old, "status");
            }
        }
    }

    fn validate(&self, write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        match (write.part, old) {
            (Part::Status, Some(_)) => phase_fits(new),
            (part, _) => {
                let path = FieldPath::new("spec").child("finalizers");
                let indexed = part == Part::Other("finalize");
                let names = texts(field(new, &["spec", "finalizers"])).into_iter().enumerate();
                names
                    .flat_map(|(index, name)| {
                        finalizer(name, &if indexed { path.index(index) } else { path.clone() })
                    })
                    .collect()
            }
        }
    }

    fn name(&self, name: &str, prefix: bool) -> Vec<String> {
        format::name_is_label(name, prefix)
    }

    fn selectors(&self) -> &'static [&'static str] {
        &["status.phase"]
    }

    fn selectable(&self, object: &Object) -> Vec<(&'static str, String)> {
        vec![("status.phase", object.get_str(&["status", "phase"]).to_owned())]
    }

    // The first deletion marks the namespace; then it waits for its content to
    // go, which `spec.finalizers` stand for.
    fn deletion(&self, object: &Object, options: &DeleteOptions, now: Timestamp) -> Option<Decision> {
        if object.deleting() {
            return (!self.may_go(object)).then_some(Decision::Wait);
        }
        let mut marked = object.clone();
        marked.set_meta("deletionTimestamp", Some(time(now)));
        marked.section_mut("status").insert("phase".to_owned(), "Terminating".into());
        collector_finalizers(&mut marked, options);
        Some(Decision::Mark(marked))
    }

    fn may_go(&self, object: &Object) -> bool {
        texts(field(object, &["spec", "finalizers"])).is_empty()
    }

    fn returns_deleted(&self) -> bool {
        true
    }
}

// What the options say about dependents, as finalizers for the garbage
// collector. Without a word they stay as they are.
fn collector_finalizers(object: &mut Object, options: &DeleteOptions) {
    let policy = options.propagation_policy.as_deref();
    for (finalizer, orphans) in [("orphan", true), ("foregroundDeletion", false)] {
        let has = object.finalizers().any(|it| it == finalizer);
        let wanted = match (options.orphan_dependents, policy) {
            (Some(orphan), _) => orphan == orphans,
            (None, Some(policy)) => policy == if orphans { "Orphan" } else { "Foreground" },
            (None, None) => has,
        };
        if has != wanted {
            let mut names: Vec<Value> =
                object.finalizers().filter(|it| *it != finalizer).map(Value::from).collect();
            if wanted {
                names.push(finalizer.into());
            }
            object.set_meta("finalizers", (!names.is_empty()).then_some(Value::Array(names)));
        }
    }
}

fn label_with_name(object: &mut Object) {
    let name = object.name().to_owned();
    if !name.is_empty() {
        map_mut(object.metadata_mut(), "labels").insert(NAME_LABEL.to_owned(), name.into());
    }
}

fn add_finalizer(object: &mut Object) {
    let finalizers = object.section_mut("spec").entry("finalizers").or_insert_with(|| json!([]));
    if !finalizers.is_array() {
        *finalizers = json!([]);
    }
    if let Value::Array(list) = finalizers
        && !list.iter().any(|it| it == FINALIZER)
    {
        list.push(FINALIZER.into());
    }
}

fn phase_fits(new: &Object) -> Vec<FieldError> {
    let phase = new.get_str(&["status", "phase"]);
    let (fits, detail) = if new.deleting() {
        (phase == "Terminating", "may only be 'Terminating' if `deletionTimestamp` is not empty")
    } else {
        (phase == "Active", "may only be 'Active' if `deletionTimestamp` is empty")
    };
    if fits {
        Vec::new()
    } else {
        vec![FieldError::invalid(&FieldPath::new("status").child("Phase"), phase, detail)]
    }
}

fn finalizer(name: &str, path: &FieldPath) -> Vec<FieldError> {
    let mut errors: Vec<FieldError> = format::qualified_name(name)
        .into_iter()
        .map(|fault| FieldError::invalid(path, name, fault))
        .collect();
    if !name.contains('/') && !["kubernetes", "orphan", "foregroundDeletion"].contains(&name) {
        let detail = "name is neither a standard finalizer name nor is it fully qualified";
        errors.push(FieldError::invalid(path, name, detail));
    }
    errors
}

/// The columns.
pub static COLUMNS: &[Column] = &[
    NAME,
    Column::new("Status", "string", "The status of the namespace", |it, _| show(it, &["status", "phase"])),
    AGE,
];
