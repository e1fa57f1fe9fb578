//! A pod's priority is that of its class, or of the default class.

use coracle_api::Object;
use serde_json::Value;

use super::{Attributes, Operation};
use crate::{
    error::ApiError,
    registry::{
        Registry,
        lookup::{self, Kind},
    },
    resources::{
        Part,
        tree::{field, number, section, set, text, truth},
    },
};

const CLASSES: Kind = ("scheduling.k8s.io", "priorityclasses");

/// Resolves the priority of a new pod; an update that leaves it out keeps it.
///
/// # Errors
/// 403 for a class that is not there and for a priority of the pod's own.
pub async fn admit(
    attributes: &Attributes<'_>,
    new: &mut Object,
    old: Option<&Object>,
) -> Result<(), ApiError> {
    if attributes.part != Part::Whole || !attributes.is_core("pods") {
        return Ok(());
    }
    match (attributes.operation, old) {
        (Operation::Create, _) => resolve(attributes, new).await,
        (Operation::Update, Some(old)) => {
            for name in ["priority", "preemptionPolicy"] {
                let kept = field(old, &["spec", name]);
                if !set(field(new, &["spec", name])) && set(kept) {
                    new.section_mut("spec").insert(name.to_owned(), kept.clone());
                }
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

async fn resolve(attributes: &Attributes<'_>, new: &mut Object) -> Result<(), ApiError> {
    let name = new.get_str(&["spec", "priorityClassName"]).to_owned();
    let class = if name.is_empty() {
        default_class(attributes.registry).await?
    } else {
        let found = lookup::object(attributes.registry, CLASSES, "", &name).await?;
        let missing = || attributes.forbid(new, format!("no PriorityClass with name {name} was found"));
        Some(found.ok_or_else(missing)?)
    };
    let priority = class.as_ref().map_or(0, |class| number(section(class, "value")));
    let own = field(new, &["spec", "priority"]);
    if set(own) && number(own) != priority {
        let own = number(own);
        return Err(attributes.forbid(
            new,
            format!(
                "the integer value of priority ({own}) must not be provided in pod spec; priority admission \
                 controller computed {priority} from the given PriorityClass name"
            ),
        ));
    }
    let policy =
        class.as_ref().map_or("PreemptLowerPriority", |class| text(section(class, "preemptionPolicy")));
    let own = field(new, &["spec", "preemptionPolicy"]);
    if !policy.is_empty() && set(own) && own != policy {
        let own = text(own);
        return Err(attributes.forbid(
            new,
            format!(
                "the string value of PreemptionPolicy ({own}) must not be provided in pod spec; priority admission \
                 controller computed {policy} from the given PriorityClass name"
            ),
        ));
    }
    let spec = new.section_mut("spec");
    spec.insert("priority".to_owned(), priority.into());
    if !policy.is_empty() {
        spec.insert("preemptionPolicy".to_owned(), policy.into());
    }
    if let Some(class) = class.as_ref().filter(|_| name.is_empty()) {
        spec.insert("priorityClassName".to_owned(), Value::String(class.name().to_owned()));
    }
    Ok(())
}

// Should there be several by some race, the one with the lowest value.
async fn default_class(registry: &Registry) -> Result<Option<Object>, ApiError> {
    let mut marked = lookup::objects(registry, CLASSES, "", "\"globalDefault\":true").await?;
    marked.retain(|class| truth(section(class, "globalDefault")));
    marked.sort_by_key(|class| number(section(class, "value")));
    Ok(marked.into_iter().next())
}

/// Refuses a second default class.
///
/// # Errors
/// 403
pub async fn validate(attributes: &Attributes<'_>, new: &Object) -> Result<(), ApiError> {
    if attributes.part != Part::Whole
        || !attributes.is(CLASSES.0, CLASSES.1)
        || !truth(section(new, "globalDefault"))
    {
        return Ok(());
    }
    let Some(default) = default_class(attributes.registry).await? else { return Ok(()) };
    let name = default.name();
    if attributes.operation == Operation::Update && name == new.name() {
        return Ok(());
    }
    let reason = format!("PriorityClass {name} is already marked as default. Only one default can exist");
    Err(attributes.forbid(new, reason))
}
