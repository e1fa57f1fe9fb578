//! `metadata.managedFields`: what each manager owns, how it is read and written,
//! and how a write that is not an apply changes it.

use std::{borrow::Cow, cmp::Ordering};

use coracle_api::{Object, Resource, facts, schema::Ref};
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{
    Writer,
    fieldset::FieldSet,
    reconcile::reconcile,
    reset::Filter,
    walk::{self, Difference},
};

// More updaters than this are put together, the oldest first.
const MOST_UPDATERS: usize = 10;
const ANCIENT: &str = "ancient-changes";

/// Fields that nobody owns.
const UNOWNED: &[&[&str]] = &[
    &["apiVersion"],
    &["kind"],
    &["metadata"],
    &["metadata", "clusterName"],
    &["metadata", "creationTimestamp"],
    &["metadata", "generation"],
    &["metadata", "managedFields"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "resourceVersion"],
    &["metadata", "selfLink"],
    &["metadata", "uid"],
];

/// One entry of managedFields.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// The field manager.
    pub manager: Cow<'a, str>,
    /// `Apply`, or else `Update`.
    pub applied: bool,
    /// The version in which the fields are named.
    pub version: Cow<'a, str>,
    /// The subresource that was written.
    pub subresource: Cow<'a, str>,
    /// When it last changed, RFC 3339.
    pub time: Option<Cow<'a, str>>,
    /// What it owns.
    pub fields: FieldSet<'a>,
    /// Where the entry stands unchanged in the list it was read from.
    pub kept: Option<usize>,
}

impl<'a> Entry<'a> {
    /// Whether a write by `other` goes to this entry. Appliers have one for
    /// all versions.
    pub fn same_manager(&self, other: &Entry<'_>) -> bool {
        self.manager == other.manager
            && self.applied == other.applied
            && self.subresource == other.subresource
            && (self.applied || self.version == other.version)
    }

    /// Upstream's name for the manager, by which it sorts.
    pub fn identifier(&self) -> String {
        let operation = if self.applied { "Apply" } else { "Update" };
        let parts = [
            ("manager", self.manager.as_ref()),
            ("operation", operation),
            ("apiVersion", if self.applied { "" } else { self.version.as_ref() }),
            ("subresource", self.subresource.as_ref()),
        ];
        let mut text = String::from("{");
        for (name, value) in parts.into_iter().filter(|(_, value)| !value.is_empty()) {
            let comma = if text.len() > 1 { "," } else { "" };
            text.push_str(&format!("{comma}\"{name}\":{}", Value::from(value)));
        }
        text.push('}');
        text
    }

    fn decode(entry: &'a Value, place: usize) -> Option<Self> {
        let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
        let applied = match text("operation") {
            "Apply" => true,
            "Update" => false,
            _ => return None,
        };
        let version = text("apiVersion");
        if version.is_empty() || text("fieldsType") != "FieldsV1" {
            return None;
        }
        let fields = match entry.get("fieldsV1") {
            None => FieldSet::default(),
            Some(fields) => FieldSet::decode(fields).ok()?,
        };
        Some(Self {
            manager: text("manager").into(),
            applied,
            version: version.into(),
            subresource: text("subresource").into(),
            time: entry.get("time").and_then(Value::as_str).map(Cow::Borrowed),
            fields,
            kept: Some(place),
        })
    }

    fn encode(&self) -> Value {
        let mut out = Map::new();
        let operation = if self.applied { "Apply" } else { "Update" };
        out.insert("apiVersion".to_owned(), self.version.as_ref().into());
        out.insert("fieldsType".to_owned(), "FieldsV1".into());
        out.insert("fieldsV1".to_owned(), self.fields.encode());
        if !self.manager.is_empty() {
            out.insert("manager".to_owned(), self.manager.as_ref().into());
        }
        out.insert("operation".to_owned(), operation.into());
        if !self.subresource.is_empty() {
            out.insert("subresource".to_owned(), self.subresource.as_ref().into());
        }
        if let Some(time) = &self.time {
            out.insert("time".to_owned(), time.as_ref().into());
        }
        Value::Object(out)
    }

    // Upstream's order in the list. The times are all UTC, so text order is
    // time order; no time is the earliest.
    fn compare(&self, other: &Self) -> Ordering {
        other
            .applied
            .cmp(&self.applied)
            .then_with(|| self.time.cmp(&other.time))
            .then_with(|| self.manager.cmp(&other.manager))
            .then_with(|| self.version.cmp(&other.version))
            .then_with(|| self.subresource.cmp(&other.subresource))
    }
}

