//! Requests as they are, for what kube has no type or method for; and on behalf of others.

use futures::{AsyncBufReadExt as _, TryStreamExt as _};
use http::Request;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ListParams, PostParams, WatchEvent};
use kube::core::{GroupVersion, GroupVersionKind, TypeMeta};
use kube::discovery::{self, Discovery};
use kube::{Api, Client};

use crate::errors::check;
use crate::{Outcome, config_map, labelled};

fn get(path: &str) -> Result<Request<Vec<u8>>, http::Error> {
    Request::get(path).body(Vec::new())
}

pub async fn raw(client: Client, namespace: String) -> Outcome {
    let path = format!("/api/v1/namespaces/{namespace}/configmaps");
    let body = serde_json::to_vec(&labelled("a", "seen", "1"))?;
    let made: ConfigMap = client.request(Request::post(&path).body(body)?).await?;
    assert_eq!(made.metadata.name.as_deref(), Some("a"));
    assert!(client.request_text(get(&format!("{path}/a"))?).await?.contains("\"seen\":\"1\""));
    let mut lines = client.request_stream(get(&format!("{path}?labelSelector=seen"))?).await?.lines();
    assert!(lines.try_next().await?.is_some_and(|line| line.contains("ConfigMapList")));
    let watch = get(&format!("{path}?watch=true&labelSelector=seen&resourceVersion=0"))?;
    let mut events = std::pin::pin!(client.request_events::<ConfigMap>(watch).await?);
    let first = events.try_next().await?;
    assert!(
        matches!(&first, Some(WatchEvent::Added(map)) if map.metadata.name.as_deref() == Some("a")),
        "{first:?}"
    );
    let deleted = Request::delete(format!("{path}/a")).body(Vec::new())?;
    let status =
        client.request_status::<ConfigMap>(deleted).await?.right().ok_or("an object, not a status")?;
    assert!(status.is_success());
    // What is no path of the API is answered in plain text.
    let nowhere = client.request_text(get("/nothing")?).await;
    assert!(matches!(&nowhere, Err(kube::Error::Api(status)) if status.code == 404), "{nowhere:?}");
    for path in ["/healthz", "/livez", "/readyz", "/readyz?verbose"] {
        assert!(client.request_text(get(path)?).await?.contains("ok"), "{path}");
    }
    Ok(())
}

// kube's own bodies, as a tower service would be given them.
pub async fn sent(client: Client, _: String) -> Outcome {
    let response = client.send(Request::get("/version").body(kube::client::Body::empty())?).await?;
    assert_eq!(response.status(), 200);
    let bytes = http_body_util::BodyExt::collect(response.into_body()).await?.to_bytes();
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&bytes)?["major"], "1");
    assert_eq!(client.default_namespace(), "default");
    Ok(())
}

pub async fn groups(client: Client, _: String) -> Outcome {
    assert!(client.list_api_groups().await?.groups.iter().any(|group| group.name == "apps"));
    assert_eq!(client.list_core_api_versions().await?.versions, ["v1"]);
    assert!(client.list_core_api_resources("v1").await?.resources.iter().any(|it| it.name == "pods/log"));
    assert!(
        client.list_api_group_resources("apps/v1").await?.resources.iter().any(|it| it.name == "deployments")
    );
    let aggregated = client.list_api_groups_aggregated().await?;
    assert!(
        aggregated
            .items
            .iter()
            .any(|group| group.metadata.as_ref().and_then(|it| it.name.as_deref()) == Some("batch"))
    );
    assert_eq!(client.list_core_api_versions_aggregated().await?.items.len(), 1);

    let apps = discovery::group(&client, "apps").await?;
    assert_eq!((apps.name(), apps.preferred_version_or_latest()), ("apps", "v1"));
    assert_eq!(apps.versions().collect::<Vec<_>>(), ["v1"]);
    assert!(apps.recommended_kind("DaemonSet").is_some());
    assert_eq!(apps.recommended_resources().len(), apps.versioned_resources("v1").len());
    let pinned = discovery::pinned_group(&client, &GroupVersion::gv("batch", "v1")).await?;
    assert!(pinned.recommended_kind("CronJob").is_some());
    assert!(discovery::group(&client, "nothing.example.com").await.is_err());
    let nothing = GroupVersionKind::gvk("apps", "v1", "Nothing");
    assert!(discovery::pinned_kind(&client, &nothing).await.is_err());

    let some = Discovery::new(client.clone()).filter(&["apps", "batch"]).run().await?;
    assert_eq!(
        some.groups_alphabetical().iter().map(|group| group.name()).collect::<Vec<_>>(),
        ["apps", "batch"]
    );
    let rest = Discovery::new(client).exclude(&["apps"]).run_aggregated().await?;
    assert!(rest.has_group("batch") && !rest.has_group("apps"));
    let job = TypeMeta { api_version: "batch/v1".to_owned(), kind: "Job".to_owned() };
    assert!(rest.resolve_typemeta(&job).is_some_and(|(resource, _)| resource.plural == "jobs"));
    Ok(())
}

// As another, by headers: that is what `Config::auth_info` makes of `impersonate`.
pub async fn impersonation(client: Client, namespace: String) -> Outcome {
    let who =
        |review: SelfSubjectReview| review.status.and_then(|status| status.user_info).unwrap_or_default();
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let asked =
        || Request::post(path).header("Impersonate-User", "alice").header("Impersonate-Group", "sailors");
    let body = serde_json::to_vec(&SelfSubjectReview::default())?;
    let alice = who(client.request(asked().body(body)?).await?);
    assert_eq!(alice.username.as_deref(), Some("alice"));
    assert_eq!(alice.groups.unwrap_or_default(), ["sailors", "system:authenticated"]);
    let reviews: Api<SelfSubjectReview> = Api::all(client.clone());
    let admin = who(reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await?);
    assert_eq!(admin.username.as_deref(), Some("kubernetes-admin"));

    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    maps.create(&PostParams::default(), &config_map("a", "1")).await?;
    let path = format!("/api/v1/namespaces/{namespace}/configmaps/a");
    let refused =
        client.request::<ConfigMap>(Request::get(path).header("Impersonate-User", "alice").body(Vec::new())?);
    check("alice", refused.await, 403, "Forbidden");
    assert!(
        maps.list(&ListParams::default()).await?.iter().any(|map| map.metadata.name.as_deref() == Some("a"))
    );
    Ok(())
}
