//! Sets that were written when a list or map had an owner for each element, and
//! that has one owner now: a CRD changed, or a client made the set up.

use coracle_api::schema::{Shape, Struct};

use super::{
    fieldset::{Element, FieldSet},
    walk::{Below, Form, Members, below, form},
};

/// Puts the whole in the place of its parts where `schema` says that they have
/// one owner. Whether that changed the set.
pub fn reconcile(set: &mut FieldSet<'_>, schema: &Struct) -> bool {
    reconcile_below(set, Below::Members(Members::Struct(schema)))
}

fn reconcile_below(set: &mut FieldSet<'_>, place: Below<'_>) -> bool {
    let mut changed = false;
    for node in set.nodes_mut().iter_mut().filter(|node| !node.children.is_empty()) {
        let Some(shape) = shape(place, &node.element) else { continue };
        if matches!(form(shape, None), Form::Atomic) {
            node.member = true;
            node.children = FieldSet::default();
            changed = true;
        } else {
            changed |= reconcile_below(&mut node.children, below(shape));
        }
    }
    changed
}

fn shape<'a>(place: Below<'a>, element: &Element<'_>) -> Option<&'a Shape> {
    match (place, element) {
        (Below::Members(Members::Any), _) | (Below::Nothing, _) => None,
        (Below::Members(members), Element::Field(name)) => {
            let (shape, named) = members.shape(name);
            (named || matches!(members, Members::Map(_))).then_some(shape)
        }
        (Below::Items(shape), Element::Key(_) | Element::Value(_)) => Some(shape),
        _ => None,
    }
}
