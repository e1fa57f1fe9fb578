//! `pods/ephemeralcontainers`: containers that are put into a pod that runs.

use std::collections::HashMap;

use coracle_api::{FieldError, FieldPath, Object, field::go_quote};
use serde_json::Value;

use super::{annotations::MIRROR, diff, strategy, update};
use crate::resources::rules::Errors;

/// Validates a write to them. They only ever become more.
pub fn validate(new: &Object, old: &Object) -> Errors {
    if old.annotation(MIRROR).is_some() {
        let detail = "static pods do not support ephemeral containers";
        return vec![FieldError::forbidden(&FieldPath::new(""), detail)];
    }
    let mut errors = strategy::validate_whole(new);
    update::annotations_kept(new, old, &mut errors);
    let list = |pod: &Object| -> Vec<Value> {
        pod.get(&["spec", "ephemeralContainers"]).and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let (new, path) = (list(new), FieldPath::new("spec").child("ephemeralContainers"));
    let by_name: HashMap<&str, &Value> =
        new.iter().filter_map(|container| Some((container["name"].as_str()?, container))).collect();
    for container in list(old) {
        let name = container["name"].as_str().unwrap_or_default();
        let detail = match by_name.get(name) {
            None => format!("existing ephemeral containers {} may not be removed\n", go_quote(name)),
            Some(new) if **new != container => {
                let diff = diff::of_ephemeral_container(&container, new);
                format!("existing ephemeral containers {} may not be changed\n{diff}", go_quote(name))
            }
            Some(_) => continue,
        };
        errors.push(FieldError::forbidden(&path, detail));
    }
    errors
}
