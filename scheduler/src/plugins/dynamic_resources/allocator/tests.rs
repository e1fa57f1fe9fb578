//! What claims get, by tables: cases of upstream's allocator.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use coracle_controllers::framework::Store;
use k8s_openapi::api::{core::v1::Node, resource::v1::ResourceClaim};
use serde_json::{Value, json};

use super::{
    super::{
        pools,
        uses::{self, Uses},
    },
    Inventory, Unallocated,
};

const DRIVER: &str = "driver-a";

/// What there is.
#[derive(Default)]
struct World {
    slices: Vec<Value>,
    classes: Vec<Value>,
    rules: Vec<Value>,
    allocated: Vec<Value>,
}

fn inventory(world: World) -> Inventory {
    fn all<T: serde::de::DeserializeOwned>(values: Vec<Value>) -> Vec<T> {
        values.into_iter().map(|value| serde_json::from_value(value).unwrap()).collect()
    }
    let slices = Store::of(all(world.slices));
    slices.index(pools::BY_NODE, pools::nodes);
    slices.index(pools::BY_POOL, pools::pools);
    let mut classes = vec![json!({"metadata": {"name": "class"}, "spec": {}})];
    classes.extend(world.classes);
    let claims = Store::of(all(world.allocated));
    claims.index(uses::BY_DEVICE, uses::used);
    Inventory {
        slices: Arc::new(slices),
        classes: Arc::new(Store::of(all(classes))),
        rules: all(world.rules).into_iter().map(Arc::new).collect(),
        uses: Uses::new(Arc::new(claims), Vec::new()),
        environment: Arc::default(),
    }
}

fn node() -> Node {
    serde_json::from_value(json!({"metadata": {"name": "n1", "labels": {"zone": "z1"}}})).unwrap()
}

fn claim(spec: Value) -> Arc<ResourceClaim> {
    let claim = json!({"metadata": {"namespace": "ns", "name": "c"}, "spec": {"devices": spec}});
    Arc::new(serde_json::from_value(claim).unwrap())
}

fn request(name: &str, fields: Value) -> Value {
    let mut exactly = json!({"deviceClassName": "class", "allocationMode": "ExactCount"});
    exactly.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    json!({"name": name, "exactly": exactly})
}

fn slice(name: &str, devices: Value) -> Value {
    json!({"metadata": {"name": name}, "spec": {"driver": DRIVER, "nodeName": "n1",
        "pool": {"name": "pool", "generation": 1, "resourceSliceCount": 1}, "devices": devices}})
}

fn slice_with(name: &str, spec: Value) -> Value {
    let mut slice = slice(name, json!([]));
    let fields = slice["spec"].as_object_mut().unwrap();
    fields.remove("nodeName");
    fields.extend(spec.as_object().unwrap().clone());
    slice
}

fn allocated(uid: &str, device: &str, fields: Value) -> Value {
    let mut result = json!({"request": "r", "driver": DRIVER, "pool": "pool", "device": device});
    result.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    json!({"metadata": {"namespace": "ns", "name": uid, "uid": uid}, "spec": {},
        "status": {"allocation": {"devices": {"results": [result]}}}})
}

fn find(world: World, claims: &[Value]) -> Result<Vec<Value>, Unallocated> {
    let claims: Vec<_> = claims.iter().map(|spec| claim(spec.clone())).collect();
    let found = inventory(world).allocate(&node(), &claims, None)?;
    Ok(found.into_iter().map(|it| serde_json::to_value(it).unwrap()).collect())
}

/// `request=device` of each result of each claim, or why there is none.
#[track_caller]
fn check(world: World, claims: &[Value], expected: Result<&[&[&str]], &str>) {
    let found = find(world, claims).map(|all| {
        let each = all.iter().map(|allocation| {
            let results = allocation["devices"]["results"].as_array().unwrap().iter();
            results
                .map(|it| format!("{}={}", it["request"].as_str().unwrap(), it["device"].as_str().unwrap()))
                .collect::<Vec<String>>()
        });
        each.collect::<Vec<_>>()
    });
    let found = found.map_err(|why| match why {
        Unallocated::Failed(why) => why,
        other => format!("{other:?}"),
    });
    let expected = expected
        .map(|all| {
            all.iter().map(|it| it.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>()).collect::<Vec<_>>()
        })
        .map_err(str::to_owned);
    assert_eq!(found, expected);
}

fn devices(names: &[&str]) -> Value {
    names.iter().map(|name| json!({"name": name})).collect()
}

