//! What nobody should ask for: bounded work, clear events and conditions.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use coracle::Options;
use coracle_controllers::framework::Clock;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    apps::v1::ReplicaSet,
    batch::v1::{CronJob, Job},
    core::v1::{ConfigMap, Event, Pod, ResourceQuota},
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::cluster::{Outcome, create, until, until_all, with, with_options};

fn container() -> Value {
    json!({ "name": "main", "image": "example:1" })
}

fn replica_set(name: &str, app: &str, replicas: i32) -> Value {
    json!({
        "metadata": { "name": name },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "app": app } },
            "template": {
                "metadata": { "labels": { "app": app, "of": name } },
                "spec": { "containers": [container()] },
            },
        },
    })
}

fn cron_job(name: &str, schedule: &str, suspend: bool) -> Value {
    let pod = json!({ "spec": { "restartPolicy": "Never", "containers": [container()] } });
    json!({
        "metadata": { "name": name },
        "spec": {
            "schedule": schedule,
            "suspend": suspend,
            "concurrencyPolicy": "Forbid",
            "jobTemplate": { "metadata": { "labels": { "by": name } }, "spec": { "template": pod } },
        },
    })
}

// Goes on with a suspended cron job that was last started so long ago.
async fn missed_since(cron_jobs: &Api<CronJob>, name: &str, time: SignedDuration) -> Outcome {
    let ago = Timestamp::now().checked_sub(time)?.to_string();
    let patch = Patch::Merge(json!({ "status": { "lastScheduleTime": ago } }));
    cron_jobs.patch_status(name, &PatchParams::default(), &patch).await?;
    let patch = Patch::Merge(json!({ "spec": { "suspend": false } }));
    cron_jobs.patch(name, &PatchParams::default(), &patch).await?;
    Ok(())
}

fn pods(client: &Client) -> Api<Pod> {
    Api::default_namespaced(client.clone())
}