/// The entries of a managedFields list. `None` when one of them is malformed.
pub fn decode(list: &Value) -> Option<Vec<Entry<'_>>> {
    let mut entries: Vec<Entry<'_>> = Vec::new();
    for (place, entry) in list.as_array()?.iter().enumerate() {
        let entry = Entry::decode(entry, place)?;
        match entries.iter_mut().find(|it| it.same_manager(&entry)) {
            Some(same) => *same = entry,
            None => entries.push(entry),
        }
    }
    Some(entries)
}

/// Brings the sets of `entries` to what the schema says now.
pub fn reconciled<'a>(mut entries: Vec<Entry<'a>>, resource: &Resource) -> Vec<Entry<'a>> {
    let own =
        |entry: &&mut Entry<'a>| entry.version.split('/').next() == resource.api_version().split('/').next();
    for entry in entries.iter_mut().filter(own) {
        if reconcile(&mut entry.fields, &resource.schema) {
            entry.kept = None;
        }
    }
    entries
}

/// A list in upstream's order, ready to be written.
pub enum Line {
    /// The entry at that place in the list that was read.
    Kept(usize),
    /// A new one.
    Written(Value),
}

/// What to write for `entries`.
pub fn encode(mut entries: Vec<Entry<'_>>) -> Vec<Line> {
    entries.sort_by(Entry::compare);
    let line = |entry: &Entry<'_>| match entry.kept {
        Some(place) => Line::Kept(place),
        None => Line::Written(entry.encode()),
    };
    entries.iter().map(line).collect()
}

/// The list that `lines` say, out of the one that they were read from.
pub fn assemble(lines: Vec<Line>, mut source: Value) -> Option<Value> {
    let mut take = |place: usize| source.get_mut(place).map(Value::take).unwrap_or_default();
    let list: Vec<Value> = lines
        .into_iter()
        .map(|line| match line {
            Line::Kept(place) => take(place),
            Line::Written(entry) => entry,
        })
        .collect();
    (!list.is_empty()).then_some(Value::Array(list))
}

/// Whole seconds, RFC 3339.
pub fn time_text(now: Timestamp) -> String {
    Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}

/// Updates `metadata.managedFields` of `new` after a create, update or patch
/// (not an apply) by `writer`.
///
/// `new` brings the managedFields that the client sent: a list that is empty,
/// or holds only an empty entry, clears them, a malformed one counts as none.
pub fn updated(resource: &Resource, old: Option<&Object>, new: &mut Object, writer: &Writer<'_>) {
    static NOTHING: Value = Value::Null;
    let claimed = new.metadata_mut().remove("managedFields").unwrap_or_default();
    let live = old.and_then(|old| old.meta("managedFields")).unwrap_or(&NOTHING);
    let own = if writer.subresource.is_empty() { &claimed } else { live };
    let cleared = std::ptr::eq(own, &claimed) && clears(own);
    let (entries, from_claimed) = match decode(own).filter(|entries| !entries.is_empty()) {
        Some(entries) => (entries, std::ptr::eq(own, &claimed)),
        None if cleared => (Vec::new(), false),
        None => (decode(live).unwrap_or_default(), false),
    };
    if entries.is_empty() && old.is_some() {
        return;
    }
    let nothing;
    let base = match old {
        Some(old) => &old.0,
        None => {
            nothing = self::nothing(resource);
            &nothing
        }
    };
    let lines = match walk::compare(base, &new.0, &resource.schema) {
        Ok(difference) => {
            let difference = difference.filtered(&Filter::of(resource, writer.subresource));
            let mut entries = reconciled(entries, resource);
            released(&mut entries, resource, &difference, |_| false);
            owned(&mut entries, resource, difference, writer);
            capped(&mut entries);
            encode(entries)
        }
        // Nothing can be said about the write, so nothing changes.
        Err(_) => {
            new.set_meta("managedFields", old.and_then(|old| old.meta("managedFields")).cloned());
            return;
        }
    };
    let source = if from_claimed { claimed } else { live.clone() };
    new.set_meta("managedFields", assemble(lines, source));
}

/// What an object of the kind is before anything is written.
pub fn nothing(resource: &Resource) -> Map<String, Value> {
    match &resource.schema {
        Ref::Static(schema) => walk::zero(schema),
        Ref::Shared(_) => Map::new(),
    }
}

// `[]` and `[{}]` clear managedFields.
fn clears(list: &Value) -> bool {
    match list.as_array().map(Vec::as_slice) {
        Some([]) => true,
        Some([Value::Object(entry)]) => entry.is_empty(),
        _ => false,
    }
}

