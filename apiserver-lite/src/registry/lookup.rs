//! Objects that are looked up beside the one that a request is about. What is
//! found is as new as the store.

use coracle_api::Object;
use coracle_store::Record;

use super::{Registry, Target, options::ListOptions, read::internal};
use crate::{codec, error::ApiError};

/// A kind that is looked up: its group and its plural, in version `v1`.
pub type Kind = (&'static str, &'static str);

/// The object of that name, if there is one.
pub async fn object(
    registry: &Registry,
    kind: Kind,
    namespace: &str,
    name: &str,
) -> Result<Option<Object>, ApiError> {
    let Some(target) = target(registry, kind, namespace, name) else { return Ok(None) };
    if name.is_empty() {
        return Ok(None);
    }
    let record = registry.store.get(&target.key()).await.map_err(internal)?;
    Ok(record.map(|record| codec::json::parse_stored(&record.bytes)))
}

/// The objects of a kind, all or those of a namespace, whose bytes have
/// `mark` in them: one that has it not is not even decoded.
pub async fn objects(
    registry: &Registry,
    kind: Kind,
    namespace: &str,
    mark: &str,
) -> Result<Vec<Object>, ApiError> {
    let Some(target) = target(registry, kind, namespace, "") else { return Ok(Vec::new()) };
    let listing = registry.list(&target, &ListOptions::default()).await?;
    let marked =
        |record: &Record| mark.is_empty() || memchr::memmem::find(&record.bytes, mark.as_bytes()).is_some();
    let found = listing.records.iter().filter(|record| marked(record));
    Ok(found.map(|record| codec::json::parse_stored(&record.bytes)).collect())
}

fn target(registry: &Registry, (group, plural): Kind, namespace: &str, name: &str) -> Option<Target> {
    let row = registry.row(group, "v1", plural)?;
    Some(Target { row, namespace: namespace.to_owned(), name: name.to_owned() })
}
