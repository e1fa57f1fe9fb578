//! Server-side apply: a configuration becomes part of an object, and its
//! applier the owner of what it says (KEP-555).

use coracle_api::{GroupVersionKind, Object, Resource, status::Cause};
use serde_json::{Map, Value};

use super::{
    Writer,
    fieldset::FieldSet,
    managed::{self, Entry, assemble, encode, ownable, released, time_text},
    merge::merge,
    prune::prune,
    reset::Filter,
    typed,
    walk::{self, Difference, Unkeyed, equal},
};

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
const MOST_ANNOTATION_BYTES: usize = 256 * 1024;
// The owner of what an object without managedFields has when it is first
// applied to.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";
// Only kubectl may take over what its own client-side apply last wrote.
const KUBECTL: &str = "kubectl";

/// Why a configuration does not apply. Its text is the message of the Status.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum ApplyError {
    /// The configuration is not one of this kind: 400 `BadRequest`.
    #[error("{0}")]
    Malformed(String),
    /// Others own what it would change: 409 `Conflict`.
    #[error("{message}")]
    Conflict {
        /// The whole message.
        message: String,
        /// One a field and owner.
        causes: Vec<Cause>,
    },
    /// Upstream has no reason for these: 500 without one.
    #[error("{0}")]
    Failed(String),
}

impl From<Unkeyed> for ApplyError {
    fn from(Unkeyed(text): Unkeyed) -> Self {
        Self::Failed(format!("failed to merge config: {text}"))
    }
}

/// A field that another manager owns and the configuration would change.
struct Conflict {
    // Upstream's name for the manager, by which messages are sorted.
    identifier: String,
    manager: String,
    path: String,
}

/// The object that applying `config` by `writer` makes of `live`, or of
/// nothing, with its managedFields.
///
/// The result is not canonical yet: the caller decodes and defaults it like
/// what a client sent.
///
/// # Errors
/// `Conflict` unless `force`, when others own fields that would change.
pub fn applied(
    resource: &Resource,
    live: Option<&Object>,
    config: &Object,
    writer: &Writer<'_>,
    force: bool,
) -> Result<Object, ApplyError> {
    fits(resource, config)?;
    let base = match live {
        Some(live) => live.clone(),
        None => Object(managed::nothing(resource)),
    };
    let claimed;
    let entries = match base.meta("managedFields") {
        Some(list) => managed::decode(list)
            .ok_or_else(|| ApplyError::Failed("failed to decode managed fields".to_owned()))?,
        None => Vec::new(),
    };
    let (entries, source) = if entries.is_empty() && live.is_some() {
        claimed = first_owner(resource, &base, writer);
        (managed::decode(&claimed).unwrap_or_default(), claimed.clone())
    } else {
        (entries, base.meta("managedFields").cloned().unwrap_or_default())
    };
    let entries = managed::reconciled(entries, resource);
    let attempt = Attempt { resource, base: &base, config, writer };
    let (mut object, lines) = match attempt.run(entries.clone(), force)? {
        Ok(done) => done,
        Err(conflicts) => match attempt.left_to_others(conflicts) {
            Some(conflicts) => return Err(refusal(&conflicts)),
            None => match attempt.run(entries, true)? {
                Ok(done) => done,
                Err(conflicts) => return Err(refusal(&conflicts)),
            },
        },
    };
    object.set_meta("managedFields", assemble(lines, source));
    if writer.manager == KUBECTL {
        remember(&mut object, config);
    }
    Ok(object)
}

fn fits(resource: &Resource, config: &Object) -> Result<(), ApplyError> {
    if config.kind() != resource.gvk.kind || config.api_version() != resource.api_version() {
        let (group, version) = config.api_version().split_once('/').unwrap_or(("", config.api_version()));
        return Err(ApplyError::Malformed(format!(
            "invalid object type: {group}/{version}, Kind={}",
            config.kind()
        )));
    }
    if config.meta("managedFields").is_some_and(Value::is_array) {
        return Err(ApplyError::Malformed("metadata.managedFields must be nil".to_owned()));
    }
    if let Some(errors) = typed::check(&config.0, &resource.schema) {
        let GroupVersionKind { group, version, kind } = &resource.gvk;
        return Err(ApplyError::Failed(format!(
            "failed to create typed patch object ({}/{}; {}, Kind={kind}): {errors}",
            config.namespace(),
            config.name(),
            if group.is_empty() { format!("/{version}") } else { format!("{group}/{version}") },
        )));
    }
    Ok(())
}

fn first_owner(resource: &Resource, live: &Object, writer: &Writer<'_>) -> Value {
    let mut owned = live.clone();
    owned.set_meta("managedFields", None);
    let before = Writer { manager: BEFORE_FIRST_APPLY, subresource: writer.subresource, now: writer.now };
    managed::updated(resource, None, &mut owned, &before);
    owned.meta("managedFields").cloned().unwrap_or_default()
}

/// One attempt to apply: the same inputs with and without force.
struct Attempt<'a> {
    resource: &'a Resource,
    base: &'a Object,
    config: &'a Object,
    writer: &'a Writer<'a>,
}

type Done = (Object, Vec<managed::Line>);

