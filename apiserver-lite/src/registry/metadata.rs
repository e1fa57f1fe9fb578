//! The metadata that the system owns.

use coracle_api::Object;
use jiff::Timestamp;
use rand::Rng;
use serde_json::Value;

use crate::error::ApiError;

/// RFC 3339 in whole seconds, as Kubernetes writes times.
pub fn stamp(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Reads a time that [`stamp`] wrote.
pub fn instant(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

/// Makes the metadata of a new object: nothing of a former life, a uid and a
/// time of its own.
pub fn fill(object: &mut Object, now: Timestamp) {
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
        object.set_meta(field, None);
    }
    object.set_meta("creationTimestamp", Some(stamp(now).into()));
    object.set_meta("uid", Some(uuid::Uuid::new_v4().to_string().into()));
}

// Without vowels and digits that make words or look alike.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// A name that begins with `prefix`, which is cut to leave room for the five
/// random characters.
pub fn generate_name(prefix: &str) -> String {
    let mut end = prefix.len().min(58);
    while !prefix.is_char_boundary(end) {
        end -= 1;
    }
    let mut name = prefix[..end].to_owned();
    let mut random = rand::rng();
    name.extend((0..5).map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())])));
    name
}

/// Takes repeated owner references out; returns the uids of those.
pub fn dedup_owners(object: &mut Object) -> Vec<String> {
    let Some(Value::Array(owners)) = object.meta("ownerReferences") else { return Vec::new() };
    let mut kept: Vec<Value> = Vec::with_capacity(owners.len());
    let mut twice = Vec::new();
    for owner in owners {
        if kept.contains(owner) {
            twice.push(owner["uid"].as_str().unwrap_or_default().to_owned());
        } else {
            kept.push(owner.clone());
        }
    }
    if !twice.is_empty() {
        object.set_meta("ownerReferences", Some(Value::Array(kept)));
    }
    twice
}

/// The finalizers that tell the garbage collector what to do.
pub const ORPHAN: &str = "orphan";
/// See [`ORPHAN`].
pub const FOREGROUND: &str = "foregroundDeletion";

/// Sets the finalizers; an empty list takes the field away.
pub fn set_finalizers(object: &mut Object, finalizers: Vec<String>) {
    let value = (!finalizers.is_empty()).then(|| finalizers.into_iter().map(Value::from).collect());
    object.set_meta("finalizers", value.map(Value::Array));
}

/// Checks that an object belongs where the request sends it, and puts it into
/// the namespace when it names none.
///
/// # Errors
/// 400
pub fn place(object: &mut Object, namespaced: bool, namespace: &str) -> Result<(), ApiError> {
    let given = object.namespace();
    if !namespaced {
        object.set_meta("namespace", None);
        return Ok(());
    }
    if !given.is_empty() && given != namespace {
        let text = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(ApiError::BadRequest(text.to_owned()));
    }
    object.set_meta("namespace", Some(namespace.into()));
    Ok(())
}

/// Checks that an object is the one that the path names.
pub fn check_name(object: &Object, name: &str) -> Result<(), ApiError> {
    let given = object.name();
    if given.is_empty() {
        return Err(ApiError::BadRequest(format!(
            "the name of the object ({name} based on URL) was undeterminable: name must be provided"
        )));
    }
    if given != name {
        return Err(ApiError::BadRequest(format!(
            "the name of the object ({given}) does not match the name on the URL ({name})"
        )));
    }
    Ok(())
}
