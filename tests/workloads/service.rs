//! Services: cluster addresses, node ports, and who has which.

use k8s_openapi::api::{
    core::v1::{Event, Service},
    networking::v1::{IPAddress, ServiceCIDR},
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::cluster::{Outcome, create, until, until_all, with};

fn services(client: &Client) -> Api<Service> {
    Api::default_namespaced(client.clone())
}

fn addresses(client: &Client) -> Api<IPAddress> {
    Api::all(client.clone())
}

async fn make(client: &Client, name: &str, spec: Value) -> Outcome<Service> {
    let mut spec = spec;
    spec["ports"] = json!([{ "port": 80 }]);
    create(client, json!({ "metadata": { "name": name }, "spec": spec })).await
}

fn ip(service: &Service) -> String {
    let spec = service.spec.as_ref();
    spec.and_then(|spec| spec.cluster_ip.clone()).unwrap_or_default()
}

fn node_port(service: &Service) -> Option<i32> {
    service.spec.as_ref()?.ports.as_ref()?.first()?.node_port
}

async fn owner_of(client: &Client, ip: &str) -> Outcome<Option<String>> {
    let found = addresses(client).get_opt(ip).await?;
    Ok(found.map(|address| address.spec.parent_ref.name))
}

async fn merge(client: &Client, name: &str, spec: Value) -> Outcome<Service> {
    let patch = Patch::Merge(json!({ "spec": spec }));
    Ok(services(client).patch(name, &PatchParams::default(), &patch).await?)
}

async fn told(client: &Client, reason: &str, about: &str) -> Outcome<Vec<Event>> {
    let events: Api<Event> = Api::default_namespaced(client.clone());
    let is_it = |event: &Event| {
        event.reason.as_deref() == Some(reason) && event.involved_object.name.as_deref() == Some(about)
    };
    let all = until_all(&events, "", |events| events.iter().any(is_it)).await?;
    Ok(all.into_iter().filter(is_it).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_cluster_address_has_its_object() {
    let outcome = with(async |client| {
        assert_eq!(owner_of(&client, "10.96.0.1").await?.as_deref(), Some("kubernetes"));
        let made = make(&client, "a", json!({ "type": "NodePort" })).await?;
        let (first, port) = (ip(&made), node_port(&made));
        assert!(port.is_some_and(|port| (30000..=32767).contains(&port)), "{port:?}");
        let address = addresses(&client).get(&first).await?;
        let labels = address.labels();
        assert_eq!(labels.get("ipaddress.kubernetes.io/ip-family").map(String::as_str), Some("IPv4"));
        let by = labels.get("ipaddress.kubernetes.io/managed-by").map(String::as_str);
        assert_eq!(by, Some("ipallocator.k8s.io"));
        let parent = &address.spec.parent_ref;
        assert_eq!((&*parent.resource, &*parent.name), ("services", "a"));
        // Neither it nor the port is given again.
        let taken = make(&client, "b", json!({ "clusterIP": first })).await;
        let text = taken.err().map(|error| error.to_string()).unwrap_or_default();
        let expected = format!("failed to allocate IP {first}: provided IP is already allocated");
        assert!(text.contains(&expected), "{text}");
        // A name elsewhere has no address, and one again when it is a service again.
        let external =
            json!({ "type": "ExternalName", "externalName": "a.b", "clusterIP": null, "clusterIPs": null });
        let named = merge(&client, "a", external).await?;
        assert_eq!((ip(&named), node_port(&named)), (String::new(), None));
        assert_eq!(owner_of(&client, &first).await?, None);
        let back = merge(&client, "a", json!({ "type": "ClusterIP", "externalName": null })).await?;
        let second = ip(&back);
        assert_eq!(owner_of(&client, &second).await?.as_deref(), Some("a"));
        services(&client).delete("a", &DeleteParams::default()).await?;
        assert_eq!(owner_of(&client, &second).await?, None);
        // A refused service has nothing.
        let bad = make(&client, "c", json!({ "clusterIP": "10.96.7.7", "sessionAffinity": "Sticky" })).await;
        assert!(bad.is_err());
        assert_eq!(owner_of(&client, "10.96.7.7").await?, None);
        Ok(())
    });
    outcome.await.expect("each cluster address has its object");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_families_need_two_networks() {
    let outcome = with(async |client| {
        let prefers = make(&client, "prefers", json!({ "ipFamilyPolicy": "PreferDualStack" })).await?;
        let families = prefers.spec.and_then(|spec| spec.ip_families);
        assert_eq!(families, Some(vec!["IPv4".to_owned()]));
        let requires = make(&client, "requires", json!({ "ipFamilyPolicy": "RequireDualStack" })).await;
        assert!(requires.is_err(), "there is one family");
        Ok(())
    });
    outcome.await.expect("one family");
    let mut options = coracle::Options { nodes: 1, ..coracle::Options::default() };
    options.config.service_range = "10.96.0.0/16,fd00::/112".to_owned();
    let outcome = crate::cluster::with_options(options, async |client| {
        let both = make(&client, "both", json!({ "ipFamilyPolicy": "RequireDualStack" })).await?;
        let ips = both.spec.and_then(|spec| spec.cluster_ips).unwrap_or_default();
        assert_eq!(ips.len(), 2, "{ips:?}");
        for ip in &ips {
            assert_eq!(owner_of(&client, ip).await?.as_deref(), Some("both"), "{ip}");
        }
        // The second goes with the policy, and comes back with it.
        let one = merge(
            &client,
            "both",
            json!({ "ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4"], "clusterIPs": [ips[0]] }),
        );
        assert_eq!(one.await?.spec.and_then(|spec| spec.cluster_ips).map(|ips| ips.len()), Some(1));
        assert_eq!(owner_of(&client, &ips[1]).await?, None);
        let again = merge(&client, "both", json!({ "ipFamilyPolicy": "PreferDualStack" })).await?;
        let again = again.spec.and_then(|spec| spec.cluster_ips).unwrap_or_default();
        assert_eq!((again.len(), again.first()), (2, ips.first()));
        assert_eq!(owner_of(&client, &again[1]).await?.as_deref(), Some("both"));
        Ok(())
    });
    outcome.await.expect("two families");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_repaired() {
    let outcome = with(async |client| {
        let made = make(&client, "a", json!({})).await?;
        let first = ip(&made);
        addresses(&client).delete(&first, &DeleteParams::default()).await?;
        until(&addresses(&client), &first, |address| address.spec.parent_ref.name == "a").await?;
        let event = told(&client, "ClusterIPNotAllocated", "a").await?;
        let message = event.first().and_then(|event| event.message.clone());
        assert_eq!(message, Some(format!("Cluster IP [IPv4]: {first} is not allocated; repairing")));
        // One that somebody else has is given to no service.
        let foreign =
            |ip: &str, parent: Value| json!({ "metadata": { "name": ip }, "spec": { "parentRef": parent } });
        let gateway = json!({ "group": "example.com", "resource": "gateways", "name": "g" });
        let foreign: IPAddress = serde_json::from_value(foreign("10.96.5.5", gateway))?;
        addresses(&client).create(&PostParams::default(), &foreign).await?;
        let refused = make(&client, "b", json!({ "clusterIP": "10.96.5.5" })).await;
        assert!(refused.is_err(), "it is somebody else's");
        // One that says it is of a service that does not have it goes.
        let labels = json!({
            "ipaddress.kubernetes.io/ip-family": "IPv4",
            "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
        });
        let stray = json!({
            "metadata": { "name": "10.96.5.6", "labels": labels },
            "spec": { "parentRef": { "group": "a.b", "resource": "gateways", "name": "g" } },
        });
        addresses(&client).create(&PostParams::default(), &serde_json::from_value(stray)?).await?;
        until_all(&addresses(&client), "", |all| all.iter().all(|it| it.name_any() != "10.96.5.6")).await?;
        told(&client, "IPAddressNotAllocated", "10.96.5.6").await?;
        assert!(addresses(&client).get_opt("10.96.5.5").await?.is_some(), "it is nobody's business");
        Ok(())
    });
    outcome.await.expect("what does not fit is repaired");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_further_network_is_used_and_waits_for_its_addresses() {
    let outcome = with(async |client| {
        let cidrs: Api<ServiceCIDR> = Api::all(client.clone());
        let outside = make(&client, "a", json!({ "clusterIP": "10.0.0.1" })).await;
        let text = outside.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(text.contains("the provided network does not match the current range"), "{text}");
        let more = json!({ "metadata": { "name": "more" }, "spec": { "cidrs": ["10.0.0.0/28"] } });
        cidrs.create(&PostParams::default(), &serde_json::from_value(more)?).await?;
        let ready = |cidr: &ServiceCIDR, status: &str, reason: &str| {
            let conditions = cidr.status.iter().flat_map(|it| it.conditions.iter().flatten());
            conditions.into_iter().any(|it| it.type_ == "Ready" && it.status == status && it.reason == reason)
        };
        until(&cidrs, "more", |cidr| ready(cidr, "True", "") && !cidr.finalizers().is_empty()).await?;
        make(&client, "a", json!({ "clusterIP": "10.0.0.1" })).await?;
        cidrs.delete("more", &DeleteParams::default()).await?;
        until(&cidrs, "more", |cidr| ready(cidr, "False", "Terminating")).await?;
        let refused = make(&client, "b", json!({ "clusterIP": "10.0.0.2" })).await;
        assert!(refused.is_err(), "it is ending");
        services(&client).delete("a", &DeleteParams::default()).await?;
        until_all(&cidrs, "", |all| all.iter().all(|cidr| cidr.name_any() != "more")).await?;
        Ok(())
    });
    outcome.await.expect("a further network is used");
}
