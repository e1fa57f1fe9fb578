//! Which class is meant by an object that names none: the one that is marked
//! as the default, of several the newest, of equally old ones the first by name.

use coracle_api::Object;

use crate::{
    error::ApiError,
    registry::{
        Registry,
        lookup::{self, Kind},
    },
};

/// The name of the default among the classes of a kind.
pub async fn name(registry: &Registry, kind: Kind, annotations: &[&str]) -> Result<Option<String>, ApiError> {
    let mut classes = Vec::new();
    for annotation in annotations {
        let marked = lookup::objects(registry, kind, "", annotation).await?;
        classes.extend(marked.into_iter().filter(|class| class.annotation(annotation) == Some("true")));
    }
    let key = |class: &Object| (class.meta_str("creationTimestamp").to_owned(), class.name().to_owned());
    let first = classes.iter().map(key).min_by(|(time, name), (other_time, other_name)| {
        other_time.cmp(time).then_with(|| name.cmp(other_name))
    });
    Ok(first.map(|(_, name)| name))
}
