//! ResourceQuota.

use futures::future::join_all;
use k8s_openapi::api::core::v1::{ConfigMap, ResourceQuota};
use kube::{Api, api::DeleteParams};
use serde_json::json;

use crate::cluster::{create, until, with};

fn used<'a>(quota: &'a ResourceQuota, name: &str) -> Option<&'a str> {
    quota.status.as_ref()?.used.as_ref()?.get(name).map(|amount| amount.0.as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_together_do_not_exceed_it() {
    let outcome = with(async |client| {
        let quotas: Api<ResourceQuota> = Api::default_namespaced(client.clone());
        // The namespace's own counts too: it is to be there before.
        let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
        until(&maps, "kube-root-ca.crt", |_| true).await?;
        create::<ResourceQuota>(
            &client,
            json!({ "metadata": { "name": "few" }, "spec": { "hard": { "configmaps": "6", "count/leases.coordination.k8s.io": "1" } } }),
        )
        .await?;
        // A count may be older than the map; the next is not.
        let counted = until(&quotas, "few", |it| used(it, "configmaps") == Some("1")).await?;
        assert_eq!(used(&counted, "count/leases.coordination.k8s.io"), Some("0"));
        let some =
            |i: usize| create::<ConfigMap>(&client, json!({ "metadata": { "name": format!("c{i}") } }));
        let made = join_all((0..20).map(some)).await;
        let refused: Vec<_> = made.iter().filter_map(|it| it.as_ref().err()).collect();
        assert!(refused.len() >= 14, "{} were refused", refused.len());
        let text = refused[0].to_string();
        assert!(text.contains("is forbidden: exceeded quota: few, requested: configmaps=1, used: configmaps=6, limited: configmaps=6"), "{text}");
        until(&quotas, "few", |it| used(it, "configmaps") == Some("6")).await?;
        // What goes is given back.
        let gone = made.iter().position(Result::is_ok).ok_or("none was made")?;
        maps.delete(&format!("c{gone}"), &DeleteParams::default()).await?;
        until(&quotas, "few", |it| used(it, "configmaps") == Some("5")).await?;
        Ok(())
    });
    outcome.await.expect("a quota holds");
}
