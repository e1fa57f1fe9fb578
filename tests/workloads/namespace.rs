//! Namespaces end, pods first.

use k8s_openapi::api::{
    core::v1::{ConfigMap, Namespace, Pod, Secret, ServiceAccount},
    rbac::v1::ClusterRole,
};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

use crate::cluster::{Outcome, until, until_all, with};

async fn filled(client: &Client, name: &str) -> Outcome<(Api<Pod>, Api<ConfigMap>)> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let made = serde_json::from_value(json!({"metadata": {"name": name}}))?;
    namespaces.create(&PostParams::default(), &made).await?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), name);
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), name);
    let map = serde_json::from_value(json!({"metadata": {"name": "settings"}}))?;
    maps.create(&PostParams::default(), &map).await?;
    Ok((pods, maps))
}

fn told<'a>(namespace: &'a Namespace, type_: &str) -> Option<&'a str> {
    let conditions = namespace.status.as_ref()?.conditions.as_deref()?;
    let found = conditions.iter().find(|c| c.type_ == type_ && c.status == "True")?;
    found.message.as_deref()
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_go_before_everything_else() {
    let outcome = with(async |client| {
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let (pods, maps) = filled(&client, "ending").await?;
        let pod = json!({
            "metadata": {"name": "held", "finalizers": ["example.com/hold"]},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "main", "image": "example:1"}]},
        });
        pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
        namespaces.delete("ending", &DeleteParams::default()).await?;
        until(&namespaces, "ending", |namespace| {
            let conditions = namespace.status.as_ref().and_then(|status| status.conditions.as_deref());
            conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "NamespaceDeletionContentFailure"))
        })
        .await?;
        until(&pods, "held", |pod| pod.metadata.deletion_timestamp.is_some()).await?;
        assert!(maps.get_opt("settings").await?.is_some(), "it waits for the pods");
        let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        pods.patch("held", &PatchParams::default(), &free).await?;
        until_all(&namespaces, "", |all| all.iter().all(|ns| ns.metadata.name.as_deref() != Some("ending")))
            .await?;
        assert!(maps.get_opt("settings").await?.is_none());
        Ok(())
    });
    outcome.await.expect("pods go before everything else");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_holds_a_namespace_is_told() {
    let outcome = with(async |client| {
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let (_, maps) = filled(&client, "stuck").await?;
        let hold = Patch::Merge(json!({"metadata": {"finalizers": ["example.com/hold"]}}));
        maps.patch("settings", &PatchParams::default(), &hold).await?;
        namespaces.delete("stuck", &DeleteParams::default()).await?;
        let stuck = until(&namespaces, "stuck", |ns| told(ns, "NamespaceContentRemaining").is_some()).await?;
        assert_eq!(
            told(&stuck, "NamespaceContentRemaining"),
            Some("Some resources are remaining: configmaps. has 1 resource instances")
        );
        assert_eq!(
            told(&stuck, "NamespaceFinalizersRemaining"),
            Some(
                "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
            )
        );
        let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        maps.patch("settings", &PatchParams::default(), &free).await?;
        until_all(&namespaces, "", |all| all.iter().all(|ns| ns.metadata.name.as_deref() != Some("stuck")))
            .await?;
        Ok(())
    });
    outcome.await.expect("what holds a namespace is told");
}

#[tokio::test(flavor = "multi_thread")]
async fn cluster_roles_come_together() {
    let outcome = with(async |client| {
        let roles: Api<ClusterRole> = Api::all(client.clone());
        let selector = json!({"clusterRoleSelectors": [{"matchLabels": {"to-whole": "true"}}]});
        let whole = json!({"metadata": {"name": "whole"}, "aggregationRule": selector});
        roles.create(&PostParams::default(), &serde_json::from_value(whole)?).await?;
        let part = json!({
            "metadata": {"name": "part", "labels": {"to-whole": "true"}},
            "rules": [{"apiGroups": ["example.com"], "resources": ["boats"], "verbs": ["sail"]}],
        });
        roles.create(&PostParams::default(), &serde_json::from_value(part)?).await?;
        let rules = |role: &ClusterRole| role.rules.as_ref().map_or(0, Vec::len);
        until(&roles, "whole", |role| rules(role) == 1).await?;
        roles.delete("part", &DeleteParams::default()).await?;
        until(&roles, "whole", |role| rules(role) == 0).await?;
        Ok(())
    });
    outcome.await.expect("cluster roles come together");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_has_the_token_of_its_account() {
    let outcome = with(async |client| {
        let secrets: Api<Secret> = Api::default_namespaced(client.clone());
        let accounts: Api<ServiceAccount> = Api::default_namespaced(client.clone());
        let robot = serde_json::from_value(json!({"metadata": {"name": "robot"}}))?;
        accounts.create(&PostParams::default(), &robot).await?;
        let secret = json!({
            "metadata": {"name": "robot", "annotations": {"kubernetes.io/service-account.name": "robot"}},
            "type": "kubernetes.io/service-account-token",
        });
        secrets.create(&PostParams::default(), &serde_json::from_value(secret)?).await?;
        let has = |secret: &Secret, key: &str| {
            secret.data.as_ref().and_then(|data| data.get(key)).is_some_and(|bytes| !bytes.0.is_empty())
        };
        until(&secrets, "robot", |secret| has(secret, "token") && has(secret, "namespace")).await?;
        accounts.delete("robot", &DeleteParams::default()).await?;
        until_all(&secrets, "", |secrets| secrets.is_empty()).await?;
        Ok(())
    });
    outcome.await.expect("a secret has the token of its account");
}