fn controller(pod: &Pod) -> Option<String> {
    pod.owner_references().iter().find(|owner| owner.controller == Some(true)).map(|owner| owner.name.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn selectors_that_match_the_pods_of_others() {
    let outcome = with(async |client| {
        create::<ReplicaSet>(&client, replica_set("a", "shared", 2)).await?;
        until_all(&pods(&client), "app=shared", |pods| pods.len() == 2).await?;
        // Its selector matches the pods of the first: they stay with that.
        create::<ReplicaSet>(&client, replica_set("b", "shared", 2)).await?;
        until_all(&pods(&client), "of=b", |pods| pods.len() == 2).await?;
        let orphan = json!({
            "metadata": { "name": "orphan", "labels": { "app": "shared" } },
            "spec": { "containers": [container()] },
        });
        create::<Pod>(&client, orphan).await?;
        // One of the two adopts it, and so has one too many.
        let all = until_all(&pods(&client), "app=shared", |pods| {
            let alive = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
            let owners: Vec<_> = alive.map(controller).collect();
            owners.len() == 4 && owners.iter().all(Option::is_some)
        })
        .await?;
        for set in ["a", "b"] {
            let of = all.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
            assert_eq!(of.filter(|pod| controller(pod).as_deref() == Some(set)).count(), 2, "{set}");
        }
        // Two that both say they are in control are refused.
        let owner = |name: &str| json!({ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": name, "controller": true });
        let owned = json!({
            "metadata": { "name": "two", "ownerReferences": [owner("a"), owner("b")] },
            "spec": { "containers": [container()] },
        });
        let refused = create::<Pod>(&client, owned).await.err().map(|error| error.to_string());
        let text = refused.unwrap_or_default();
        assert!(text.contains("Only one reference can have Controller set to true"), "{text}");
        Ok(())
    });
    outcome.await.expect("selectors that match the pods of others");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_of_another_name() {
    let outcome = with(async |client| {
        let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
        let near: ConfigMap =
            create(&client, json!({ "metadata": { "name": "near", "labels": { "test": "uid" } } })).await?;
        let child = |name: &str, owner: &str| {
            let owner = json!({ "apiVersion": "v1", "kind": "ConfigMap", "name": owner, "uid": near.uid() });
            json!({ "metadata": { "name": name, "labels": { "test": "uid" }, "ownerReferences": [owner] } })
        };
        create::<ConfigMap>(&client, child("kept", "near")).await?;
        create::<ConfigMap>(&client, child("mistaken", "nobody")).await?;
        let left = until_all(&maps, "test=uid", |maps| maps.len() == 2).await?;
        assert_eq!(left.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), ["kept", "near"]);
        // The right one still goes with its owner.
        maps.delete("near", &DeleteParams::background()).await?;
        until_all(&maps, "test=uid", <[ConfigMap]>::is_empty).await?;
        Ok(())
    });
    outcome.await.expect("an owner of another name");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_pods_against_a_quota() {
    let outcome = with(async |client| {
        let quotas: Api<ResourceQuota> = Api::default_namespaced(client.clone());
        let quota = json!({ "metadata": { "name": "few" }, "spec": { "hard": { "pods": "3" } } });
        create::<ResourceQuota>(&client, quota).await?;
        until(&quotas, "few", |it| it.status.as_ref().is_some_and(|status| status.used.is_some())).await?;
        create::<ReplicaSet>(&client, replica_set("many", "many", 1_000_000)).await?;
        let sets: Api<ReplicaSet> = Api::default_namespaced(client.clone());
        let failed = until(&sets, "many", |set| {
            let Some(status) = &set.status else { return false };
            let fails = |it: &k8s_openapi::api::apps::v1::ReplicaSetCondition| {
                it.type_.as_deref() == Some("ReplicaFailure") && it.reason.as_deref() == Some("FailedCreate")
            };
            status.replicas == 3 && status.conditions.iter().flatten().any(fails)
        })
        .await?;
        let conditions = failed.status.and_then(|status| status.conditions).unwrap_or_default();
        let text = conditions.first().and_then(|it| it.message.clone()).unwrap_or_default();
        assert!(text.contains("exceeded quota: few"), "{text}");
        assert_eq!(pods(&client).list(&ListParams::default().labels("app=many")).await?.items.len(), 3);
        // The refusals are told together, and the set can go.
        let events: Api<Event> = Api::default_namespaced(client.clone());
        let refusals =
            until_all(&events, "", |all| all.iter().any(|it| it.reason.as_deref() == Some("FailedCreate")))
                .await?;
        assert!(refusals.len() < 50, "{} events", refusals.len());
        sets.delete("many", &DeleteParams::foreground()).await?;
        until_all(&pods(&client), "app=many", <[Pod]>::is_empty).await?;
        Ok(())
    });
    outcome.await.expect("a million pods against a quota");
}

#[tokio::test(flavor = "multi_thread")]
async fn schedules_that_never_fire_and_a_year_that_was_missed() {
    let outcome = with_options(Options { nodes: 0, ..Options::default() }, async |client| -> Outcome {
        create::<CronJob>(&client, cron_job("never", "0 0 30 2 *", false)).await?;
        let cron_jobs: Api<CronJob> = Api::default_namespaced(client.clone());
        create::<CronJob>(&client, cron_job("missed", "@every 1s", true)).await?;
        missed_since(&cron_jobs, "missed", SignedDuration::from_hours(365 * 24)).await?;
        let events: Api<Event> = Api::default_namespaced(client.clone());
        let told = until_all(&events, "", |all| {
            all.iter().any(|it| it.reason.as_deref() == Some("TooManyMissedTimes"))
        })
        .await?;
        let message = told.iter().find(|it| it.reason.as_deref() == Some("TooManyMissedTimes"));
        let message = message.and_then(|it| it.message.clone()).unwrap_or_default();
        assert!(message.starts_with("too many missed start times"), "{message}");
        let jobs: Api<Job> = Api::default_namespaced(client.clone());
        until_all(&jobs, "by=missed", |jobs| jobs.len() == 1).await?;
        assert!(jobs.list(&ListParams::default().labels("by=never")).await?.items.is_empty());
        Ok(())
    });
    outcome.await.expect("schedules that never fire");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps() {
    let offset = Arc::new(AtomicI64::new(0));
    let read = offset.clone();
    let clock = Clock::new(move || {
        let jump = SignedDuration::from_secs(read.load(Ordering::Relaxed));
        Timestamp::now().checked_add(jump).unwrap_or(Timestamp::MAX)
    });
    let mut options = Options { nodes: 0, ..Options::default() };
    options.control.clock = clock;
    let outcome = with_options(options, async |client| -> Outcome {
        let jobs: Api<Job> = Api::default_namespaced(client.clone());
        create::<CronJob>(&client, cron_job("hourly", "0 * * * *", false)).await?;
        let cron_jobs: Api<CronJob> = Api::default_namespaced(client.clone());
        until(&cron_jobs, "hourly", |_| true).await?;
        // Hours are missed: one job makes up for them.
        offset.store(3 * 3600, Ordering::Relaxed);
        // Looked at anew: else it takes a minute until the time is asked again.
        let looked_at = |when: &str| Patch::Merge(json!({ "metadata": { "labels": { "looked-at": when } } }));
        cron_jobs.patch("hourly", &PatchParams::default(), &looked_at("anew")).await?;
        let first = until_all(&jobs, "by=hourly", |jobs| jobs.len() == 1).await?;
        // Yesterday again: what was started then is not started anew.
        offset.store(-24 * 3600, Ordering::Relaxed);
        cron_jobs.patch("hourly", &PatchParams::default(), &looked_at("again")).await?;
        create::<CronJob>(&client, cron_job("each", "@every 1s", true)).await?;
        missed_since(&cron_jobs, "each", SignedDuration::from_hours(48)).await?;
        until_all(&jobs, "by=each", |jobs| jobs.len() == 1).await?;
        let now = jobs.list(&ListParams::default().labels("by=hourly")).await?.items;
        let names = |jobs: &[Job]| jobs.iter().map(ResourceExt::name_any).collect::<Vec<_>>();
        assert_eq!(names(&now), names(&first));
        // Sets do not wait for a time that does not come.
        create::<ReplicaSet>(&client, replica_set("set", "set", 2)).await?;
        until_all(&pods(&client), "app=set", |pods| pods.len() == 2).await?;
        Ok(())
    });
    outcome.await.expect("a clock that jumps");
}

#[tokio::test(flavor = "multi_thread")]
async fn constraints_that_nothing_can_meet() {
    let outcome = with(async |client| {
        let pod = |name: &str, spec: Value| {
            let mut spec = spec;
            spec["containers"] = json!([container()]);
            json!({ "metadata": { "name": name, "labels": { "app": name } }, "spec": spec })
        };
        let itself = json!({ "matchLabels": { "app": "apart" } });
        let rules = |expressions: Value| {
            let terms = json!({ "nodeSelectorTerms": [{ "matchExpressions": expressions }] });
            json!({ "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": terms } } })
        };
        let contradiction = rules(json!([
            { "key": "kubernetes.io/os", "operator": "In", "values": ["linux"] },
            { "key": "kubernetes.io/os", "operator": "NotIn", "values": ["linux"] },
        ]));
        let spread = json!({ "topologySpreadConstraints": [{
            "maxSkew": 1, "topologyKey": "nowhere", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": itself,
        }] });
        let huge = json!({ "resources": { "requests": { "cpu": "9000000" } }, "name": "main", "image": "example:1" });
        let cases = [
            (
                "nowhere",
                json!({ "nodeSelector": { "a": "b" } }),
                "2 node(s) didn't match Pod's node affinity/selector",
            ),
            ("both", contradiction, "2 node(s) didn't match Pod's node affinity/selector"),
            (
                "spread",
                spread,
                "2 node(s) didn't match pod topology spread constraints (missing required label)",
            ),
        ];
        for (name, spec, _) in &cases {
            create::<Pod>(&client, pod(name, spec.clone())).await?;
        }
        let mut large = pod("huge", json!({}));
        large["spec"]["containers"] = json!([huge]);
        create::<Pod>(&client, large).await?;
        let refused = |pod: &Pod, text: &str| {
            let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
            conditions.into_iter().any(|it| {
                (&*it.type_, &*it.status) == ("PodScheduled", "False")
                    && it.reason.as_deref() == Some("Unschedulable")
                    && it.message.as_deref().is_some_and(|message| {
                        message.starts_with("0/2 nodes are available:") && message.contains(text)
                    })
            })
        };
        for (name, _, text) in &cases {
            until(&pods(&client), name, |pod| refused(pod, text)).await?;
        }
        until(&pods(&client), "huge", |pod| refused(pod, "2 Insufficient cpu")).await?;
        // The others do not wait for them.
        create::<Pod>(&client, pod("fine", json!({}))).await?;
        until(&pods(&client), "fine", |pod| {
            pod.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Running"))
        })
        .await?;
        Ok(())
    });
    outcome.await.expect("constraints that nothing can meet");
}
