//! What a simulated pod goes through, as clients see it.

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::cluster::{Outcome, create, until, until_all, with};

async fn pod(client: &Client, name: &str, spec: Value) -> Outcome<Pod> {
    create(client, json!({"metadata": {"name": name, "labels": {"app": name}}, "spec": spec})).await
}

fn container(name: &str, command: &str) -> Value {
    json!({"name": name, "image": "busybox", "command": ["sh", "-c", command]})
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

fn condition<'a>(pod: &'a Pod, type_: &str) -> (&'a str, &'a str) {
    let mut conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let found = conditions.find(|it| it.type_ == type_);
    found.map_or(("", ""), |it| (it.status.as_str(), it.reason.as_deref().unwrap_or_default()))
}

fn status(pod: &Pod, list: &str, at: usize) -> Value {
    json!(pod)["status"][list][at].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn classes_conditions_and_restarts() {
    let outcome = with(async |client| {
        let pods: Api<Pod> = Api::default_namespaced(client.clone());
        // Classes of quality.
        let resources = |requests: Value, limits: Value| json!({"containers": [{"name": "c", "image": "nginx", "resources": {"requests": requests, "limits": limits}}]});
        let some = json!({"cpu": "100m", "memory": "64Mi"});
        for (name, spec, expected) in [
            ("best", resources(json!({}), json!({})), "BestEffort"),
            ("burst", resources(json!({"cpu": "100m"}), json!({})), "Burstable"),
            ("sure", resources(some.clone(), some.clone()), "Guaranteed"),
        ] {
            let made = pod(&client, name, spec).await?;
            assert_eq!(made.status.and_then(|status| status.qos_class).as_deref(), Some(expected), "{name}");
        }
        let runs = until(&pods, "best", |pod| condition(pod, "Ready").0 == "True").await?;
        for type_ in ["PodReadyToStartContainers", "Initialized", "ContainersReady", "PodScheduled"] {
            assert_eq!(condition(&runs, type_).0, "True", "{type_}");
        }
        let seen = runs.status.as_ref().and_then(|status| status.observed_generation);
        assert_eq!((seen, runs.metadata.generation), (Some(1), Some(1)));

        // What becomes of an exit code, by policy.
        for (name, command, policy, ends, restarts) in [
            ("never-7", "exit 7", "Never", "Failed", false),
            ("never-0", "echo done", "Never", "Succeeded", false),
            ("failure-0", "true", "OnFailure", "Succeeded", false),
            ("failure-3", "exit 3", "OnFailure", "Running", true),
            ("always-0", "exit 0", "Always", "Running", true),
        ] {
            pod(&client, name, json!({"restartPolicy": policy, "containers": [container("c", command)]}))
                .await?;
            let ended = until(&pods, name, |pod| {
                phase(pod) == ends
                    && (!restarts || status(pod, "containerStatuses", 0)["restartCount"].as_i64() > Some(0))
            })
            .await?;
            let state = status(&ended, "containerStatuses", 0);
            let code = command.strip_prefix("exit ").and_then(|code| code.parse::<i64>().ok()).unwrap_or(0);
            let terminated =
                if restarts { &state["lastState"]["terminated"] } else { &state["state"]["terminated"] };
            assert_eq!(terminated["exitCode"], code, "{name}: {state}");
        }
        let failed = pods.get("never-7").await?;
        assert_eq!(
            (condition(&failed, "Ready"), condition(&failed, "PodReadyToStartContainers").0),
            (("False", "PodFailed"), "False")
        );
        assert_eq!(condition(&pods.get("never-0").await?, "Initialized"), ("True", "PodCompleted"));
        Ok(())
    });
    outcome.await.expect("classes, conditions and restarts");
}

#[tokio::test(flavor = "multi_thread")]
async fn init_containers_come_first_and_sidecars_stay() {
    let outcome = with(async |client| {
        let pods: Api<Pod> = Api::default_namespaced(client.clone());
        let mut sidecar = container("proxy", "while true; do sleep 1; done");
        sidecar["restartPolicy"] = json!("Always");
        let spec = json!({
            "restartPolicy": "Never", "initContainers": [container("first", "sleep 1"), sidecar],
            "containers": [container("main", "sleep 2; exit 0")],
        });
        pod(&client, "ordered", spec).await?;
        let starting = until(&pods, "ordered", |pod| {
            status(pod, "initContainerStatuses", 0)["state"]["running"].is_object()
        })
        .await?;
        assert_eq!(condition(&starting, "Initialized"), ("False", "ContainersNotInitialized"));
        for (list, at) in [("initContainerStatuses", 1), ("containerStatuses", 0)] {
            assert_eq!(status(&starting, list, at)["state"]["waiting"]["reason"], "PodInitializing");
        }
        let runs = until(&pods, "ordered", |pod| phase(pod) == "Running").await?;
        assert_eq!(status(&runs, "initContainerStatuses", 0)["state"]["terminated"]["exitCode"], 0);
        assert_eq!(status(&runs, "initContainerStatuses", 1)["started"], true);
        let ended = until(&pods, "ordered", |pod| phase(pod) == "Succeeded").await?;
        assert!(
            status(&ended, "initContainerStatuses", 1)["state"]["terminated"].is_object(),
            "sidecars end with their pod"
        );

        // One that fails for good takes the pod with it.
        pod(&client, "broken", json!({"restartPolicy": "Never", "initContainers": [container("bad", "exit 9")], "containers": [container("main", "sleep 1")]})).await?;
        let broken = until(&pods, "broken", |pod| phase(pod) == "Failed").await?;
        assert_eq!(status(&broken, "initContainerStatuses", 0)["state"]["terminated"]["exitCode"], 9);
        Ok(())
    });
    outcome.await.expect("init containers come first and sidecars stay");
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_go_in_their_time() {
    let outcome = with(async |client| {
        let pods: Api<Pod> = Api::default_namespaced(client.clone());
        let hook = json!({"preStop": {"sleep": {"seconds": 2}}});
        let spec = json!({"terminationGracePeriodSeconds": 30, "containers": [{"name": "c", "image": "nginx", "lifecycle": hook}]});
        for name in ["slow", "forced"] {
            pod(&client, name, spec.clone()).await?;
            until(&pods, name, |pod| phase(pod) == "Running").await?;
        }
        let since = std::time::Instant::now();
        pods.delete("slow", &DeleteParams::default()).await?;
        pods.delete("forced", &DeleteParams::default().grace_period(0)).await?;
        until_all(&pods, "app=forced", <[Pod]>::is_empty).await?;
        let going = pods.get("slow").await?;
        assert_eq!((going.metadata.deletion_grace_period_seconds, phase(&going)), (Some(30), "Running"));
        until_all(&pods, "app=slow", <[Pod]>::is_empty).await?;
        let took = since.elapsed().as_millis();
        assert!((900..20_000).contains(&took), "the hook takes two seconds, not the whole grace: {took} ms");
        Ok(())
    });
    outcome.await.expect("pods go in their time");
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_fail_where_the_pod_says_so() {
    let outcome = with(async |client| {
        let pods: Api<Pod> = Api::default_namespaced(client.clone());
        let probe = json!({"httpGet": {"port": 80}, "periodSeconds": 1, "failureThreshold": 1});
        let one = |name: &str| json!({"name": name, "image": "nginx", "startupProbe": probe, "readinessProbe": probe, "livenessProbe": probe});
        pod(&client, "probed", json!({"containers": [one("a"), one("b")]})).await?;
        until(&pods, "probed", |pod| condition(pod, "Ready").0 == "True").await?;
        let fail = |probes: Value| {
            Patch::Merge(json!({"metadata": {"annotations": {"coracle.dev/failing-probes": probes}}}))
        };
        let params = PatchParams::default();
        pods.patch("probed", &params, &fail(json!("a/readiness"))).await?;
        let unready =
            until(&pods, "probed", |pod| condition(pod, "Ready") == ("False", "ContainersNotReady")).await?;
        assert_eq!(
            (
                status(&unready, "containerStatuses", 0)["ready"].clone(),
                status(&unready, "containerStatuses", 1)["ready"].clone()
            ),
            (json!(false), json!(true))
        );
        pods.patch("probed", &params, &fail(json!("b/liveness"))).await?;
        let killed = until(&pods, "probed", |pod| {
            status(pod, "containerStatuses", 1)["restartCount"].as_i64() > Some(0)
        })
        .await?;
        assert_eq!(status(&killed, "containerStatuses", 1)["lastState"]["terminated"]["exitCode"], 137);
        assert_eq!(status(&killed, "containerStatuses", 0)["restartCount"], 0);
        pods.patch("probed", &params, &fail(Value::Null)).await?;
        until(&pods, "probed", |pod| condition(pod, "Ready").0 == "True").await?;
        let events: Api<Event> = Api::default_namespaced(client.clone());
        until_all(&events, "", |events| {
            [
                "Readiness probe failed: simulated",
                "Liveness probe failed: simulated",
                "Container b failed liveness probe, will be restarted",
            ]
            .iter()
            .all(|told| events.iter().any(|it| it.message.as_deref() == Some(told)))
        })
        .await?;
        Ok(())
    });
    outcome.await.expect("probes fail where the pod says so");
}

#[tokio::test(flavor = "multi_thread")]
async fn running_pods_are_resized() {
    let outcome = with(async |client| {
        let pods: Api<Pod> = Api::default_namespaced(client.clone());
        let asks = |cpu: &str| json!({"nodeName": "node-1", "containers": [{"name": "c", "image": "nginx", "resources": {"requests": {"cpu": cpu, "memory": "64Mi"}}}]});
        let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(client.clone());
        until(&nodes, "node-1", |_| true).await?;
        pod(&client, "large", asks("20")).await?;
        until(&pods, "large", |pod| condition(pod, "Ready").0 == "True").await?;
        pod(&client, "grows", asks("1")).await?;
        until(&pods, "grows", |pod| condition(pod, "Ready").0 == "True").await?;
        let resize = async |cpu: &str| -> Outcome<Pod> {
            let patch =
                json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}});
            Ok(pods
                .patch_subresource("resize", "grows", &PatchParams::default(), &Patch::Strategic(patch))
                .await?)
        };
        let given = |pod: &Pod| {
            let status = status(pod, "containerStatuses", 0);
            (status["allocatedResources"]["cpu"].clone(), status["resources"]["requests"]["cpu"].clone())
        };
        let asked = resize("2").await?;
        let done = until(&pods, "grows", |pod| given(pod) == (json!("2"), json!("2"))).await?;
        assert_eq!(
            (asked.metadata.generation, status(&done, "containerStatuses", 0)["restartCount"].clone()),
            (Some(2), json!(0))
        );
        until(&pods, "grows", |pod| {
            pod.status.as_ref().is_some_and(|status| status.observed_generation == Some(2))
        })
        .await?;
        // More than the node has left waits, and says so; less again is given at once.
        resize("20").await?;
        let waits =
            until(&pods, "grows", |pod| condition(pod, "PodResizePending") == ("True", "Deferred")).await?;
        assert_eq!(given(&waits), (json!("2"), json!("2")));
        let conditions = json!(waits)["status"]["conditions"].to_string();
        assert!(
            conditions.contains(
                "Node didn't have enough resource: cpu, requested: 20000, used: 20000, capacity: 32000"
            ),
            "{conditions}"
        );
        resize("500m").await?;
        until(&pods, "grows", |pod| {
            given(pod) == (json!("500m"), json!("500m")) && condition(pod, "PodResizePending").0.is_empty()
        })
        .await?;
        let events: Api<Event> = Api::default_namespaced(client.clone());
        let told = r#"Pod resize started: {"containers":[{"name":"c","resources":{"requests":{"cpu":"2","memory":"64Mi"}}}],"generation":2}"#;
        until_all(&events, "", |events| {
            events.iter().any(|it| it.message.as_deref() == Some(told))
                && events.iter().any(|it| it.reason.as_deref() == Some("ResizeDeferred"))
        })
        .await?;
        Ok(())
    });
    outcome.await.expect("running pods are resized");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_container_has_all_restarted() {
    let outcome = with(async |client| {
        let pods: Api<Pod> = Api::default_namespaced(client.clone());
        let rule =
            json!([{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]}}]);
        let mut watcher = container("watcher", "sleep 1; exit 42");
        watcher["restartPolicy"] = json!("Never");
        watcher["restartPolicyRules"] = rule;
        let spec = json!({"restartPolicy": "Never", "initContainers": [container("first", "echo ready")], "containers": [container("main", "while true; do sleep 1; done"), watcher]});
        pod(&client, "together", spec).await?;
        let again = until(&pods, "together", |pod| {
            status(pod, "containerStatuses", 0)["restartCount"] == 1
                && status(pod, "containerStatuses", 0)["state"]["running"].is_object()
        })
        .await?;
        let main = status(&again, "containerStatuses", 0)["lastState"]["terminated"].clone();
        assert_eq!((&main["exitCode"], &main["reason"]), (&json!(137), &json!("RestartingAllContainers")));
        assert_eq!(status(&again, "containerStatuses", 1)["lastState"]["terminated"]["exitCode"], 42);
        assert_eq!(status(&again, "initContainerStatuses", 0)["restartCount"], 1);
        assert_eq!(phase(&again), "Running");
        Ok(())
    });
    outcome.await.expect("one container has all restarted");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_generation_is_seen_in_the_end() {
    let outcome = with(async |client| {
        let pods: Api<Pod> = Api::default_namespaced(client.clone());
        pod(
            &client,
            "changing",
            json!({"containers": [{"name": "c", "image": "nginx"}], "activeDeadlineSeconds": 10_000}),
        )
        .await?;
        for left in (9_501..10_000).rev() {
            let patch = Patch::Merge(json!({"spec": {"activeDeadlineSeconds": left}}));
            pods.patch("changing", &PatchParams::default(), &patch).await?;
        }
        let seen = until(&pods, "changing", |pod| {
            pod.status.as_ref().is_some_and(|it| it.observed_generation == Some(500))
        })
        .await?;
        assert_eq!(seen.metadata.generation, Some(500));
        let conditions = seen.status.iter().flat_map(|status| status.conditions.iter().flatten());
        assert!(conditions.filter(|it| it.type_ == "Ready").all(|it| it.observed_generation == Some(500)));
        assert_eq!(seen.name_any(), "changing");
        Ok(())
    });
    outcome.await.expect("every generation is seen in the end");
}
