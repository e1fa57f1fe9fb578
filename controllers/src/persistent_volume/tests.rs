use std::sync::Arc;

use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim},
    storage::v1::StorageClass,
};
use serde_json::{Value, json};

use super::{
    execute::with_status,
    matching::{best, misfit},
    plan::{self, Around, ClaimStep, Reclaim, VolumeStep, reclaim},
};
use crate::merge::merge;

fn volume(name: &str, size: &str, change: Value) -> Arc<PersistentVolume> {
    let mut value = json!({
        "metadata": {"name": name},
        "spec": {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "storageClassName": "slow",
                 "persistentVolumeReclaimPolicy": "Retain"},
        "status": {"phase": "Available"},
    });
    merge(&mut value, change);
    Arc::new(serde_json::from_value(value).unwrap())
}

fn claim(change: Value) -> PersistentVolumeClaim {
    let mut value = json!({
        "metadata": {"namespace": "a", "name": "data", "uid": "u"},
        "spec": {"resources": {"requests": {"storage": "5Gi"}}, "accessModes": ["ReadWriteOnce"],
                 "storageClassName": "slow"},
        "status": {"phase": "Pending"},
    });
    merge(&mut value, change);
    serde_json::from_value(value).unwrap()
}

fn reference(uid: &str) -> Value {
    json!({"spec": {"claimRef": {"namespace": "a", "name": "data", "uid": uid}}})
}

fn none() -> Value {
    json!({})
}

#[test]
fn the_volume_that_suits_best() {
    let check = |candidates: &[Arc<PersistentVolume>], of: Value, waits: bool, expected: Option<&str>| {
        let found = best(&claim(of.clone()), candidates, waits);
        let name = found.as_ref().and_then(|volume| volume.metadata.name.as_deref());
        assert_eq!(name, expected, "{of} waits={waits}");
    };
    let some = [volume("big", "10Gi", none()), volume("fits", "6Gi", none()), volume("small", "1Gi", none())];
    check(&some, none(), false, Some("fits"));
    check(&some, none(), true, None);
    check(&some, json!({"spec": {"resources": {"requests": {"storage": "11Gi"}}}}), false, None);
    check(&some, json!({"spec": {"storageClassName": "fast"}}), false, None);
    check(&some, json!({"spec": {"accessModes": ["ReadWriteMany"]}}), false, None);
    check(&some, json!({"spec": {"volumeMode": "Block"}}), false, None);
    check(&some, json!({"spec": {"selector": {"matchLabels": {"disk": "ssd"}}}}), false, None);
    // Fewer access modes go before a smaller size.
    let many = json!({"spec": {"accessModes": ["ReadWriteOnce", "ReadWriteMany"]}});
    check(&[volume("many", "5Gi", many), volume("one", "9Gi", none())], none(), false, Some("one"));
    let of = |change: Value| [volume("v", "9Gi", change)];
    check(
        &of(json!({"metadata": {"labels": {"disk": "ssd"}}})),
        json!({"spec": {"selector": {"matchLabels": {"disk": "ssd"}}}}),
        false,
        Some("v"),
    );
    check(&of(json!({"status": {"phase": "Released"}})), none(), false, None);
    check(&of(json!({"metadata": {"deletionTimestamp": "2024-01-01T00:00:00Z"}})), none(), false, None);
    // One that is meant for the claim need neither be free nor of its class.
    let meant = |uid| json!({"spec": {"storageClassName": "x", "claimRef": {"namespace": "a", "name": "data", "uid": uid}}});
    check(&of(meant("")), none(), true, Some("v"));
    check(&of(meant("u")), none(), false, Some("v"));
    check(&of(meant("another")), none(), false, None);
}

#[test]
fn why_a_named_volume_does_not_suit() {
    let check = |change: Value, of: Value, expected: Option<&str>| {
        let got = misfit(&volume("v", "5Gi", change.clone()), &claim(of.clone()));
        assert_eq!(got.as_deref(), expected, "{change} {of}");
    };
    check(none(), none(), None);
    check(
        none(),
        json!({"spec": {"resources": {"requests": {"storage": "6Gi"}}}}),
        Some("requested PV is too small"),
    );
    check(none(), json!({"spec": {"storageClassName": ""}}), Some("storageClassName does not match"));
    check(none(), json!({"spec": {"volumeMode": "Block"}}), Some("incompatible volumeMode"));
    check(none(), json!({"spec": {"accessModes": ["ReadOnlyMany"]}}), Some("incompatible accessMode"));
    check(
        none(),
        json!({"spec": {"volumeAttributesClassName": "gold"}}),
        Some("volumeAttributesClassName does not match"),
    );
}

