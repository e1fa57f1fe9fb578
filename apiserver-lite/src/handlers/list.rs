//! GET of a collection.

use std::sync::Arc;

use http::Response;

use super::{Call, answer};
use crate::{
    body::Body,
    error::ApiError,
    registry::{Target, options::ListOptions},
    resources::Row,
};

pub(super) async fn collection(call: &Call<'_>, row: &Arc<Row>) -> Result<Response<Body>, ApiError> {
    let (target, options) = asked(call, row, false)?;
    let listing = call.registry().list(&target, &options).await?;
    answer::listing(call, row, &listing).await
}

/// The collection and the options of a list or a watch, checked.
pub(super) fn asked(call: &Call<'_>, row: &Arc<Row>, watch: bool) -> Result<(Target, ListOptions), ApiError> {
    let mut options = ListOptions::parse(&call.info.query, watch)?;
    if let Some(fields) = &mut options.fields {
        let version = row.facts.api_version();
        let label = |name: &str| stored(row, name, &version).map(str::to_owned);
        if let Err(name) = fields.rename(label) {
            return Err(ApiError::BadRequest(unknown_field(row, &name)));
        }
    }
    let target = call.target(row);
    // A path may name one object and yet be watched (`/watch/pods/NAME`).
    if !target.name.is_empty() && options.fields.is_none() {
        let selector = format!("metadata.name={}", target.name);
        options.fields = coracle_api::FieldSelector::parse(&selector).ok();
    }
    Ok((target.named(""), options))
}

// The selector that clients of `version` call `name`. Objects without a
// namespace cannot be selected by it; those of upstream's own kinds that have
// no selectors let that pass.
fn stored<'a>(row: &Row, name: &'a str, version: &str) -> Option<&'a str> {
    match name {
        "metadata.name" => Some(name),
        "metadata.namespace" => {
            let of_all = !row.facts.schema.is_custom() && row.strategy.selectors().is_empty();
            let of_namespaces = row.facts.namespaced && row.strategy.selects_namespaces();
            (of_namespaces || of_all).then_some(name)
        }
        _ => row.strategy.selector(name, version),
    }
}

fn unknown_field(row: &Row, name: &str) -> String {
    // Kinds with selectors of their own are told apart from those that have
    // none but name and namespace.
    if row.strategy.selectors().is_empty() && !row.facts.schema.is_custom() {
        let text = "is not a known field selector: only \"metadata.name\", \"metadata.namespace\"";
        return format!("{name:?} {text}");
    }
    match (&*row.facts.gvk.group, &*row.facts.gvk.kind) {
        ("resource.k8s.io", kind) => {
            let version = row.facts.api_version();
            format!("field label not supported for {version}, Kind={kind}: {name}")
        }
        ("batch", "Job") => format!("field label {name:?} not supported for Job"),
        _ => format!("field label not supported: {name}"),
    }
}
