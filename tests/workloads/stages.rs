//! Stages: how simulated pods and nodes move on. Those of `crds/examples` are
//! played here, faster than they say.

use coracle_crds::Stage;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Event, Node, Pod},
};
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
    runtime::{WatchStreamExt, watcher},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    cluster::{Outcome, create, until, until_all, with_options},
    node_pools::{bare, pool},
};

/// Creates the Stages of an example, with delays divided by `faster`.
async fn play(client: &Client, example: &str, faster: i64) -> Outcome {
    let api: Api<Stage> = Api::all(client.clone());
    for document in serde_yaml_ng::Deserializer::from_str(example) {
        let mut stage = Stage::deserialize(document)?;
        if let Some(delay) = &mut stage.spec.delay {
            for time in [&mut delay.duration_milliseconds, &mut delay.jitter_duration_milliseconds] {
                *time = time.map(|time| time / faster);
            }
        }
        let name = stage.name_any();
        api.create(&PostParams::default(), &stage).await?;
        until(&api, &name, |stage| condition(stage, "Ready") == Some(("True", "Accepted"))).await?;
    }
    Ok(())
}

fn condition<'a>(stage: &'a Stage, type_: &str) -> Option<(&'a str, &'a str)> {
    let mut conditions = stage.status.iter().flat_map(|status| &status.conditions);
    conditions.find(|it| it.type_ == type_).map(|it| (it.status.as_str(), it.reason.as_str()))
}

fn whole(spec: &Value) -> Value {
    let mut whole = json!({"resourceRef": {"kind": "Pod"}});
    whole.as_object_mut().into_iter().for_each(|it| it.extend(spec.as_object().cloned().unwrap_or_default()));
    whole
}

async fn stage(client: &Client, name: &str, spec: Value) -> Outcome<Stage> {
    let api: Api<Stage> = Api::all(client.clone());
    let written = serde_json::from_value(json!({"metadata": {"name": name}, "spec": whole(&spec)}))?;
    Ok(api.create(&PostParams::default(), &written).await?)
}

async fn run(client: &Client, name: &str, labels: Value, annotations: Value) -> Outcome<Pod> {
    let pod = json!({
        "metadata": {"name": name, "labels": labels, "annotations": annotations},
        "spec": {"containers": [{"name": "main", "image": "nginx", "livenessProbe": {
            "httpGet": {"port": 80}, "periodSeconds": 1, "failureThreshold": 1,
        }}], "terminationGracePeriodSeconds": 1},
    });
    create(client, pod).await
}

fn ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.filter(|it| it.type_ == "Ready").any(|it| it.status == "True")
}

fn shown(pod: &Pod) -> Value {
    json!(pod)["status"]["containerStatuses"][0].clone()
}