impl<'a> Attempt<'a> {
    fn run(
        &self,
        mut entries: Vec<Entry<'a>>,
        force: bool,
    ) -> Result<Result<Done, Vec<Conflict>>, ApplyError> {
        let schema = &self.resource.schema;
        let filter = Filter::of(self.resource, self.writer.subresource);
        let merged = merge(&self.base.0, &self.config.0, schema)?;
        let mut own = Entry {
            manager: self.writer.manager.into(),
            applied: true,
            version: self.resource.api_version().into(),
            subresource: self.writer.subresource.into(),
            time: None,
            fields: filter.apply(walk::fields(&self.config.0, schema)?),
            kept: None,
        };
        let mut last = FieldSet::default();
        if let Some(place) = entries.iter().position(|entry| entry.same_manager(&own)) {
            let before = entries.remove(place);
            own.time = before.time;
            last = before.fields;
        }
        let all = entries.iter().fold(own.fields.clone(), |all, entry| all.union(entry.fields.clone()));
        let merged = prune(merged, schema, &last, &all)?;
        let difference = walk::compare(&self.base.0, &merged, schema)?.filtered(&filter);
        let conflicts = conflicts(&entries, &difference);
        if !force && !conflicts.is_empty() {
            return Ok(Err(conflicts));
        }
        released(&mut entries, self.resource, &difference, |_| false);
        let unchanged = same_trees(&self.base.0, &merged);
        if !unchanged {
            own.time = Some(time_text(self.writer.now).into());
        }
        own.fields = ownable(own.fields);
        if !own.fields.is_empty() {
            entries.push(own);
        }
        let lines = encode(entries);
        let object = if unchanged { self.base.clone() } else { Object(merged) };
        Ok(Ok((object, lines)))
    }

    // The conflicts that are left when kubectl takes over from its client-side
    // apply: none of fields that still are as that last wrote them. `None`
    // when that resolves all.
    fn left_to_others(&self, conflicts: Vec<Conflict>) -> Option<Vec<Conflict>> {
        if self.writer.manager != KUBECTL {
            return Some(conflicts);
        }
        let Some(own) = self.last_applied() else { return Some(conflicts) };
        let left: Vec<Conflict> = conflicts.into_iter().filter(|it| !own.contains(&it.path)).collect();
        (!left.is_empty()).then_some(left)
    }

    // The paths that client-side apply wrote and nobody changed since.
    fn last_applied(&self) -> Option<std::collections::HashSet<String>> {
        let schema = &self.resource.schema;
        let text = self.base.annotation(LAST_APPLIED).filter(|text| !text.is_empty())?;
        let last: Map<String, Value> = serde_json::from_str(text).ok()?;
        if last.get("apiVersion").and_then(Value::as_str) != Some(&*self.resource.api_version()) {
            return None;
        }
        if typed::check(&last, schema).is_some() {
            return None;
        }
        let Difference { added, modified, removed } = walk::compare(&last, &self.base.0, schema).ok()?;
        let set = walk::fields(&last, schema).ok()?;
        let set = set.difference(&modified).difference(&added).difference(&removed);
        let mut paths = std::collections::HashSet::new();
        set.each(&mut |path| paths.extend([path.to_owned()]));
        Some(paths)
    }
}

fn same_trees(a: &Map<String, Value>, b: &Map<String, Value>) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|((k, x), (l, y))| k == l && equal(x, y))
}

fn conflicts(entries: &[Entry<'_>], difference: &Difference<'_>) -> Vec<Conflict> {
    let mut out = Vec::new();
    for entry in entries {
        let both = [&difference.modified, &difference.added].map(|part| entry.fields.intersection(part));
        let [modified, added] = both;
        modified.union(added).each(&mut |path| {
            out.push(Conflict {
                identifier: entry.identifier(),
                manager: shown(entry),
                path: path.to_owned(),
            });
        });
    }
    out.sort_by(|a, b| a.identifier.cmp(&b.identifier));
    out
}

fn shown(entry: &Entry<'_>) -> String {
    let mut out = format!("{:?}", entry.manager);
    if !entry.subresource.is_empty() {
        out.push_str(&format!(" with subresource {:?}", entry.subresource));
    }
    if !entry.applied {
        out.push_str(&format!(" using {}", entry.version));
    }
    out
}

fn refusal(conflicts: &[Conflict]) -> ApplyError {
    let cause = |conflict: &Conflict| Cause {
        reason: "FieldManagerConflict".to_owned(),
        message: format!("conflict with {}", conflict.manager),
        field: conflict.path.clone(),
    };
    let message = match conflicts {
        [one] => format!("Apply failed with 1 conflict: conflict with {}: {}", one.manager, one.path),
        many => {
            let mut lines = Vec::new();
            for of_one in many.chunk_by(|a, b| a.identifier == b.identifier) {
                lines.extend(of_one.first().map(|it| format!("conflicts with {}:", it.manager)));
                lines.extend(of_one.iter().map(|it| format!("- {}", it.path)));
            }
            format!("Apply failed with {} conflicts: {}", many.len(), lines.join("\n"))
        }
    };
    ApplyError::Conflict { message, causes: conflicts.iter().map(cause).collect() }
}

// Keeps the annotation of client-side apply true for as long as it is there.
fn remember(object: &mut Object, config: &Object) {
    if object.annotation(LAST_APPLIED).is_none_or(str::is_empty) {
        return;
    }
    let mut last = config.clone();
    if let Some(Value::Object(annotations)) = last.metadata_mut().get_mut("annotations") {
        annotations.remove(LAST_APPLIED);
        if annotations.is_empty() {
            last.set_meta("annotations", None);
        }
    }
    let text = format!("{}\n", super::fieldset::json_text(&last.into_value()));
    let Some(Value::Object(annotations)) = object.metadata_mut().get_mut("annotations") else { return };
    annotations.insert(LAST_APPLIED.to_owned(), text.into());
    let size: usize =
        annotations.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if size > MOST_ANNOTATION_BYTES {
        annotations.remove(LAST_APPLIED);
    }
}

#[cfg(test)]
mod tests;