fn class(provisioner: &str, mode: &str) -> Option<Arc<StorageClass>> {
    let value = json!({"metadata": {"name": "slow"}, "provisioner": provisioner, "volumeBindingMode": mode});
    Some(Arc::new(serde_json::from_value(value).unwrap()))
}

fn told(step: ClaimStep) -> String {
    let text = |note: plan::Note| format!("{}: {}", note.reason, note.message);
    match step {
        ClaimStep::Bind(volume) => format!("bind {}", volume.metadata.name.as_deref().unwrap_or_default()),
        ClaimStep::AssignClass(class) => format!("class {class}"),
        ClaimStep::Provision(by) => format!("ask {by}"),
        ClaimStep::Wait(note) => format!("wait {}", note.map(text).unwrap_or_default()),
        ClaimStep::Tell(note) => text(note),
        ClaimStep::Lose(note) => format!("lose {}", text(note)),
        ClaimStep::Retry(note) => format!("retry {}", text(note)),
    }
}

#[test]
fn what_becomes_of_a_claim() {
    let check = |of: Value, around: Around, expected: &str| {
        assert_eq!(told(plan::claim(&claim(of.clone()), around)), expected, "{of}");
    };
    let named = || json!({"spec": {"volumeName": "v"}});
    let annotated = |keys: &[&str], change: Value| {
        let annotations: Value = keys
            .iter()
            .map(|key| ((*key).to_owned(), json!("yes")))
            .collect::<serde_json::Map<_, _>>()
            .into();
        let mut value = json!({"metadata": {"annotations": annotations}});
        merge(&mut value, change);
        value
    };
    let with = |volume| Around { volume: Some(volume), ..Around::default() };
    let bound = "pv.kubernetes.io/bind-completed";
    // It names none.
    check(none(), Around { best: Some(volume("v", "5Gi", none())), ..Around::default() }, "bind v");
    check(none(), Around::default(), "ProvisioningFailed: storageclass.storage.k8s.io \"slow\" not found");
    check(
        none(),
        Around { class: class("example.com/p", "Immediate"), ..Around::default() },
        "ask example.com/p",
    );
    check(
        none(),
        Around { class: class("kubernetes.io/no-provisioner", "Immediate"), ..Around::default() },
        "ProvisioningFailed: no volume plugin matched name: kubernetes.io/no-provisioner",
    );
    let late = || class("example.com/p", "WaitForFirstConsumer");
    check(
        none(),
        Around { class: late(), ..Around::default() },
        "wait WaitForFirstConsumer: waiting for first consumer to be created before binding",
    );
    check(
        none(),
        Around { class: late(), waiting: vec!["p".into(), "q".into()], ..Around::default() },
        "wait WaitForPodScheduled: waiting for pods p,q to be scheduled",
    );
    check(
        annotated(&["volume.kubernetes.io/selected-node"], none()),
        Around { class: late(), ..Around::default() },
        "ask example.com/p",
    );
    let classless = || json!({"spec": {"storageClassName": null}});
    check(
        classless(),
        Around::default(),
        "wait FailedBinding: no persistent volumes available for this claim and no storage class is set",
    );
    let default = || Around { default_class: Some("std".into()), ..Around::default() };
    check(classless(), default(), "class std");
    check(
        json!({"spec": {"storageClassName": ""}}),
        default(),
        "wait FailedBinding: no persistent volumes available for this claim and no storage class is set",
    );
    // It names one.
    check(named(), Around::default(), "wait ");
    check(named(), with(volume("v", "5Gi", none())), "bind v");
    check(
        named(),
        with(volume("v", "1Gi", none())),
        "wait VolumeMismatch: Cannot bind to requested volume \"v\": requested PV is too small",
    );
    check(named(), with(volume("v", "5Gi", reference("u"))), "bind v");
    let taken = "FailedBinding: volume \"v\" already bound to a different claim.";
    check(named(), with(volume("v", "5Gi", reference("another"))), &format!("wait {taken}"));
    let ours = annotated(&["pv.kubernetes.io/bound-by-controller"], named());
    check(ours, with(volume("v", "5Gi", reference("another"))), &format!("retry {taken}"));
    // It was bound.
    let had = || annotated(&[bound], named());
    check(had(), with(volume("v", "5Gi", reference("u"))), "bind v");
    check(had(), with(volume("v", "5Gi", none())), "bind v");
    check(
        had(),
        Around::default(),
        "lose ClaimLost: Bound claim has lost its PersistentVolume. Data on the volume is lost!",
    );
    check(
        had(),
        with(volume("v", "5Gi", reference("another"))),
        "lose ClaimMisbound: Two claims are bound to the same volume, this one is bound incorrectly",
    );
    check(
        annotated(&[bound], none()),
        Around::default(),
        "lose ClaimLost: Bound claim has lost reference to PersistentVolume. Data on the volume is lost!",
    );
}

