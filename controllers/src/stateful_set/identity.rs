//! What a pod of a set is: its ordinal, its name, its storage.

use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume},
};

use crate::{framework::controller_reference, history::REVISION_LABEL, pod};

const NAME_LABEL: &str = "statefulset.kubernetes.io/pod-name";
const INDEX_LABEL: &str = "apps.kubernetes.io/pod-index";

/// The name of the set that `pod` is named after, and its ordinal.
pub(super) fn parent_and_ordinal(pod: &Pod) -> Option<(&str, i32)> {
    let (parent, digits) = pod.metadata.name.as_deref()?.rsplit_once('-')?;
    let ordinal = digits.parse().ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit()))?;
    Some((parent, ordinal))
}

/// The ordinal of `pod`; none when its name has none.
pub(super) fn ordinal(pod: &Pod) -> Option<i32> {
    parent_and_ordinal(pod).map(|(_, ordinal)| ordinal)
}

/// True when `pod` is named after `set`.
pub(super) fn is_member(set: &StatefulSet, pod: &Pod) -> bool {
    let parent = pod.metadata.name.as_deref().and_then(|name| {
        let (parent, digits) = name.rsplit_once('-')?;
        (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())).then_some(parent)
    });
    parent.is_some() && parent == set.metadata.name.as_deref()
}

/// The ordinals that `set` asks for: the first, and the one after the last.
pub(super) fn range(set: &StatefulSet) -> std::ops::Range<i64> {
    let start = i64::from(set.spec.ordinals.as_ref().and_then(|ordinals| ordinals.start).unwrap_or(0));
    start..start + i64::from(super::plan::wanted(set))
}

/// True when `set` asks for a pod with this ordinal.
pub(super) fn in_range(set: &StatefulSet, ordinal: i32) -> bool {
    range(set).contains(&i64::from(ordinal))
}

/// The revision of `pod`.
pub(super) fn revision(pod: &Pod) -> &str {
    let labels = pod.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(REVISION_LABEL)).map(String::as_str).unwrap_or_default()
}

/// The pod with `ordinal` as `template`, which is that of `revision`, says.
pub(super) fn pod(set: &StatefulSet, template: &PodTemplateSpec, revision: &str, ordinal: i64) -> Pod {
    let mut pod = pod::from_template(template, controller_reference(set));
    let name = format!("{}-{ordinal}", set.metadata.name.as_deref().unwrap_or_default());
    pod.metadata.name = Some(name.clone());
    identify(set, &mut pod);
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(REVISION_LABEL.into(), revision.into());
    let spec = pod.spec.get_or_insert_default();
    spec.hostname = Some(name);
    spec.subdomain = set.spec.service_name.clone().filter(|name| !name.is_empty());
    store(set, &mut pod);
    pod
}

/// True when `pod` says who it is.
pub(super) fn is_identified(pod: &Pod) -> bool {
    pod.metadata.labels.as_ref().and_then(|labels| labels.get(NAME_LABEL)) == pod.metadata.name.as_ref()
}

/// Makes `pod` say who it is.
pub(super) fn identify(set: &StatefulSet, pod: &mut Pod) {
    let Some(ordinal) = ordinal(pod) else { return };
    let name = pod.metadata.name.clone().unwrap_or_default();
    pod.metadata.namespace.clone_from(&set.metadata.namespace);
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(NAME_LABEL.into(), name);
    labels.insert(INDEX_LABEL.into(), ordinal.to_string());
}

/// The claims that a pod with `ordinal` has, each with its name in the templates.
pub(super) fn claims(set: &StatefulSet, ordinal: i32) -> Vec<(String, PersistentVolumeClaim)> {
    let templates = set.spec.volume_claim_templates.iter().flatten();
    templates
        .map(|template| {
            let mut claim = template.clone();
            claim.metadata.name = Some(claim_name(set, template, ordinal));
            claim.metadata.namespace.clone_from(&set.metadata.namespace);
            if let Some(selected) = &set.spec.selector.match_labels {
                claim.metadata.labels.get_or_insert_default().extend(selected.clone());
            }
            (template.metadata.name.clone().unwrap_or_default(), claim)
        })
        .collect()
}

/// The names of those claims.
pub(super) fn claim_names(set: &StatefulSet, ordinal: i32) -> impl Iterator<Item = String> {
    set.spec.volume_claim_templates.iter().flatten().map(move |claim| claim_name(set, claim, ordinal))
}

fn claim_name(set: &StatefulSet, claim: &PersistentVolumeClaim, ordinal: i32) -> String {
    let template = claim.metadata.name.as_deref().unwrap_or_default();
    format!("{template}-{}-{ordinal}", set.metadata.name.as_deref().unwrap_or_default())
}

/// True when `pod` has the claims of its ordinal.
pub(super) fn is_stored(set: &StatefulSet, pod: &Pod) -> bool {
    let Some(ordinal) = ordinal(pod) else { return false };
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
    let has = |template: &PersistentVolumeClaim| {
        let volume = volumes.iter().find(|volume| Some(&volume.name) == template.metadata.name.as_ref());
        let claim = volume.and_then(|volume| volume.persistent_volume_claim.as_ref());
        claim.is_some_and(|claim| claim.claim_name == claim_name(set, template, ordinal))
    };
    set.spec.volume_claim_templates.iter().flatten().all(has)
}

/// Gives `pod` the claims of its ordinal.
pub(super) fn store(set: &StatefulSet, pod: &mut Pod) {
    let Some(ordinal) = ordinal(pod) else { return };
    let templates = set.spec.volume_claim_templates.iter().flatten();
    let mut volumes: Vec<Volume> = templates
        .map(|template| Volume {
            name: template.metadata.name.clone().unwrap_or_default(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: claim_name(set, template, ordinal),
                read_only: None,
            }),
            ..Volume::default()
        })
        .collect();
    let spec = pod.spec.get_or_insert_default();
    let others = spec.volumes.take().unwrap_or_default().into_iter();
    let others: Vec<Volume> = others.filter(|o| volumes.iter().all(|v| v.name != o.name)).collect();
    volumes.extend(others);
    spec.volumes = Some(volumes).filter(|volumes| !volumes.is_empty());
}
