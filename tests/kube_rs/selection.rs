//! Lists of some: by labels, by fields, a page at a time, as of a revision.

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{GetParams, ListParams, PostParams};
use kube::core::{Expression, Selector};
use kube::{Api, Client, ResourceExt};

use crate::{Outcome, config_map, labelled, pod};

fn names(list: &[ConfigMap]) -> Vec<String> {
    list.iter().map(ResourceExt::name_any).collect()
}

pub async fn labels(client: Client, namespace: String) -> Outcome {
    let maps: Api<ConfigMap> = Api::namespaced(client, &namespace);
    for (name, tier) in [("a", "front"), ("b", "back"), ("c", "middle")] {
        maps.create(&PostParams::default(), &labelled(name, "tier", tier)).await?;
    }
    maps.create(&PostParams::default(), &config_map("d", "")).await?;
    let table: &[(&str, &[&str])] = &[
        ("tier=front", &["a"]),
        ("tier==front", &["a"]),
        ("tier in (front, back)", &["a", "b"]),
        ("tier notin (front, back),tier", &["c"]),
        ("tier", &["a", "b", "c"]),
        ("tier!=front,tier!=back,tier", &["c"]),
        ("tier=front,tier=back", &[]),
    ];
    for (selector, expected) in table {
        let list = maps.list(&ListParams::default().labels(selector)).await?;
        assert_eq!(names(&list.items), *expected, "{selector}");
    }
    let selector: Selector = Expression::In("tier".into(), ["back".into(), "middle".into()].into()).into();
    let list = maps.list(&ListParams::default().labels_from(&selector)).await?;
    assert_eq!(names(&list.items), ["b", "c"]);
    Ok(())
}

pub async fn fields(client: Client, namespace: String) -> Outcome {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    for (name, node) in [("a", "one"), ("b", "two"), ("c", "one")] {
        let mut pod = pod(name)?;
        pod.spec.get_or_insert_default().node_name = Some(node.to_owned());
        pods.create(&PostParams::default(), &pod).await?;
    }
    let everywhere: Api<Pod> = Api::all(client);
    let here = format!("metadata.namespace={namespace}");
    let table: &[(&str, &[&str])] = &[
        ("metadata.name=b", &["b"]),
        ("spec.nodeName=one", &["a", "c"]),
        ("spec.nodeName!=one", &["b"]),
        ("status.phase=Pending,spec.nodeName=one,metadata.name!=a", &["c"]),
        ("status.phase=Running", &[]),
    ];
    for (selector, expected) in table {
        for (api, selector) in [(&pods, (*selector).to_owned()), (&everywhere, format!("{here},{selector}"))]
        {
            let list = api.list(&ListParams::default().fields(&selector)).await?;
            let names: Vec<_> = list.items.iter().map(ResourceExt::name_any).collect();
            assert_eq!(names, *expected, "{selector}");
        }
    }
    Ok(())
}

pub async fn pages(client: Client, namespace: String) -> Outcome {
    let maps: Api<ConfigMap> = Api::namespaced(client, &namespace);
    for name in ["a", "b", "c", "d", "e"] {
        maps.create(&PostParams::default(), &labelled(name, "page", "yes")).await?;
    }
    let mut params = ListParams::default().labels("page").limit(2);
    let (mut found, mut revisions, mut sizes) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        let page = maps.list(&params).await?;
        sizes.push(page.items.len());
        revisions.push(page.metadata.resource_version.clone());
        found.extend(names(&page.items));
        // What comes in between is on no later page: all are as of one revision.
        maps.create(&PostParams::default(), &labelled(&format!("later-{}", sizes.len()), "page", "no"))
            .await?;
        match page.metadata.continue_ {
            Some(token) if !token.is_empty() => params = params.continue_token(&token),
            _ => break,
        }
    }
    assert_eq!(found, ["a", "b", "c", "d", "e"]);
    assert_eq!(sizes, [2, 2, 1]);
    revisions.dedup();
    assert_eq!(revisions.len(), 1);

    let forged = maps.list(&ListParams::default().continue_token("forged")).await;
    assert!(matches!(&forged, Err(kube::Error::Api(status)) if status.code == 400), "{forged:?}");
    Ok(())
}

pub async fn revisions(client: Client, namespace: String) -> Outcome {
    let maps: Api<ConfigMap> = Api::namespaced(client, &namespace);
    let first = maps.create(&PostParams::default(), &labelled("a", "kept", "1")).await?;
    let then = first.resource_version().unwrap_or_default();
    maps.create(&PostParams::default(), &labelled("b", "kept", "1")).await?;
    let list = |params: ListParams| {
        let maps = maps.clone();
        async move { maps.list(&params.labels("kept")).await.map(|list| names(&list.items)) }
    };
    let exact = ListParams::default().at(&then).matching(kube::api::VersionMatch::Exact);
    assert_eq!(list(exact).await?, ["a"]);
    let not_older = ListParams::default().at(&then).matching(kube::api::VersionMatch::NotOlderThan);
    assert_eq!(list(not_older).await?, ["a", "b"]);
    assert_eq!(list(ListParams::default().match_any()).await?, ["a", "b"]);
    assert_eq!(maps.get_with("a", &GetParams::any()).await?, first);
    assert_eq!(maps.get_with("a", &GetParams::at(&then)).await?, first);
    Ok(())
}