fn plain(names: &[&str]) -> World {
    World { slices: vec![slice("s", devices(names))], ..World::default() }
}

fn one(fields: Value) -> Vec<Value> {
    vec![json!({"requests": [request("r", fields)]})]
}

#[test]
fn devices_are_counted() {
    check(plain(&["a"]), &one(json!({"count": 1})), Ok(&[&["r=a"]]));
    check(plain(&["a", "b", "c"]), &one(json!({"count": 2})), Ok(&[&["r=a", "r=b"]]));
    check(plain(&["a"]), &one(json!({"count": 2})), Err("Lacking"));
    check(plain(&[]), &one(json!({"count": 1})), Err("Lacking"));
    check(plain(&["a", "b"]), &one(json!({"allocationMode": "All"})), Ok(&[&["r=a", "r=b"]]));
    check(plain(&[]), &one(json!({"allocationMode": "All"})), Err("Lacking"));
    check(
        plain(&["a"]),
        &one(json!({"allocationMode": "Odd"})),
        Err("claim ns/c, request r: unsupported count mode Odd"),
    );
    let two = [one(json!({"count": 1})), one(json!({"count": 1}))].concat();
    check(plain(&["a", "b"]), &two, Ok(&[&["r=a"], &["r=b"]]));
    check(plain(&["a"]), &two, Err("Lacking"));
    check(
        plain(&["a"]),
        &one(json!({"count": 33})),
        Err(
            "claim ns/c, request r: adding 33 devices exceeds the claim limit of 32, with 0 already accounted for",
        ),
    );
    let names: Vec<String> = (0..40).map(|at| format!("d{at:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    check(
        plain(&names),
        &one(json!({"allocationMode": "All"})),
        Err(
            "claim ns/c, request r: adding 40 devices exceeds the claim limit of 32, with 0 already accounted for",
        ),
    );
    let many = json!({"requests": [request("r", json!({"count": 16})), request("s", json!({"count": 16}))]});
    let found = find(plain(&names), &[many]).unwrap();
    assert_eq!(found[0]["devices"]["results"].as_array().unwrap().len(), 32);
    check(
        plain(&["a"]),
        &one(json!({"deviceClassName": "gone"})),
        Err(
            "claim ns/c, request r: could not retrieve device class gone: deviceclass.resource.k8s.io \"gone\" not found",
        ),
    );
}

#[test]
fn devices_in_use_are_not_given_out_again() {
    let used = |fields: Value| World { allocated: vec![allocated("x", "a", fields)], ..plain(&["a", "b"]) };
    check(used(json!({})), &one(json!({"count": 1})), Ok(&[&["r=b"]]));
    check(used(json!({})), &one(json!({"count": 2})), Err("Lacking"));
    // Who only looks after a device does not use it, and may also look after one in use.
    check(used(json!({"adminAccess": true})), &one(json!({"count": 2})), Ok(&[&["r=a", "r=b"]]));
    check(used(json!({})), &one(json!({"count": 2, "adminAccess": true})), Ok(&[&["r=a", "r=b"]]));
    check(used(json!({})), &one(json!({"count": 3, "adminAccess": true})), Err("Lacking"));
    check(used(json!({})), &one(json!({"allocationMode": "All"})), Err("Lacking"));
}

#[test]
fn selectors_of_class_and_request_must_match() {
    let with = |model: &str| json!({"model": {"string": model}});
    let world = |expression: &str| World {
        slices: vec![slice(
            "s",
            json!([
            {"name": "a", "attributes": with("small")}, {"name": "b", "attributes": with("large")}]),
        )],
        classes: vec![json!({"metadata": {"name": "picky"},
            "spec": {"selectors": [{"cel": {"expression": expression}}]}})],
        ..World::default()
    };
    let asks = |expression: &str| {
        one(
            json!({"count": 1, "deviceClassName": "picky", "selectors": [{"cel": {"expression": expression}}]}),
        )
    };
    let is = |model: &str| format!(r#"device.attributes["{DRIVER}"].model == "{model}""#);
    check(world("true"), &asks(&is("large")), Ok(&[&["r=b"]]));
    check(world(&is("large")), &asks("true"), Ok(&[&["r=b"]]));
    check(world(&is("large")), &asks(&is("small")), Err("Lacking"));
    check(world("device.driver == 'other'"), &asks("true"), Err("Lacking"));
    check(
        world("true"),
        &asks(r#"device.attributes["driver-a"].none == 1"#),
        Err(
            "claim ns/c: selector #0 on device driver-a/pool/a: CEL runtime error: no such key: none. consider using CEL optional chaining (.? followed by orValue()) or guarding the check with has() for optional fields",
        ),
    );
}

#[test]
fn constraints_hold_for_all_devices() {
    let device = |name: &str, numa: i64| json!({"name": name, "attributes": {"numa": {"int": numa}}});
    let world = || World {
        slices: vec![slice("s", json!([device("a", 1), device("b", 2), device("c", 2), {"name": "d"}]))],
        ..World::default()
    };
    let asks = |count: i64, constraint: Value| {
        vec![json!({"requests": [request("r", json!({"count": count}))], "constraints": [constraint]})]
    };
    let matching = || json!({"matchAttribute": "driver-a/numa"});
    check(world(), &asks(2, matching()), Ok(&[&["r=b", "r=c"]]));
    check(world(), &asks(3, matching()), Err("Lacking"));
    let distinct = || json!({"distinctAttribute": "driver-a/numa"});
    check(world(), &asks(2, distinct()), Ok(&[&["r=a", "r=b"]]));
    check(world(), &asks(3, distinct()), Err("Lacking"));
    check(world(), &asks(1, json!({"matchAttribute": "other/numa"})), Err("Lacking"));
    check(
        world(),
        &asks(1, json!({})),
        Err("claim ns/c, constraint #0: empty constraint (unsupported constraint type?)"),
    );
    check(
        world(),
        &asks(3, json!({"matchAttribute": "driver-a/numa", "requests": ["other"]})),
        Ok(&[&["r=a", "r=b", "r=c"]]),
    );
}

#[test]
fn the_first_possible_alternative_is_met() {
    let alternatives =
        |counts: &[i64]| {
            let first: Vec<Value> = counts.iter().enumerate().map(|(at, count)| {
            json!({"name": format!("s{at}"), "deviceClassName": "class", "count": count})
        }).collect();
            vec![json!({"requests": [{"name": "r", "firstAvailable": first}],
            "config": [{"requests": ["r/s1"], "opaque": {"driver": DRIVER, "parameters": {"a": 1}}}]})]
        };
    check(plain(&["a", "b"]), &alternatives(&[2, 1]), Ok(&[&["r/s0=a", "r/s0=b"]]));
    check(plain(&["a", "b"]), &alternatives(&[3, 1]), Ok(&[&["r/s1=a"]]));
    check(plain(&["a", "b"]), &alternatives(&[3, 4]), Err("Lacking"));
    check(plain(&["a", "b"]), &alternatives(&[33, 1]), Ok(&[&["r/s1=a"]]));
    let config = |counts: &[i64]| {
        find(plain(&["a", "b"]), &alternatives(counts)).unwrap()[0]["devices"]["config"].clone()
    };
    assert_eq!(config(&[2, 1]), json!(null), "what is for another alternative is left out");
    assert_eq!(
        config(&[3, 1]),
        json!([{"source": "FromClaim", "opaque": {"driver": DRIVER, "parameters": {"a": 1}}}])
    );
}

#[test]
fn pools_count_when_they_are_whole() {
    let of = |name: &str, device: &str, generation: i64, count: i64| {
        let mut slice = slice(name, devices(&[device]));
        slice["spec"]["pool"] =
            json!({"name": "pool", "generation": generation, "resourceSliceCount": count});
        slice
    };
    let world = |slices: Vec<Value>| World { slices, ..World::default() };
    let any = || one(json!({"count": 1}));
    let all = || one(json!({"allocationMode": "All"}));
    check(world(vec![of("s", "a", 1, 2)]), &any(), Err("Lacking"));
    check(world(vec![of("s", "a", 1, 2), of("t", "b", 1, 2)]), &any(), Ok(&[&["r=a"]]));
    check(world(vec![of("s", "a", 1, 1), of("t", "b", 2, 1)]), &any(), Ok(&[&["r=b"]]));
    check(
        world(vec![of("s", "a", 1, 2)]),
        &all(),
        Err(
            "claim ns/c, request r: asks for all devices, but resource pool driver-a/pool is currently being updated",
        ),
    );
    check(world(vec![of("s", "a", 1, 2), of("t", "a", 1, 2)]), &any(), Err("InvalidPools"));
    check(
        world(vec![of("s", "a", 1, 2), of("t", "a", 1, 2)]),
        &all(),
        Err(
            "claim ns/c, request r: asks for all devices, but resource pool driver-a/pool is currently invalid",
        ),
    );
}

#[test]
fn nodes_reach_what_is_for_them() {
    let selector = |zone: &str| {
        json!({"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "zone", "operator": "In", "values": [zone]}]}]})
    };
    let from = |slice: Value| {
        let world = World { slices: vec![slice], ..World::default() };
        find(world, &one(json!({"count": 1}))).map(|found| found[0]["nodeSelector"].clone())
    };
    let here = json!({"nodeSelectorTerms": [
        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}]});
    assert_eq!(from(slice("s", devices(&["a"]))), Ok(here.clone()));
    let with = |mut spec: Value, device: Value| {
        spec["devices"] = json!([device]);
        from(slice_with("s", spec))
    };
    let plain = || json!({"name": "a"});
    assert_eq!(with(json!({"allNodes": true}), plain()), Ok(json!(null)));
    assert_eq!(with(json!({"allNodes": true}), json!({"name": "a", "bindsToNode": true})), Ok(here.clone()));
    assert_eq!(with(json!({"nodeSelector": selector("z1")}), plain()), Ok(selector("z1")));
    assert_eq!(with(json!({"nodeSelector": selector("z2")}), plain()), Err(Unallocated::Lacking));
    let each = json!({"perDeviceNodeSelection": true});
    assert_eq!(with(each.clone(), json!({"name": "a", "nodeName": "n1"})), Ok(here));
    assert_eq!(with(each.clone(), json!({"name": "a", "nodeName": "n2"})), Err(Unallocated::Lacking));
    assert_eq!(with(each, json!({"name": "a", "nodeSelector": selector("z1")})), Ok(selector("z1")));
}

#[test]
fn taints_keep_claims_away_that_do_not_bear_them() {
    let taint = |effect: &str| json!({"key": "k", "value": "v", "effect": effect});
    let world = |effect: &str| World {
        slices: vec![slice("s", json!([{"name": "a", "taints": [taint(effect)]}, {"name": "b"}]))],
        ..World::default()
    };
    let asks = |tolerations: Value| one(json!({"count": 2, "tolerations": tolerations}));
    check(world("NoSchedule"), &asks(json!([])), Err("Lacking"));
    check(world("NoExecute"), &asks(json!([])), Err("Lacking"));
    check(world("None"), &asks(json!([])), Ok(&[&["r=a", "r=b"]]));
    check(world("NoSchedule"), &asks(json!([{"key": "k", "operator": "Exists"}])), Ok(&[&["r=a", "r=b"]]));
    check(world("NoSchedule"), &asks(json!([{"key": "k", "value": "w"}])), Err("Lacking"));
    let ruled = |selector: Value| World {
        rules: vec![json!({"metadata": {"name": "r"},
            "spec": {"deviceSelector": selector, "taint": taint("NoSchedule")}})],
        ..plain(&["a", "b"])
    };
    check(ruled(json!({"device": "a"})), &one(json!({"count": 1})), Ok(&[&["r=b"]]));
    check(ruled(json!({"driver": "other"})), &asks(json!([])), Ok(&[&["r=a", "r=b"]]));
    check(ruled(json!({})), &one(json!({"count": 1})), Err("Lacking"));
}

#[test]
fn partitions_share_counters() {
    let pool = || json!({"name": "pool", "generation": 1, "resourceSliceCount": 2});
    let consumes = |name: &str, memory: &str| {
        json!({"name": name, "consumesCounters": [
        {"counterSet": "gpu", "counters": {"memory": {"value": memory}}}]})
    };
    let world = |devices: Value, allocated: Vec<Value>| {
        let sets = json!({"nodeName": "n1", "pool": pool(), "sharedCounters": [
            {"name": "gpu", "counters": {"memory": {"value": "40Gi"}}}]});
        let parts = json!({"nodeName": "n1", "pool": pool(), "devices": devices});
        World { slices: vec![slice_with("s", sets), slice_with("t", parts)], allocated, ..World::default() }
    };
    let parts = || json!([consumes("half", "20Gi"), consumes("most", "30Gi"), consumes("other", "20Gi")]);
    check(world(parts(), vec![]), &one(json!({"count": 1})), Ok(&[&["r=half"]]));
    check(world(parts(), vec![]), &one(json!({"count": 2})), Ok(&[&["r=half", "r=other"]]));
    check(world(parts(), vec![]), &one(json!({"count": 3})), Err("Lacking"));
    check(
        world(parts(), vec![allocated("x", "half", json!({}))]),
        &one(json!({"count": 1})),
        Ok(&[&["r=other"]]),
    );
    check(world(parts(), vec![allocated("x", "most", json!({}))]), &one(json!({"count": 1})), Err("Lacking"));
    let unknown = json!([{"name": "a", "consumesCounters": [{"counterSet": "none", "counters": {"m": {"value": "1"}}}]}]);
    check(world(unknown, vec![]), &one(json!({"count": 1})), Err("InvalidPools"));
}

#[test]
fn shared_devices_are_taken_up_to_their_capacity() {
    let shared = || {
        json!([{"name": "a", "allowMultipleAllocations": true, "capacity": {"memory": {
        "value": "8Gi", "requestPolicy": {"default": "1Gi", "validRange": {"min": "1Gi", "step": "1Gi"}}}}}])
    };
    let world =
        |allocated: Vec<Value>| World { slices: vec![slice("s", shared())], allocated, ..World::default() };
    let asks = |memory: &str| {
        json!({"requests": [
        request("r", json!({"count": 1, "capacity": {"requests": {"memory": memory}}}))]})
    };
    let by = |uid: &str, memory: &str| {
        allocated(
            uid,
            "a",
            json!({
        "shareID": "s", "consumedCapacity": {"memory": memory}}),
        )
    };
    check(world(vec![]), &[asks("5Gi")], Ok(&[&["r=a"]]));
    check(world(vec![]), &[asks("5Gi"), asks("3Gi")], Ok(&[&["r=a"], &["r=a"]]));
    check(world(vec![]), &[asks("5Gi"), asks("4Gi")], Err("Lacking"));
    check(world(vec![by("x", "6Gi")]), &[asks("2Gi")], Ok(&[&["r=a"]]));
    check(world(vec![by("x", "6Gi"), by("y", "1Gi")]), &[asks("2Gi")], Err("Lacking"));
    check(world(vec![]), &[asks("9Gi")], Err("Lacking"));
    let found = find(world(vec![]), &[asks("1500Mi")]).unwrap();
    let result = &found[0]["devices"]["results"][0];
    assert_eq!(result["consumedCapacity"], json!({"memory": "2Gi"}));
    assert!(result["shareID"].is_string());
}

#[test]
fn devices_that_must_get_ready_come_last() {
    let conditional = slice(
        "z",
        json!([{"name": "late", "bindingConditions": ["ready"],
        "bindingFailureConditions": ["failed"]}]),
    );
    let mut first = conditional;
    first["spec"]["pool"]["name"] = json!("a-pool");
    let world = World { slices: vec![first, slice("s", devices(&["now"]))], ..World::default() };
    let found = find(world, &one(json!({"count": 2}))).unwrap();
    let results = &found[0]["devices"]["results"];
    assert_eq!((&results[0]["device"], &results[1]["device"]), (&json!("now"), &json!("late")));
    assert_eq!(results[1]["bindingConditions"], json!(["ready"]));
}

#[test]
fn drivers_are_told_by_class_and_claim() {
    let opaque = |a: i64| json!({"driver": DRIVER, "parameters": {"a": a}});
    let world = World {
        classes: vec![json!({"metadata": {"name": "told"}, "spec": {"config": [{"opaque": opaque(1)}]}})],
        ..plain(&["a", "b", "c"])
    };
    let told = json!({"deviceClassName": "told", "count": 1});
    let spec = json!({
        "requests": [request("q", told.clone()), request("r", told), request("s", json!({"count": 1}))],
        "config": [{"opaque": opaque(2)}, {"requests": ["q"], "opaque": opaque(3)}, {"requests": ["x"], "opaque": opaque(4)}],
    });
    let found = find(world, &[spec]).unwrap();
    assert_eq!(
        found[0]["devices"]["config"],
        json!([
            {"source": "FromClass", "requests": ["q", "r"], "opaque": opaque(1)},
            {"source": "FromClaim", "opaque": opaque(2)},
            {"source": "FromClaim", "requests": ["q"], "opaque": opaque(3)},
        ])
    );
}

#[test]
fn a_hopeless_search_ends_in_time() {
    // Each of many devices could be the one that does not fit.
    let device = |at: usize| json!({"name": format!("d{at:02}"), "attributes": {"x": {"int": at % 7}}});
    let world = World { slices: vec![slice("s", (0..60).map(device).collect())], ..World::default() };
    let spec = json!({"requests": [request("r", json!({"count": 12}))],
        "constraints": [{"matchAttribute": "driver-a/x"}]});
    let deadline = Instant::now() + Duration::from_millis(50);
    let outcome = inventory(world).allocate(&node(), &[claim(spec)], Some(deadline));
    assert!(matches!(outcome, Err(Unallocated::Late | Unallocated::Lacking)));
    assert!(Instant::now() < deadline + Duration::from_secs(5));
}