/// Takes from all entries but those that `exempt` names what a write changed
/// or removed. Entries that then own nothing go, and those of versions that
/// the kind does not have.
pub fn released<'a>(
    entries: &mut Vec<Entry<'a>>,
    resource: &Resource,
    difference: &Difference<'_>,
    exempt: impl Fn(&Entry<'a>) -> bool,
) {
    entries.retain_mut(|entry| {
        if exempt(entry) {
            return !entry.fields.is_empty();
        }
        if !known(resource, &entry.version) {
            return false;
        }
        for part in [&difference.modified, &difference.added, &difference.removed] {
            if entry.fields.meets(part) {
                entry.fields = entry.fields.difference(part);
                entry.kept = None;
            }
        }
        !entry.fields.is_empty()
    });
}

fn group(version: &str) -> &str {
    version.split_once('/').map_or("", |(group, _)| group)
}

// Versions of one group have one shape here; another group must have the kind.
fn known(resource: &Resource, version: &str) -> bool {
    let (group, name) = (group(version), version.rsplit('/').next().unwrap_or_default());
    group == resource.gvk.group
        || facts::RESOURCES
            .iter()
            .any(|it| it.gvk.group == group && it.gvk.version == name && it.gvk.kind == resource.gvk.kind)
}

/// The set without the fields that nobody owns.
pub fn ownable(mut set: FieldSet<'_>) -> FieldSet<'_> {
    UNOWNED.iter().for_each(|path| set.disown(path));
    set
}

fn owned<'a>(
    entries: &mut Vec<Entry<'a>>,
    resource: &Resource,
    difference: Difference<'a>,
    writer: &Writer<'a>,
) {
    let fields = ownable(difference.modified.union(difference.added));
    if fields.is_empty() {
        return;
    }
    let mut entry = Entry {
        manager: if writer.manager.is_empty() { "unknown".into() } else { writer.manager.into() },
        applied: false,
        version: resource.api_version().into(),
        subresource: writer.subresource.into(),
        time: Some(time_text(writer.now).into()),
        fields,
        kept: None,
    };
    match entries.iter_mut().find(|it| it.same_manager(&entry)) {
        Some(same) => {
            entry.fields = std::mem::take(&mut same.fields).union(entry.fields);
            *same = entry;
        }
        None => entries.push(entry),
    }
}

fn capped(entries: &mut Vec<Entry<'_>>) {
    let mut over = entries.iter().filter(|entry| !entry.applied).count().saturating_sub(MOST_UPDATERS);
    if over == 0 {
        return;
    }
    let (mut updaters, appliers): (Vec<_>, Vec<_>) =
        std::mem::take(entries).into_iter().partition(|it| !it.applied);
    updaters.sort_by_cached_key(|entry| (entry.time.clone(), entry.identifier()));
    let mut out: Vec<Entry<'_>> = Vec::with_capacity(MOST_UPDATERS);
    for mut entry in updaters {
        let bucket = out.iter().position(|it| it.version == entry.version).filter(|_| over > 0);
        match bucket.and_then(|place| out.get_mut(place)) {
            // The first of a version becomes the bucket for the later ones.
            Some(bucket) => {
                bucket.manager = ANCIENT.into();
                bucket.subresource = "".into();
                bucket.time = entry.time.take();
                bucket.fields = std::mem::take(&mut bucket.fields).union(entry.fields);
                bucket.kept = None;
                over -= 1;
            }
            None => out.push(entry),
        }
    }
    out.extend(appliers);
    *entries = out;
}

/// Puts back the times of managedFields when nothing but they changed, so that
/// a write without effect stays one.
pub fn keep_times(new: &mut Object, old: &Object) {
    let (Some(Value::Array(before)), Some(Value::Array(after))) =
        (old.meta("managedFields"), new.meta("managedFields"))
    else {
        return;
    };
    let timeless = |a: &Value, b: &Value| {
        let differs = |(name, value): (&String, &Value)| name != "time" && b.get(name) != Some(value);
        let other =
            |value: &Value| value.as_object().map_or(0, |it| it.len() - usize::from(it.contains_key("time")));
        other(a) == other(b) && !a.as_object().into_iter().flatten().any(differs)
    };
    let same = before.len() == after.len() && before.iter().zip(after).all(|(a, b)| timeless(a, b));
    if !same || before == after || !equal_but_managed(&old.0, &new.0) {
        return;
    }
    let before = Value::Array(before.clone());
    new.set_meta("managedFields", Some(before));
}

fn equal_but_managed(old: &Map<String, Value>, new: &Map<String, Value>) -> bool {
    old.len() == new.len()
        && old.iter().zip(new).all(|((name, a), (other, b))| {
            name == other
                && match (name.as_str(), a, b) {
                    ("metadata", Value::Object(a), Value::Object(b)) => {
                        a.len() == b.len()
                            && a.iter()
                                .zip(b)
                                .all(|((k, x), (l, y))| k == l && (k == "managedFields" || x == y))
                    }
                    _ => a == b,
                }
        })
}

#[cfg(test)]
mod tests;
