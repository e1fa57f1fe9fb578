//! What becomes of a CRD: its names are accepted or not, it is established,
//! it goes. Pure; [`super::keeper`] writes it down.

use std::collections::BTreeSet;

use coracle_api::{Object, field::aggregate};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::definition::is_true;
use crate::{
    registry::metadata,
    resources::{
        apiextensions::{approval, structural},
        tree::{field, list, text, texts},
    },
};

/// The finalizer of CRDs that have, or had, instances.
pub const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// The names that other CRDs of a group have.
#[derive(Debug, Default, Clone)]
pub struct Taken {
    /// Plurals, singulars and short names.
    pub resources: BTreeSet<String>,
    /// Kinds and list kinds.
    pub kinds: BTreeSet<String>,
}

impl Taken {
    /// Adds the names that were accepted of a CRD.
    pub fn add(&mut self, crd: &Object) {
        let names = field(crd, &["status", "acceptedNames"]);
        let resources = ["plural", "singular"].map(|it| text(&names[it])).into_iter();
        self.resources.extend(resources.chain(texts(&names["shortNames"])).map(str::to_owned));
        self.kinds.extend(["kind", "listKind"].map(|it| text(&names[it]).to_owned()));
    }
}

/// A condition of a CRD.
pub struct Condition<'a> {
    /// Its type.
    pub kind: &'a str,
    /// `True`, `False`.
    pub status: &'a str,
    /// Why, in a word.
    pub reason: &'a str,
    /// Why.
    pub message: &'a str,
}

/// Sets a condition; its time is that of its status.
pub fn set(crd: &mut Object, condition: &Condition<'_>, now: Timestamp) {
    let status = crd.section_mut("status");
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    if !conditions.is_array() {
        *conditions = json!([]);
    }
    let Some(conditions) = conditions.as_array_mut() else { return };
    let mut made = json!({
        "type": condition.kind,
        "status": condition.status,
        "lastTransitionTime": metadata::stamp(now),
        "reason": condition.reason,
        "message": condition.message,
    });
    match conditions.iter_mut().find(|it| it["type"] == condition.kind) {
        Some(there) => {
            if there["status"] == made["status"] && there["lastTransitionTime"].is_string() {
                made["lastTransitionTime"] = there["lastTransitionTime"].take();
            }
            *there = made;
        }
        None => conditions.push(made),
    }
}

fn condition<'a>(crd: &'a Object, kind: &str) -> Option<&'a Value> {
    list(field(crd, &["status", "conditions"])).iter().find(|it| text(&it["type"]) == kind)
}

/// The next state of a CRD, or `None` when it is as it should be. Upstream
/// takes each step in a write of its own, and so do we.
pub fn next(crd: &Object, taken: &Taken, now: Timestamp) -> Option<Object> {
    named(crd, taken, now)
        .or_else(|| established(crd, now))
        .or_else(|| approved(crd, now))
        .or_else(|| structured(crd, now))
}

fn named(crd: &Object, taken: &Taken, now: Timestamp) -> Option<Object> {
    let (wanted, accepted) = (field(crd, &["spec", "names"]), field(crd, &["status", "acceptedNames"]));
    if wanted == accepted {
        return None;
    }
    let mut names = accepted.clone();
    if !names.is_object() {
        names = json!({});
    }
    let mut conflict: Option<(&str, String)> = None;
    let fresh = |name: &str, own: &str, used: &BTreeSet<String>| {
        if name == own || !used.contains(name) { Ok(()) } else { Err(format!("{name:?} is already in use")) }
    };
    for (name, reason, used) in [
        ("plural", "PluralConflict", &taken.resources),
        ("singular", "SingularConflict", &taken.resources),
        ("shortNames", "ShortNamesConflict", &taken.resources),
        ("kind", "KindConflict", &taken.kinds),
        ("listKind", "ListKindConflict", &taken.kinds),
    ] {
        let refused = if name == "shortNames" {
            let own = texts(&accepted[name]);
            let errors: Vec<String> = texts(&wanted[name])
                .into_iter()
                .filter(|it| !own.contains(it))
                .filter_map(|it| fresh(it, "", used).err())
                .collect();
            match errors.as_slice() {
                [] => None,
                [one] => Some(one.clone()),
                many => Some(format!("[{}]", many.join(", "))),
            }
        } else {
            fresh(text(&wanted[name]), text(&accepted[name]), used).err()
        };
        match refused {
            Some(message) => conflict = Some((reason, message)),
            None => put(&mut names, name, &wanted[name]),
        }
    }
    put(&mut names, "categories", &wanted["categories"]);
    let mut new = crd.clone();
    new.section_mut("status").insert("acceptedNames".to_owned(), names);
    let (reason, message) =
        conflict.as_ref().map_or(("NoConflicts", "no conflicts found"), |it| (it.0, &it.1));
    let status = if conflict.is_some() { "False" } else { "True" };
    let found = condition(crd, "NamesAccepted");
    let same =
        found.is_some_and(|it| it["status"] == status && it["reason"] == reason && it["message"] == message);
    if same && field(&new, &["status", "acceptedNames"]) == accepted {
        return None;
    }
    set(&mut new, &Condition { kind: "NamesAccepted", status, reason, message }, now);
    let kind = "Established";
    if !is_true(crd, kind) && conflict.is_none() {
        let (reason, message) = ("Installing", "the initial names have been accepted");
        set(&mut new, &Condition { kind, status: "False", reason, message }, now);
    } else if condition(crd, kind).is_none() {
        let (reason, message) = ("NotAccepted", "not all names are accepted");
        set(&mut new, &Condition { kind, status: "False", reason, message }, now);
    }
    Some(new)
}

