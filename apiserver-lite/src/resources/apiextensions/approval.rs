//! Groups of the community's own need its approval.

use coracle_api::{FieldError, FieldPath, Object};

use crate::resources::tree::{field, text};

const ANNOTATION: &str = "api-approved.kubernetes.io";

#[derive(PartialEq, Eq)]
enum State {
    Missing,
    Bypassed,
    Approved,
    Invalid,
}

fn is_protected(crd: &Object) -> bool {
    let group = text(field(crd, &["spec", "group"]));
    ["k8s.io", "kubernetes.io"]
        .into_iter()
        .any(|domain| group.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
}

fn state(crd: &Object) -> State {
    let is_url = |text: &str| {
        let (_, rest) = text.split_once("://").unwrap_or_default();
        rest.starts_with(|c: char| c != '/' && !c.is_whitespace())
    };
    match crd.annotation(ANNOTATION).unwrap_or_default() {
        "" => State::Missing,
        text if text.starts_with("unapproved") => State::Bypassed,
        text if is_url(text) => State::Approved,
        _ => State::Invalid,
    }
}

fn reason(crd: &Object, state: &State) -> String {
    const SEE: &str = "see https://github.com/kubernetes/enhancements/pull/1111";
    let given = crd.annotation(ANNOTATION).unwrap_or_default();
    match state {
        State::Missing => format!("protected groups must have approval annotation {ANNOTATION:?}, {SEE}"),
        State::Bypassed => format!("not approved: {given:?}"),
        State::Approved => format!("approved in {given}"),
        State::Invalid => format!(
            "protected groups must have approval annotation {ANNOTATION:?} with either a URL or a reason starting with \"unapproved\", {SEE}"
        ),
    }
}

/// What is wrong with the approval. One that does not change is let be.
pub fn fault(new: &Object, old: Option<&Object>) -> Option<FieldError> {
    if !is_protected(new) {
        return None;
    }
    let now = state(new);
    if old.is_some_and(|old| state(old) == now) {
        return None;
    }
    let path = FieldPath::new("metadata").child("annotations").key(ANNOTATION);
    let detail = reason(new, &now);
    match now {
        State::Missing => Some(FieldError::required(&path, detail)),
        State::Invalid => {
            Some(FieldError::invalid(&path, new.annotation(ANNOTATION).unwrap_or_default(), detail))
        }
        State::Bypassed | State::Approved => None,
    }
}

/// The condition of a CRD whose group needs approval: its status, reason and
/// message.
pub fn condition(crd: &Object) -> Option<(&'static str, &'static str, String)> {
    if !is_protected(crd) {
        return None;
    }
    let state = state(crd);
    let message = reason(crd, &state);
    Some(match state {
        State::Missing => ("False", "MissingAnnotation", message),
        State::Bypassed => ("False", "UnapprovedAnnotation", message),
        State::Approved => ("True", "ApprovedAnnotation", message),
        State::Invalid => ("False", "InvalidAnnotation", message),
    })
}
