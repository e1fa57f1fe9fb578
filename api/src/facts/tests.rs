use std::{collections::HashSet, ptr};

use expect_test::expect;

use super::*;
use crate::{
    Resource,
    schema::{Field, List, ListKind, Omit, Ref, Shape, Struct},
};

fn resource(group: &str, version: &str, plural: &str) -> &'static Resource {
    let found =
        RESOURCES.iter().find(|it| it.gvk.group == group && it.gvk.version == version && it.plural == plural);
    found.unwrap_or_else(|| panic!("no {plural}"))
}

/// Every struct that the resources and their subresources reach.
fn structs() -> Vec<&'static Struct> {
    fn visit(shape: &Shape, seen: &mut HashSet<*const Struct>, found: &mut Vec<&'static Struct>) {
        match shape {
            Shape::Struct(Ref::Static(it)) => add(it, seen, found),
            Shape::List(it) => visit(&it.element, seen, found),
            Shape::Map(it) => visit(&it.value, seen, found),
            _ => {}
        }
    }
    fn add(it: &'static Struct, seen: &mut HashSet<*const Struct>, found: &mut Vec<&'static Struct>) {
        if seen.insert(ptr::from_ref(it)) {
            found.push(it);
            it.fields.iter().for_each(|field| visit(&field.shape, seen, found));
        }
    }
    let (mut seen, mut found) = (HashSet::new(), Vec::new());
    for resource in RESOURCES {
        let own = resource.subresources.iter().filter_map(|it| it.schema.clone());
        for schema in own.chain([resource.schema.clone()]) {
            visit(&Shape::Struct(schema), &mut seen, &mut found);
        }
    }
    found
}

fn list(field: &Field) -> &List {
    match &field.shape {
        Shape::List(list) => list,
        other => panic!("{} is {other:?}", field.name),
    }
}

#[test]
fn every_resource_is_there_once() {
    let names: HashSet<_> = RESOURCES.iter().map(|it| (&it.gvk.group, &it.plural)).collect();
    let rows: HashSet<_> = RESOURCES.iter().map(|it| (&it.gvk, &it.plural)).collect();
    assert_eq!((names.len(), rows.len(), RESOURCES.len()), (71, 72, 72));
}

#[test]
fn every_resource_has_a_whole_schema() {
    for resource in RESOURCES {
        let name = resource.qualified_name();
        for field in ["apiVersion", "kind", "metadata"] {
            assert!(resource.schema.field(field).is_some(), "{name} has no {field}");
        }
        assert_eq!(resource.schema.go_name(), resource.gvk.kind);
        let stored = resource.verbs.iter().any(|verb| verb == "watch");
        assert_eq!(stored, !resource.storage.is_empty(), "{name}");
        assert_eq!(stored, !resource.storage_hash.is_empty(), "{name}");
        let listed = resource.verbs.iter().any(|verb| verb == "list");
        assert_eq!(listed, !resource.list_kind.is_empty(), "{name}");
    }
}

#[test]
fn storage_versions_are_served() {
    for resource in RESOURCES {
        let stored = RESOURCES.iter().find(|it| it.gvk == resource.storage_version);
        assert_eq!(stored.map(|it| &it.storage), Some(&resource.storage), "{}", resource.qualified_name());
    }
}

#[test]
fn structs_are_sound() {
    for it in structs() {
        let mut names = HashSet::new();
        for field in it.fields.iter() {
            let at = format!("{}.{}", it.name, field.name);
            assert!(names.insert(&field.name), "{at} twice");
            if let Some(default) = &field.default {
                serde_json::from_str::<serde_json::Value>(default)
                    .unwrap_or_else(|error| panic!("{at}: {error}"));
            }
            if let Shape::List(list) = &field.shape {
                let keys: &[_] = if let ListKind::Map(keys) = &list.kind { keys } else { &[] };
                for key in keys.iter().map(AsRef::as_ref).chain(field.patch.key) {
                    let Shape::Struct(element) = &list.element else { panic!("{at}: keys of scalars") };
                    assert!(element.field(key).is_some(), "{at}: no key {key}");
                }
            }
        }
    }
}

