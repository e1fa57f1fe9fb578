//! Volumes, claims and their attribute classes are not taken away under those
//! who use them: a finalizer keeps them, which a controller takes away when
//! nobody does.

use coracle_api::Object;

use super::Attributes;
use crate::registry::metadata;

const PROTECTED: &[(&str, &str, &str)] = &[
    ("", "persistentvolumes", "kubernetes.io/pv-protection"),
    ("", "persistentvolumeclaims", "kubernetes.io/pvc-protection"),
    ("storage.k8s.io", "volumeattributesclasses", "kubernetes.io/vac-protection"),
];

/// Sets the finalizer.
pub fn admit(attributes: &Attributes<'_>, new: &mut Object) {
    if !attributes.creates() {
        return;
    }
    let Some((_, _, finalizer)) = PROTECTED.iter().find(|(group, plural, _)| attributes.is(group, plural))
    else {
        return;
    };
    let mut finalizers: Vec<String> = new.finalizers().map(str::to_owned).collect();
    if !finalizers.iter().any(|it| it == finalizer) {
        finalizers.push((*finalizer).to_owned());
        metadata::set_finalizers(new, finalizers);
    }
}