fn put(names: &mut Value, name: &str, value: &Value) {
    let Some(names) = names.as_object_mut() else { return };
    if value.is_null() {
        names.remove(name);
    } else {
        names.insert(name.to_owned(), value.clone());
    }
}

fn established(crd: &Object, now: Timestamp) -> Option<Object> {
    if !is_true(crd, "NamesAccepted") || is_true(crd, "Established") {
        return None;
    }
    let mut new = crd.clone();
    let (reason, message) = ("InitialNamesAccepted", "the initial names have been accepted");
    set(&mut new, &Condition { kind: "Established", status: "True", reason, message }, now);
    Some(new)
}

fn approved(crd: &Object, now: Timestamp) -> Option<Object> {
    let kind = "KubernetesAPIApprovalPolicyConformant";
    let (status, reason, message) = approval::condition(crd)?;
    let same = condition(crd, kind)
        .is_some_and(|it| it["status"] == status && it["reason"] == reason && it["message"] == *message);
    if same {
        return None;
    }
    let mut new = crd.clone();
    set(&mut new, &Condition { kind, status, reason, message: &message }, now);
    Some(new)
}

fn structured(crd: &Object, now: Timestamp) -> Option<Object> {
    let kind = "NonStructuralSchema";
    let faults = structural::violations(field(crd, &["spec"]));
    let there = condition(crd, kind);
    if faults.is_empty() {
        there?;
        let mut new = crd.clone();
        let conditions = new.section_mut("status").get_mut("conditions").and_then(Value::as_array_mut);
        conditions?.retain(|it| it["type"] != kind);
        return Some(new);
    }
    let message = aggregate(&faults);
    if there.is_some_and(|it| it["status"] == "True" && it["message"] == message) {
        return None;
    }
    let mut new = crd.clone();
    set(&mut new, &Condition { kind, status: "True", reason: "Violations", message: &message }, now);
    Some(new)
}

/// The CRD as its instances are being deleted.
pub fn deleting(crd: &Object, now: Timestamp) -> Object {
    let mut new = crd.clone();
    let (reason, message) = ("InstanceDeletionInProgress", "CustomResource deletion is in progress");
    set(&mut new, &Condition { kind: "Terminating", status: "True", reason, message }, now);
    new
}

/// The CRD as it goes: whether its instances are gone, or never were.
pub fn released(crd: &Object, had_instances: bool, now: Timestamp) -> Object {
    let mut new = crd.clone();
    let (reason, message) = if had_instances {
        ("InstanceDeletionCompleted", "removed all instances")
    } else {
        ("NeverEstablished", "resource was never established")
    };
    set(&mut new, &Condition { kind: "Terminating", status: "False", reason, message }, now);
    let left = crd.finalizers().filter(|it| *it != CLEANUP).map(str::to_owned).collect();
    metadata::set_finalizers(&mut new, left);
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crd(names: Value, status: Value) -> Object {
        let crd = json!({
            "metadata": { "name": "boats.example.com" },
            "spec": { "group": "example.com", "names": names, "versions": [] },
            "status": status,
        });
        Object::from_value(crd).expect("an object")
    }

    // Steps until nothing is left to do; the conditions of each.
    fn check(names: Value, status: Value, taken: &[(&str, &str)], expected: &[&str]) {
        let mut all = Taken::default();
        all.resources.extend(taken.iter().map(|it| it.0.to_owned()));
        all.kinds.extend(taken.iter().map(|it| it.1.to_owned()));
        let mut crd = crd(names, status);
        let mut steps = Vec::new();
        while let Some(next) = next(&crd, &all, Timestamp::UNIX_EPOCH) {
            let conditions = list(field(&next, &["status", "conditions"]));
            let shown = conditions
                .iter()
                .map(|it| format!("{}={}/{}", text(&it["type"]), text(&it["status"]), text(&it["reason"])));
            let plural = text(field(&next, &["status", "acceptedNames", "plural"]));
            steps.push(format!("{plural} {}", shown.collect::<Vec<_>>().join(" ")));
            crd = next;
        }
        assert_eq!(steps, expected);
    }

    fn names() -> Value {
        json!({ "plural": "boats", "singular": "boat", "kind": "Boat", "listKind": "BoatList", "shortNames": ["bo"] })
    }

    #[test]
    fn free_names_are_accepted_and_the_kind_established() {
        let both = [
            "boats NamesAccepted=True/NoConflicts Established=False/Installing",
            "boats NamesAccepted=True/NoConflicts Established=True/InitialNamesAccepted",
        ];
        check(names(), json!({ "acceptedNames": { "plural": "", "kind": "" } }), &[], &both);
        check(names(), json!({}), &[("ships", "Ship")], &both);
    }

    #[test]
    fn names_in_use_are_refused_one_by_one() {
        check(
            names(),
            json!({}),
            &[("x", "Boat")],
            &["boats NamesAccepted=False/KindConflict Established=False/NotAccepted"],
        );
        check(
            names(),
            json!({}),
            &[("boats", "")],
            &[" NamesAccepted=False/PluralConflict Established=False/NotAccepted"],
        );
        check(
            names(),
            json!({}),
            &[("bo", "BoatList")],
            &["boats NamesAccepted=False/ListKindConflict Established=False/NotAccepted"],
        );
    }
}