#[test]
fn protobuf_numbers_are_unique() {
    for it in structs() {
        let mut numbers = HashSet::new();
        for field in it.fields.iter().filter(|field| field.number != 0) {
            assert!(numbers.insert((field.within, field.number)), "{}.{}", it.name, field.name);
        }
    }
}

#[test]
fn fields_are_as_upstream_declares_them() {
    let containers = core_v1::POD_SPEC.field("containers").expect("containers");
    assert!(matches!(&list(containers).kind, ListKind::Map(keys) if **keys == ["name"]));
    assert!(containers.patch.merge && containers.patch.key == Some("name") && containers.required);
    assert_eq!((containers.omit, containers.number), (Omit::Never, 2));

    let ports = core_v1::CONTAINER.field("ports").expect("ports");
    assert!(matches!(&list(ports).kind, ListKind::Map(keys) if **keys == ["containerPort", "protocol"]));
    let protocol = core_v1::CONTAINER_PORT.field("protocol").expect("protocol");
    assert_eq!(protocol.default.as_deref(), Some("\"TCP\""));

    let volumes = core_v1::POD_SPEC.field("volumes").expect("volumes");
    assert!(volumes.patch.merge && volumes.patch.retain_keys);
    let secret = core_v1::VOLUME.field("secret").expect("secret");
    assert_eq!((secret.within, secret.pointer), (&[2][..], true));

    let deployment = resource("apps", "v1", "deployments");
    let Some(Shape::Struct(spec)) = deployment.schema.field("spec").map(|it| it.shape.clone()) else {
        panic!("no spec")
    };
    let replicas = spec.field("replicas").expect("replicas");
    assert!(replicas.pointer && replicas.omit == Omit::Empty && matches!(replicas.shape, Shape::Int32));

    let binding = admissionregistration_v1::NAMED_RULE_WITH_OPERATIONS.field("apiGroups").expect("apiGroups");
    assert_eq!(binding.within, [2, 2]);
}

#[test]
fn a_field_may_override_its_types_map_type() {
    let claim = core_v1::PERSISTENT_VOLUME_SPEC.field("claimRef").expect("claimRef");
    assert!(matches!(&claim.shape, Shape::Struct(it) if !it.atomic && it.go_name() == "ObjectReference"));
    assert!(core_v1::OBJECT_REFERENCE.atomic);
    let selector = core_v1::SERVICE_SPEC.field("selector").expect("selector");
    assert!(matches!(&selector.shape, Shape::Map(map) if map.atomic));
}

#[test]
fn keys_and_versions_in_the_store_are_upstreams() {
    let odd = RESOURCES.iter().filter(|it| it.storage != it.plural || it.gvk != it.storage_version);
    let lines: Vec<_> = odd
        .map(|it| {
            let version = it.storage_version.api_version();
            format!("{} {} -> {} {version}\n", it.api_version(), it.plural, it.storage)
        })
        .collect();
    expect![[r#"
        v1 bindings ->  v1
        v1 componentstatuses ->  v1
        v1 endpoints -> services/endpoints v1
        v1 nodes -> minions v1
        v1 replicationcontrollers -> controllers v1
        v1 services -> services/specs v1
        apiregistration.k8s.io/v1 apiservices -> apiregistration.k8s.io/apiservices apiregistration.k8s.io/v1
        events.k8s.io/v1 events -> events v1
        authentication.k8s.io/v1 selfsubjectreviews ->  authentication.k8s.io/v1
        authentication.k8s.io/v1 tokenreviews ->  authentication.k8s.io/v1
        authorization.k8s.io/v1 localsubjectaccessreviews ->  authorization.k8s.io/v1
        authorization.k8s.io/v1 selfsubjectaccessreviews ->  authorization.k8s.io/v1
        authorization.k8s.io/v1 selfsubjectrulesreviews ->  authorization.k8s.io/v1
        authorization.k8s.io/v1 subjectaccessreviews ->  authorization.k8s.io/v1
        autoscaling/v1 horizontalpodautoscalers -> horizontalpodautoscalers autoscaling/v2
        networking.k8s.io/v1 ingresses -> ingress networking.k8s.io/v1
        apiextensions.k8s.io/v1 customresourcedefinitions -> apiextensions.k8s.io/customresourcedefinitions apiextensions.k8s.io/v1
    "#]].assert_eq(&lines.concat());
}
