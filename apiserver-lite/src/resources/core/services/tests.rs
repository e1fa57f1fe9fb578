use std::collections::{BTreeSet, HashSet};

use coracle_api::Object;
use serde_json::{Value, json};

use super::{pool::Network, *};
use crate::resources::Write;

fn ranges() -> Ranges {
    Ranges {
        families: vec!["IPv4"],
        networks: Network::all("10.96.0.0/12"),
        avoided: HashSet::new(),
        ports: (30000, 32767),
    }
}

fn service(name: &str, spec: Value) -> Object {
    let metadata = json!({"name": name, "namespace": "default", "uid": name});
    let object = json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec});
    Object::from_value(object).unwrap()
}

// The way of a write through the strategy: its result, or the whole message.
fn write(
    services: &Services,
    new: &Object,
    old: Option<&Object>,
    dry_run: bool,
) -> Result<(Object, Claim), String> {
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    let write =
        Write { part: Part::Whole, now, user: &crate::authn::User::default(), dry_run, api_version: "v1" };
    let mut new = new.clone();
    services.default(&mut new);
    services.prepare(&write, &mut new, old);
    let allocation = services.claim(&ranges(), &mut new, old, dry_run).map_err(|error| error.to_string())?;
    let claim = Claim::of(allocation);
    let errors = services.validate(&write, &new, old);
    if errors.is_empty() {
        return Ok((new, claim));
    }
    Err(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
}

fn stored(services: &Services, new: &Object, old: Option<&Object>) -> Object {
    let (new, claim) = write(services, new, old, false).map_err(|error| panic!("{error}")).unwrap();
    claim.keep();
    new
}

fn ip(service: &Object) -> String {
    service.get_str(&["spec", "clusterIP"]).to_owned()
}

fn node_port(service: &Object) -> i64 {
    section(service, "spec")["ports"][0]["nodePort"].as_i64().unwrap_or(0)
}

#[test]
fn dry_creates_are_answered_as_upstream_answers_them() {
    let port = || json!([{"port": 80}]);
    let cases = [
        (
            json!({"ports": port()}),
            json!({"clusterIP": "10.96.0.0", "ipFamilyPolicy": "SingleStack", "type": "ClusterIP"}),
        ),
        (
            json!({"ports": port(), "clusterIP": "None"}),
            json!({"ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "RequireDualStack"}),
        ),
        (
            json!({"ports": port(), "clusterIP": "None", "selector": {"a": "b"}}),
            json!({"ipFamilies": ["IPv4"]}),
        ),
        (json!({"ports": port(), "ipFamilyPolicy": "PreferDualStack"}), json!({"ipFamilies": ["IPv4"]})),
        (
            json!({"ports": port(), "type": "LoadBalancer", "externalTrafficPolicy": "Local"}),
            json!({"healthCheckNodePort": 32770, "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80, "nodePort": 32769}]}),
        ),
    ];
    for (spec, expected) in cases {
        let (service, _) =
            write(&Services::new(), &service("a", spec), None, true).map_err(|it| panic!("{it}")).unwrap();
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(section(&service, "spec")[name], *value, "{name}");
        }
    }
}

#[test]
fn bad_services_are_refused_as_upstream_refuses_them() {
    let port = || json!([{"port": 80}]);
    let cases = [
        (
            json!({"ports": port(), "clusterIP": "1.2.3.4"}),
            "Service \"a\" is invalid: spec.clusterIPs: Invalid value: [\"1.2.3.4\"]: failed to allocate IP 1.2.3.4: the provided network does not match the current range",
        ),
        (
            json!({"ports": port(), "ipFamilyPolicy": "RequireDualStack"}),
            "Service \"a\" is invalid: spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services",
        ),
        (
            json!({"ports": port(), "ipFamilies": ["IPv6"]}),
            "Service \"a\" is invalid: spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster",
        ),
        (
            json!({"ports": port(), "clusterIPs": ["10.96.0.77"]}),
            "Service \"a\" is invalid: spec.clusterIPs: Invalid value: [\"10.96.0.77\"]: must be empty when `clusterIP` is not specified",
        ),
        (
            json!({"ports": [{"port": 80, "nodePort": 1}], "type": "NodePort"}),
            "Service \"a\" is invalid: spec.ports[0].nodePort: Invalid value: 1: provided port is not in the valid range. The range of valid ports is 30000-32767",
        ),
        (json!({"type": "ExternalName"}), "spec.externalName: Required value"),
        (json!({}), "spec.ports: Required value"),
        (
            json!({"ports": port(), "type": "Bogus", "sessionAffinity": "Bogus"}),
            "spec.sessionAffinity: Unsupported value: \"Bogus\": supported values: \"ClientIP\", \"None\", spec.type: Unsupported value: \"Bogus\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\"",
        ),
        (
            json!({"ports": port(), "externalIPs": ["127.0.0.1", "x"], "loadBalancerSourceRanges": ["1.2.3.4/8"], "loadBalancerClass": "a b", "trafficDistribution": "x", "internalTrafficPolicy": "z", "externalTrafficPolicy": "q", "healthCheckNodePort": 5, "allocateLoadBalancerNodePorts": true}),
            "spec.externalIPs[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128), spec.externalIPs[1]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff), spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer', spec.LoadBalancerSourceRanges[0]: Invalid value: \"1.2.3.4/8\": must not have bits set beyond the prefix length, spec.allocateLoadBalancerNodePorts: Forbidden: may only be used when `type` is 'LoadBalancer', spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer', spec.externalTrafficPolicy: Unsupported value: \"q\": supported values: \"Cluster\", \"Local\", spec.healthCheckNodePort: Invalid value: 5: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local', spec.internalTrafficPolicy: Unsupported value: \"z\": supported values: \"Cluster\", \"Local\", spec.trafficDistribution: Unsupported value: \"x\": supported values: \"PreferClose\", \"PreferSameZone\", \"PreferSameNode\"",
        ),
    ];
    for (spec, expected) in cases {
        let found = write(&Services::new(), &service("a", spec), None, false).err();
        assert_eq!(found.as_deref(), Some(expected));
    }
}

#[test]
fn updates_keep_what_was_allocated() {
    let services = Services::new();
    let old = stored(&services, &service("a", json!({"ports": [{"port": 80}], "type": "NodePort"})), None);
    let change = |spec: Value| {
        let new = service("a", spec);
        write(&services, &new, Some(&old), true).map(|(new, _)| new)
    };
    let kept = change(json!({"ports": [{"port": 81}], "type": "NodePort"})).unwrap();
    assert_eq!((ip(&kept), node_port(&kept)), (ip(&old), node_port(&old)));
    let inside = change(json!({"ports": [{"port": 80}]})).unwrap();
    assert_eq!((ip(&inside), node_port(&inside)), (ip(&old), 0));
    let named = change(json!({"type": "ExternalName", "externalName": "a.b"})).unwrap();
    assert_eq!((ip(&named), named.get(&["spec", "ipFamilies"])), (String::new(), None));
    let moved =
        change(json!({"ports": [{"port": 80}], "clusterIP": "10.96.3.3", "clusterIPs": ["10.96.3.3"]}));
    let expected = "spec.clusterIPs[0]: Invalid value: [\"10.96.3.3\"]: may not change once set";
    assert_eq!(moved.err().as_deref(), Some(expected));
}

#[test]
fn nothing_is_given_twice() {
    let services = std::sync::Arc::new(Services::new());
    services.pool.learn(std::iter::empty());
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let services = services.clone();
            std::thread::spawn(move || {
                let spec = || json!({"ports": [{"port": 80}], "type": "NodePort"});
                let made = (0..50)
                    .map(|index| stored(&services, &service(&format!("{task}-{index}"), spec()), None));
                made.map(|it| (ip(&it), node_port(&it))).collect::<Vec<_>>()
            })
        })
        .collect();
    let all: Vec<(String, i64)> = tasks.into_iter().flat_map(|task| task.join().unwrap()).collect();
    let ips: BTreeSet<&String> = all.iter().map(|(ip, _)| ip).collect();
    let ports: BTreeSet<i64> = all.iter().map(|(_, port)| *port).collect();
    assert_eq!((ips.len(), ports.len()), (400, 400));
}

#[test]
fn a_write_that_fails_gives_back_only_what_it_took() {
    let services = Services::new();
    let fixed =
        || json!({"ports": [{"port": 80, "nodePort": 30500}], "type": "NodePort", "clusterIP": "10.96.0.9"});
    let first = stored(&services, &service("a", fixed()), None);
    for _ in 0..2 {
        // Refused each time: the refusal frees nothing of the first one's.
        let error = write(&services, &service("b", fixed()), None, false).err().unwrap();
        assert!(
            error.ends_with("failed to allocate IP 10.96.0.9: provided IP is already allocated"),
            "{error}"
        );
    }
    let port = json!({"ports": [{"port": 80, "nodePort": 30500}], "type": "NodePort"});
    let error = write(&services, &service("b", port.clone()), None, false).err().unwrap();
    assert!(error.ends_with("provided port is already allocated"), "{error}");
    services.removed(&first);
    let (_, claim) =
        write(&services, &service("b", fixed()), None, false).map_err(|it| panic!("{it}")).unwrap();
    drop(claim);
    stored(&services, &service("c", fixed()), None);
}

#[test]
fn what_is_stored_is_learned_but_not_what_went_before() {
    let services = Services::new();
    let spec =
        |ip: &str| json!({"ports": [{"port": 80}], "type": "ClusterIP", "clusterIP": ip, "clusterIPs": [ip]});
    let (stays, goes) = (service("stays", spec("10.96.0.5")), service("goes", spec("10.96.0.6")));
    services.removed(&goes);
    services.pool.learn([&stays, &goes].into_iter());
    assert!(write(&services, &service("a", spec("10.96.0.5")), None, false).is_err());
    assert!(write(&services, &service("b", spec("10.96.0.6")), None, false).is_ok());
}

#[test]
fn addresses_are_of_all_networks_and_of_nobody_else() {
    let check = |ip: &str, avoided: &[&str], expected: Result<&str, &str>| {
        let ranges = Ranges {
            networks: Network::all("10.0.0.0/30,10.1.0.0/30"),
            avoided: avoided.iter().map(|ip| ip.parse().unwrap()).collect(),
            ..ranges()
        };
        let mut new = service("a", json!({"ports": [{"port": 80}], "type": "ClusterIP", "clusterIP": ip}));
        Services::new().prepare(
            &Write {
                part: Part::Whole,
                now: jiff::Timestamp::UNIX_EPOCH,
                user: &crate::authn::User::default(),
                dry_run: false,
                api_version: "v1",
            },
            &mut new,
            None,
        );
        let found = Services::new().claim(&ranges, &mut new, None, false).map(|_| super::tests::ip(&new));
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{ip} {avoided:?}"),
            (Err(error), Err(expected)) => {
                assert!(error.to_string().ends_with(expected), "{ip} {avoided:?}: {error}");
            }
            (found, _) => panic!("{ip} {avoided:?}: {found:?}"),
        }
    };
    check("", &["10.0.0.1"], Ok("10.0.0.2"));
    check("", &["10.0.0.2"], Ok("10.0.0.1"));
    check("", &["10.0.0.1", "10.0.0.2", "10.1.0.2"], Ok("10.1.0.1"));
    check("", &["10.0.0.1", "10.0.0.2", "10.1.0.1", "10.1.0.2"], Err("range is full"));
    check("10.1.0.2", &[], Ok("10.1.0.2"));
    check("10.1.0.2", &["10.1.0.2"], Err("provided IP is already allocated"));
    check("10.2.0.1", &[], Err("the provided network does not match the current range"));
    check("10.1.0.3", &[], Err("the provided network does not match the current range"));
}