#[test]
fn what_becomes_of_a_volume() {
    let check = |change: Value, of: Option<Value>, expected: VolumeStep| {
        let claim = of.clone().map(claim);
        let got = plan::volume(&volume("v", "5Gi", change.clone()), claim.as_ref());
        assert_eq!(got, expected, "{change} {of:?}");
    };
    let named = |name: &str| Some(json!({"spec": {"volumeName": name}}));
    check(none(), None, VolumeStep::Offer);
    check(reference(""), None, VolumeStep::Offer);
    check(reference("u"), None, VolumeStep::Release);
    check(reference("another"), named("v"), VolumeStep::Release);
    check(reference("u"), Some(none()), VolumeStep::Ask);
    check(reference("u"), Some(json!({"spec": {"volumeMode": "Block"}})), VolumeStep::Mismatch);
    check(reference("u"), named("v"), VolumeStep::Confirm);
    check(reference("u"), named("w"), VolumeStep::Unbind);
    let mut made = reference("u");
    merge(
        &mut made,
        json!({"metadata": {"annotations": {"pv.kubernetes.io/provisioned-by": "p"}},
               "spec": {"persistentVolumeReclaimPolicy": "Delete"}}),
    );
    check(made, named("w"), VolumeStep::Release);
}

#[test]
fn how_volumes_are_reclaimed() {
    let check = |policy: &str, change: Value, users: &[&str], expected: &str| {
        let mut all = json!({"spec": {"persistentVolumeReclaimPolicy": policy}});
        merge(&mut all, change.clone());
        let users: Vec<String> = users.iter().map(|user| (*user).to_owned()).collect();
        let got = match reclaim(&volume("v", "5Gi", all), &users) {
            Reclaim::Leave => "leave".to_owned(),
            Reclaim::DeleteDirectory(path) => format!("delete {path}"),
            Reclaim::Fail(note) => format!("{}: {}", note.reason, note.message),
        };
        assert_eq!(got, expected, "{policy} {change}");
    };
    let at = |path: &str| json!({"spec": {"hostPath": {"path": path}}});
    let by = |who: &str| json!({"metadata": {"annotations": {"pv.kubernetes.io/provisioned-by": who}}});
    check("Retain", at("/tmp/x"), &[], "leave");
    check("Recycle", at("/tmp/x"), &["a/p"], "leave");
    check("Recycle", at("/tmp/x"), &[], "VolumeFailedRecycle: No recycler plugin found for the volume!");
    check("Delete", at("/tmp/x"), &[], "delete /tmp/x");
    for path in ["/tmp/", "/tmp/.", "/tmp//", "/tmp/../srv", "/tmp/x/../../srv"] {
        let told = format!(
            "VolumeFailedDelete: host_path deleter only supports /tmp/.+ but received provided {path}"
        );
        check("Delete", at(path), &[], &told);
    }
    check(
        "Delete",
        at("/srv"),
        &[],
        "VolumeFailedDelete: host_path deleter only supports /tmp/.+ but received provided /srv",
    );
    check("Delete", by("example.com/p"), &[], "leave");
    check("Delete", json!({"spec": {"csi": {"driver": "d", "volumeHandle": "h"}}}), &[], "leave");
    check(
        "Delete",
        json!({"spec": {"nfs": {"server": "s", "path": "/"}}}),
        &[],
        "VolumeFailedDelete: error getting deleter volume plugin for volume \"v\": no deletable volume plugin matched",
    );
    check(
        "Shred",
        none(),
        &[],
        "VolumeUnknownReclaimPolicy: Volume has unrecognized PersistentVolumeReclaimPolicy",
    );
}

#[test]
fn a_claims_status_has_what_the_volume_has() {
    let bound = with_status(&claim(none()), "Bound", Some(&volume("v", "8Gi", none()))).unwrap();
    let status = bound.status.clone().unwrap();
    assert_eq!(status.phase.as_deref(), Some("Bound"));
    assert_eq!(status.capacity.unwrap()["storage"].0, "8Gi");
    assert_eq!(status.access_modes, Some(vec!["ReadWriteOnce".to_owned()]));
    assert_eq!(with_status(&bound, "Bound", Some(&volume("v", "9Gi", none()))), None, "resized meanwhile");
    let lost = with_status(&bound, "Lost", None).unwrap().status.unwrap();
    assert_eq!((lost.capacity, lost.access_modes), (None, None));
}