/// Waits until `seen` has said so of the object once, then of another state, and so on.
async fn seen_in_turn(pods: &Api<Pod>, name: &str, states: &[fn(&Pod) -> bool]) -> Outcome {
    let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut changes = watcher(pods.clone(), only).default_backoff().applied_objects().boxed();
    let mut left = states.iter();
    let mut state = left.next();
    let waiting = async {
        while let Some(wanted) = state {
            let Some(pod) = changes.try_next().await? else { return Err("the watch has ended".into()) };
            if wanted(&pod) {
                state = left.next();
            }
        }
        Outcome::Ok(())
    };
    tokio::time::timeout(crate::cluster::PATIENCE, waiting).await?
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_crash_and_come_back() {
    let outcome = with_options(bare(), async |client| {
        let (pods, stages): (Api<Pod>, Api<Stage>) =
            (Api::default_namespaced(client.clone()), Api::all(client.clone()));
        pool(&client, "n", json!({})).await?;
        play(&client, include_str!("../../crds/examples/crash-loop.yaml"), 1).await?;
        play(&client, include_str!("../../crds/examples/failing-liveness.yaml"), 20).await?;
        run(&client, "crashes", json!({"example.com/crashes": "true"}), json!({})).await?;
        run(&client, "hangs", json!({"example.com/hangs": "true"}), json!({})).await?;
        run(&client, "other", json!({}), json!({})).await?;
        until(&pods, "other", ready).await?;

        let lost =
            until(&pods, "crashes", |pod| shown(pod)["lastState"]["terminated"]["exitCode"] == 3).await?;
        let ended = shown(&lost)["lastState"]["terminated"].clone();
        assert_eq!((&ended["reason"], &ended["message"]), (&json!("Error"), &json!("out of luck")));
        let time = |value: &Value| value.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
        let ran = time(&ended["finishedAt"])
            .zip(time(&ended["startedAt"]))
            .map(|(end, start)| end.duration_since(start).as_secs());
        assert!(ran.is_some_and(|ran| (5..8).contains(&ran)), "{ended}");
        // It comes back by itself, and crashes again; then kubelet's back-off is seen.
        until(&pods, "crashes", |pod| {
            shown(pod)["state"]["waiting"]["reason"] == "CrashLoopBackOff" && shown(pod)["restartCount"] == 1
        })
        .await?;
        until(&stages, "crash", |stage| stage.status.as_ref().is_some_and(|status| status.played >= 2))
            .await?;
        let events: Api<Event> = Api::default_namespaced(client.clone());
        until_all(&events, "", |events| {
            events
                .iter()
                .any(|it| it.reason.as_deref() == Some("Crashed") && it.type_.as_deref() == Some("Warning"))
        })
        .await?;

        let hung =
            until(&pods, "hangs", |pod| shown(pod)["lastState"]["terminated"]["exitCode"] == 137).await?;
        assert!(
            shown(&hung)["restartCount"].as_i64() > Some(0) || shown(&hung)["state"]["waiting"].is_object()
        );
        until_all(&events, "", |events| {
            let told = |message: &str| events.iter().any(|it| it.message.as_deref() == Some(message));
            told("Liveness probe failed: simulated")
                && told("Container main failed liveness probe, will be restarted")
        })
        .await?;
        assert_eq!(shown(&pods.get("other").await?)["restartCount"], 0);
        Ok(())
    });
    outcome.await.expect("pods crash and come back");
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_flap_wait_and_live_as_stages_say() {
    let outcome = with_options(bare(), async |client| {
        let pods: Api<Pod> = Api::default_namespaced(client.clone());
        pool(&client, "n", json!({})).await?;
        play(&client, include_str!("../../crds/examples/flapping-readiness.yaml"), 20).await?;
        play(&client, include_str!("../../crds/examples/slow-start.yaml"), 1).await?;
        play(&client, include_str!("../../crds/examples/whole-life.yaml"), 1).await?;
        run(&client, "flaps", json!({"example.com/flaps": "true"}), json!({})).await?;
        let unready: fn(&Pod) -> bool =
            |pod| !ready(pod) && pod.annotations().contains_key("coracle.dev/failing-probes");
        seen_in_turn(&pods, "flaps", &[ready, unready, ready, unready, ready]).await?;
        // What flaps for ever can go all the same.
        pods.delete("flaps", &DeleteParams::default()).await?;

        let slow = run(&client, "slow", json!({}), json!({"example.com/start-after": "2s"})).await?;
        let slow = (slow, until(&pods, "slow", ready).await?);
        let began = slow.1.status.as_ref().and_then(|status| status.start_time.clone());
        let made = slow.0.creation_timestamp();
        let waited = began.zip(made).map(|(began, made)| began.0.duration_since(made.0).as_secs());
        assert!(waited >= Some(2), "{waited:?}");

        // A container that would end at once stays as the Stages have it.
        let fast = json!({
            "metadata": {"name": "fast", "labels": {"example.com/fast": "true"}, "finalizers": ["example.com/held"]},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox", "command": ["false"]}]},
        });
        create::<Pod>(&client, fast).await?;
        let fast = until(&pods, "fast", ready).await?;
        assert_eq!(shown(&fast)["state"]["running"].as_object().map(|it| it.len()), Some(1));
        assert!(fast.status.as_ref().and_then(|status| status.pod_ip.as_ref()).is_some());
        pods.delete("fast", &DeleteParams::default()).await?;
        until_all(&pods, "", |pods| pods.iter().all(|pod| pod.name_any() == "slow")).await?;
        Ok(())
    });
    outcome.await.expect("pods flap, wait and live as stages say");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_several_stages_is_drawn() {
    let outcome = with_options(bare(), async |client| {
        pool(&client, "n", json!({})).await?;
        play(&client, include_str!("../../crds/examples/unreliable-jobs.yaml"), 10).await?;
        let job = json!({
            "metadata": {"name": "work"},
            "spec": {"completions": 20, "parallelism": 20, "backoffLimit": 100, "template": {
                "metadata": {"labels": {"example.com/unreliable": "true"}},
                "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "nginx"}]},
            }},
        });
        create::<Job>(&client, job).await?;
        let jobs: Api<Job> = Api::default_namespaced(client.clone());
        let done =
            until(&jobs, "work", |job| job.status.as_ref().is_some_and(|it| it.completion_time.is_some()))
                .await?;
        assert_eq!(done.status.and_then(|status| status.succeeded), Some(20));
        let stages: Api<Stage> = Api::all(client.clone());
        until(&stages, "job-succeeds", |stage| {
            stage.status.as_ref().is_some_and(|it| it.played == 20 && it.waiting == 0)
        })
        .await?;
        Ok(())
    });
    outcome.await.expect("one of several stages is drawn");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_follow_their_stages() {
    let outcome = with_options(bare(), async |client| {
        let nodes: Api<Node> = Api::all(client.clone());
        for (example, faster) in [
            (include_str!("../../crds/examples/flapping-nodes.yaml"), 50),
            (include_str!("../../crds/examples/dying-nodes.yaml"), 15),
            (include_str!("../../crds/examples/disk-pressure.yaml"), 10),
        ] {
            play(&client, example, faster).await?;
        }
        let labelled = |label: &str| json!({"template": {"labels": {label: "true"}}});
        pool(&client, "flaps", labelled("example.com/flaps")).await?;
        pool(&client, "dies", labelled("example.com/dies")).await?;
        pool(&client, "full", labelled("example.com/small-disk")).await?;
        let says = |node: &Node, type_: &str, status: &str, reason: &str| {
            let mut conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
            conditions
                .any(|it| it.type_ == type_ && it.status == status && it.reason.as_deref() == Some(reason))
        };
        until(&nodes, "flaps-1", |node| says(node, "Ready", "False", "KubeletNotReady")).await?;
        until(&nodes, "flaps-1", |node| says(node, "Ready", "True", "KubeletReady")).await?;
        until(&nodes, "flaps-1", |node| says(node, "Ready", "False", "KubeletNotReady")).await?;
        until(&nodes, "full-1", |node| {
            says(node, "DiskPressure", "True", "KubeletHasDiskPressure")
                && json!(node)["spec"]["taints"].to_string().contains("node.kubernetes.io/disk-pressure")
        })
        .await?;
        // The control plane finds out by itself that a node is silent, and that it is back.
        until(&nodes, "dies-1", |node| says(node, "Ready", "Unknown", "NodeStatusUnknown")).await?;
        until(&nodes, "dies-1", |node| says(node, "Ready", "True", "KubeletReady")).await?;
        Ok(())
    });
    outcome.await.expect("nodes follow their stages");
}

#[tokio::test(flavor = "multi_thread")]
async fn stages_are_checked() {
    let outcome = with_options(bare(), async |client| {
        let (pods, stages): (Api<Pod>, Api<Stage>) =
            (Api::default_namespaced(client.clone()), Api::all(client.clone()));
        pool(&client, "n", json!({})).await?;
        let refused = async |spec: Value, part: &str| -> Outcome {
            let kind = ApiResource::erase::<Stage>(&());
            let stages: Api<DynamicObject> = Api::all_with(client.clone(), &kind);
            let written = DynamicObject::new("refused", &kind).data(json!({"spec": whole(&spec)}));
            let told =
                stages.create(&PostParams::default(), &written).await.err().map(|error| error.to_string());
            assert!(told.as_ref().is_some_and(|told| told.contains(part)), "{spec}: {told:?}");
            Ok(())
        };
        let selects = |expression: Value| json!({"selector": {"matchExpressions": [expression]}});
        refused(json!({"weight": -1}), "spec.weight").await?;
        refused(json!({"delay": {"durationMilliseconds": 604_800_001}}), "spec.delay.durationMilliseconds")
            .await?;
        refused(
            json!({"resourceRef": {"kind": "Node"}, "next": {"containers": [{"exitCode": 1}]}}),
            "next.containers is for pods",
        )
        .await?;
        refused(json!({"resourceRef": {"kind": "ConfigMap"}}), "Unsupported value").await?;
        refused(json!({"next": {"containers": [{"exitCode": 256}]}}), "exitCode").await?;
        refused(selects(json!({"key": ".a", "operator": "In"})), "values are for the operators In and NotIn")
            .await?;
        refused(
            selects(json!({"key": ".a", "operator": "Exists", "cel": {"expression": "true"}})),
            "exactly one of cel and key",
        )
        .await?;

        // What only its compiler finds is told in its status, and nothing is selected.
        stage(&client, "broken", selects(json!({"cel": {"expression": "self.metadata.("}}))).await?;
        until(&stages, "broken", |stage| condition(stage, "Ready") == Some(("False", "InvalidExpression")))
            .await?;
        let mine = |name: &str| json!({"matchLabels": {"for": name}});
        stage(
            &client,
            "wrong",
            json!({"selector": mine("wrong"), "next": {"statusTemplate": "phase: ${self.nothing}"}}),
        )
        .await?;
        run(&client, "wrong", json!({"for": "wrong"}), json!({})).await?;
        let failed = until(&stages, "wrong", |stage| {
            condition(stage, "Evaluated") == Some(("False", "Failed"))
                && stage.status.as_ref().is_some_and(|it| it.failed > 0)
        })
        .await?;
        assert!(failed.status.is_some_and(|status| {
            status.conditions.iter().any(|it| it.message.contains("no such key: nothing"))
        }));
        // Mended, it goes on.
        let mended = Patch::Merge(
            json!({"spec": {"selector": {"matchExpressions": [{"key": ".status.phase", "operator": "In", "values": ["Pending"]}]}, "next": {"statusTemplate": "phase: Failed"}}}),
        );
        stages.patch("wrong", &PatchParams::default(), &mended).await?;
        until(&pods, "wrong", |pod| {
            pod.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Failed"))
        })
        .await?;
        until(&stages, "wrong", |stage| condition(stage, "Evaluated") == Some(("True", "Succeeded"))).await?;

        // A Stage that always selects and always changes something is no busy loop.
        let count = "count: \"${string(has(self.metadata.annotations) && 'count' in self.metadata.annotations ? int(self.metadata.annotations['count']) + 1 : 1)}\"";
        let template = format!("annotations:\n  {count}\n");
        stage(&client, "endless", json!({"selector": mine("endless"), "immediateNextStage": true, "next": {"patches": [{"root": "metadata", "template": template}]}})).await?;
        run(&client, "endless", json!({"for": "endless"}), json!({})).await?;
        let counted =
            |pod: &Pod| pod.annotations().get("count").and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
        let begun = until(&pods, "endless", |pod| counted(pod) >= 10).await?;
        let since = std::time::Instant::now();
        let later = until(&pods, "endless", |pod| counted(pod) >= counted(&begun) + 2).await?;
        assert!(since.elapsed().as_millis() > 900, "{} in {:?}", counted(&later), since.elapsed());
        Ok(())
    });
    outcome.await.expect("stages are checked");
}
