use serde_json::{Value, json};

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn pod(spec: Value) -> Pod {
    let mut value = json!({
        "metadata": {"name": "p", "namespace": "a", "uid": "u", "generation": 1},
        "spec": {"nodeName": "n", "restartPolicy": "Always", "containers": [{"name": "c", "image": "nginx"}]},
        "status": {"phase": "Pending", "qosClass": "BestEffort", "conditions": [
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": "1970-01-01T00:00:00Z"}]},
    });
    value["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    serde_json::from_value(value).unwrap()
}

fn place() -> Place {
    Place { host_ip: "172.16.0.1".into(), pod_ip: "10.128.0.1".into(), obstacles: Obstacles::default() }
}

/// A container's state in a word: `c:running!` is ready, `c:2` ended with 2.
fn word(status: &ContainerStatus) -> String {
    let state = status.state.clone().unwrap_or_default();
    let what = match (state.running, state.terminated, state.waiting) {
        (Some(_), ..) => "running".to_owned(),
        (_, Some(ended), _) => ended.exit_code.to_string(),
        (.., Some(waiting)) => waiting.reason.unwrap_or_default(),
        _ => "nothing".to_owned(),
    };
    let restarts =
        if status.restart_count > 0 { format!("*{}", status.restart_count) } else { String::new() };
    format!("{}:{what}{restarts}{}", status.name, if status.ready { "!" } else { "" })
}

fn told(status: &PodStatus) -> String {
    let lists = [&status.init_container_statuses, &status.container_statuses];
    let words: Vec<String> = lists.into_iter().flat_map(|list| list.iter().flatten()).map(word).collect();
    let ready = status.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True");
    let phase = status.phase.as_deref().unwrap_or_default();
    format!("{phase}{} {}", if ready { " ready" } else { "" }, words.join(" "))
}

/// The API shows an empty last state where there was none.
fn as_shown(mut status: PodStatus) -> PodStatus {
    let lists = [&mut status.init_container_statuses, &mut status.container_statuses];
    for container in lists.into_iter().flatten().flatten() {
        container.last_state.get_or_insert_default();
    }
    status
}

/// Plays the pod from second 0 on: the status after each look, until nothing
/// more happens by itself or six looks have been told.
fn play(pod: &mut Pod) -> Vec<String> {
    let mut lines = Vec::new();
    let mut now = 0;
    for _ in 0..6 {
        let step = step(pod, &place(), at(now));
        if let Some(status) = step.status {
            lines.push(format!("{now}: {}", told(&status)));
            pod.status = Some(as_shown(status));
        }
        if step.remove {
            lines.push(format!("{now}: gone"));
            break;
        }
        let Some(again) = step.again else { break };
        now += i64::try_from(again.as_secs()).unwrap().max(1);
    }
    lines
}

#[test]
fn lives() {
    let check = |spec: Value, expected: &[&str]| {
        assert_eq!(play(&mut pod(spec.clone())), expected, "{spec}");
    };
    check(json!({}), &["0: Running ready c:running!"]);
    check(
        json!({"containers": [{"name": "c", "image": "x", "command": ["serve"]}]}),
        &["0: Running ready c:running!"],
    );
    // Probes succeed after their delays.
    check(
        json!({"containers": [{"name": "c", "image": "nginx", "readinessProbe": {"initialDelaySeconds": 5}}]}),
        &["0: Running c:running", "5: Running ready c:running!"],
    );
    // Commands end where pods may.
    let runs = |policy: &str, command: &[&str]| json!({"restartPolicy": policy, "containers": [{"name": "c", "image": "busybox", "command": command}]});
    check(runs("Never", &["true"]), &["0: Succeeded c:0"]);
    check(runs("Never", &["sh", "-c", "sleep 3; exit 4"]), &["0: Running ready c:running!", "3: Failed c:4"]);
    check(runs("OnFailure", &["sleep", "2"]), &["0: Running ready c:running!", "2: Succeeded c:0"]);
    check(
        runs("OnFailure", &["false"]),
        &[
            "0: Running c:1",
            "1: Running c:1*1",
            "2: Running c:CrashLoopBackOff*1",
            "11: Running c:1*2",
            "12: Running c:CrashLoopBackOff*2",
            "31: Running c:1*3",
        ],
    );
    check(json!({"restartPolicy": "Never"}), &["0: Running ready c:running!"]);
    // Images that cannot exist.
    check(
        json!({"containers": [{"name": "c", "image": "webserver:404"}]}),
        &["0: Pending c:ErrImagePull", "10: Pending c:ImagePullBackOff"],
    );
    // Init containers and sidecars.
    let init = |extra: Value| {
        let mut value =
            json!({"initContainers": [{"name": "i", "image": "busybox", "command": ["sleep", "2"]}]});
        value.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        value
    };
    check(init(json!({})), &["0: Pending i:running c:PodInitializing", "2: Running ready i:0! c:running!"]);
    check(
        json!({"restartPolicy": "Never", "initContainers": [{"name": "i", "image": "busybox", "command": ["false"]}]}),
        &["0: Failed i:1 c:PodInitializing"],
    );
    check(
        json!({"restartPolicy": "Never",
            "initContainers": [{"name": "s", "image": "proxy", "restartPolicy": "Always"}],
            "containers": [{"name": "c", "image": "busybox", "command": ["sleep", "1"]}]}),
        &["0: Running ready s:running! c:running!", "1: Succeeded s:0 c:0"],
    );
    check(
        json!({"restartPolicy": "Never",
            "initContainers": [{"name": "i", "image": "busybox", "command": ["sh", "-c", "sleep 1"]},
                {"name": "s", "image": "busybox", "command": ["sh", "-c", "while true; do sleep 1; done"], "restartPolicy": "Always"}],
            "containers": [{"name": "c", "image": "busybox", "command": ["sh", "-c", "sleep 2; exit 0"]}]}),
        &[
            "0: Pending i:running s:PodInitializing c:PodInitializing",
            "1: Running ready i:0! s:running! c:running!",
            "3: Succeeded i:0! s:0 c:0",
        ],
    );
    // Looked at again before anything has changed, nothing does.
    let mut waits = pod(init(json!({})));
    waits.status = step(&waits, &place(), at(0)).status.map(as_shown);
    assert_eq!(step(&waits, &place(), at(1)).status, None);
    // A deadline for the whole pod.
    check(json!({"activeDeadlineSeconds": 7}), &["0: Running ready c:running!", "7: Failed c:0"]);
}

#[test]
fn deletion() {
    let check = |spec: Value, grace: i64, expected: &[&str]| {
        let mut pod = pod(spec.clone());
        pod.status = step(&pod, &place(), at(0)).status;
        pod.metadata.deletion_timestamp = Some(Time(at(grace)));
        pod.metadata.deletion_grace_period_seconds = Some(grace);
        assert_eq!(play(&mut pod), expected, "{spec} {grace}");
    };
    check(json!({}), 30, &["0: Succeeded c:0", "0: gone"]);
    check(json!({}), 0, &["0: Succeeded c:0", "0: gone"]);
    let hook = |lifecycle: Value| json!({"containers": [{"name": "c", "image": "nginx", "lifecycle": {"preStop": lifecycle}}]});
    check(hook(json!({"sleep": {"seconds": 4}})), 30, &["4: Succeeded c:0", "4: gone"]);
    check(hook(json!({"exec": {"command": ["sleep", "60"]}})), 5, &["5: Succeeded c:0", "5: gone"]);
    let job = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "x", "command": ["sleep", "99"]}]});
    check(job, 30, &["0: Failed c:137", "0: gone"]);
    check(
        json!({"containers": [{"name": "c", "image": "x:404"}]}),
        30,
        &["0: Failed c:ErrImagePull", "0: gone"],
    );
    check(
        json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "x", "command": ["true"]}]}),
        30,
        &["0: gone"],
    );
}

#[test]
fn a_status_is_complete_and_settles() {
    let mut pod = pod(json!({"readinessGates": [{"conditionType": "example.com/gate"}]}));
    let step_one = step(&pod, &place(), at(5));
    assert_eq!(step_one.notes.iter().map(|n| n.reason).collect::<Vec<_>>(), ["Pulled", "Created", "Started"]);
    let status = step_one.status.unwrap();
    let value = serde_json::to_value(&status).unwrap();
    assert_eq!(value["podIPs"], json!([{"ip": "10.128.0.1"}]));
    assert_eq!(value["hostIPs"], json!([{"ip": "172.16.0.1"}]));
    assert_eq!(value["startTime"], "1970-01-01T00:00:05Z");
    assert_eq!((&value["qosClass"], &value["observedGeneration"]), (&json!("BestEffort"), &json!(1)));
    let conditions: Vec<String> = status
        .conditions
        .iter()
        .flatten()
        .map(|c| format!("{}={} {}", c.type_, c.status, c.reason.as_deref().unwrap_or_default()))
        .collect();
    assert_eq!(
        conditions,
        [
            "PodScheduled=True ",
            "PodReadyToStartContainers=True ",
            "Initialized=True ",
            "Ready=False ReadinessGatesNotReady",
            "ContainersReady=True "
        ]
    );
    let container = &status.container_statuses.as_ref().unwrap()[0];
    assert!(
        container.image_id.starts_with("nginx@sha256:")
            && container.container_id.as_ref().unwrap().starts_with("simulated://")
    );
    pod.status = Some(status);
    assert_eq!(step(&pod, &place(), at(60)), Step::default(), "nothing changes by itself");
    // A new image: the container is started anew.
    let mut changed = serde_json::to_value(&pod).unwrap();
    changed["spec"]["containers"][0]["image"] = json!("nginx:2");
    let pod: Pod = serde_json::from_value(changed).unwrap();
    assert_eq!(told(&step(&pod, &place(), at(70)).status.unwrap()), "Running c:running*1!");
    // Host networking.
    let host = super::tests::pod(json!({"hostNetwork": true}));
    assert_eq!(step(&host, &place(), at(0)).status.unwrap().pod_ip.as_deref(), Some("172.16.0.1"));
}

#[test]
fn what_stands_in_the_way() {
    let check = |obstacles: Obstacles, expected: &str, reasons: &[&str]| {
        let place = Place { obstacles, ..place() };
        let step = step(&pod(json!({})), &place, at(3));
        assert_eq!(step.notes.iter().map(|n| n.reason).collect::<Vec<_>>(), reasons);
        let status = step.status.unwrap();
        assert_eq!((told(&status).as_str(), status.observed_generation), (expected, Some(1)));
        let waits = status.phase.as_deref() != Some("Failed");
        assert_eq!(step.again.is_some(), waits, "{expected}");
    };
    let rejection = Rejection { reason: "OutOfcpu".into(), message: "too much".into() };
    check(Obstacles { rejection: Some(rejection), ..Obstacles::default() }, "Failed ", &["OutOfcpu"]);
    let volumes = vec!["no such volume".to_owned()];
    check(Obstacles { volumes, ..Obstacles::default() }, "Pending c:ContainerCreating", &["FailedMount"]);
    let containers = vec![("c".to_owned(), "secret \"s\" not found".to_owned())];
    let expected = "Pending c:CreateContainerConfigError";
    check(Obstacles { containers, ..Obstacles::default() }, expected, &["Failed"]);
}

#[test]
fn containers_have_restart_rules_of_their_own() {
    let check = |container: Value, expected: &[&str]| {
        let mut value = json!({"name": "c", "image": "busybox", "command": ["sh", "-c", "exit 42"]});
        value.as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
        let mut pod = pod(json!({"restartPolicy": "Never", "containers": [value]}));
        assert_eq!(play(&mut pod).first().map(String::as_str), expected.first().copied(), "{container}");
    };
    let rule =
        |operator: &str| json!([{"action": "Restart", "exitCodes": {"operator": operator, "values": [42]}}]);
    check(json!({}), &["0: Failed c:42"]);
    check(json!({"restartPolicy": "OnFailure"}), &["0: Running c:42"]);
    check(json!({"restartPolicy": "Never", "restartPolicyRules": rule("In")}), &["0: Running c:42"]);
    check(json!({"restartPolicy": "Never", "restartPolicyRules": rule("NotIn")}), &["0: Failed c:42"]);
}

#[test]
fn probes_fail_where_the_annotation_says_so() {
    let check = |failing: &str, expected: &[&str]| {
        let probe = json!({"initialDelaySeconds": 1, "periodSeconds": 2, "failureThreshold": 3});
        let mut pod = pod(json!({"containers": [
            {"name": "c", "image": "nginx", "startupProbe": probe, "livenessProbe": probe},
        ]}));
        pod.metadata.annotations =
            Some([("coracle.dev/failing-probes".to_owned(), failing.to_owned())].into());
        let lines = play(&mut pod);
        assert_eq!(lines.iter().take(expected.len()).collect::<Vec<_>>(), expected, "{failing}");
    };
    check("", &["0: Running c:running", "1: Running ready c:running!"]);
    check("other/readiness", &["0: Running c:running", "1: Running ready c:running!"]);
    check("c/readiness", &["0: Running c:running", "1: Running c:running"]);
    check("liveness", &["0: Running c:running", "1: Running ready c:running!", "7: Running c:137"]);
    check("readiness, startup", &["0: Running c:running", "7: Running c:137"]);
}

#[test]
fn containers_end_as_a_stage_says() {
    let check = |spec: Value, exits: Value, expected: &str| {
        let mut pod = pod(spec.clone());
        pod.status = step(&pod, &place(), at(0)).status;
        let exits: Vec<Exit> = serde_json::from_value(exits.clone()).unwrap();
        let status = end(&pod, &place(), &exits, at(5)).status;
        assert_eq!(status.as_ref().map(told).as_deref(), Some(expected), "{spec} {exits:?}");
    };
    let two = |policy: &str| json!({"restartPolicy": policy, "containers": [{"name": "a", "image": "nginx"}, {"name": "b", "image": "nginx"}]});
    check(two("Always"), json!([{"exitCode": 3}]), "Running a:3 b:3");
    check(two("Never"), json!([{"exitCode": 0}]), "Succeeded a:0 b:0");
    check(two("Never"), json!([{"exitCode": 1}]), "Failed a:1 b:1");
    check(two("Never"), json!([{"names": ["b"], "exitCode": 1}]), "Running a:running! b:1");
    let reason = json!([{"exitCode": 137, "reason": "OOMKilled"}]);
    let mut pod = pod(json!({}));
    pod.status = step(&pod, &place(), at(0)).status;
    let status =
        end(&pod, &place(), &serde_json::from_value::<Vec<Exit>>(reason).unwrap(), at(5)).status.unwrap();
    let ended = status.container_statuses.unwrap()[0].state.clone().unwrap().terminated.unwrap();
    assert_eq!((ended.reason.as_deref(), ended.exit_code), (Some("OOMKilled"), 137));
}

#[test]
fn one_container_may_have_all_restarted() {
    let rule = json!([{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]}}]);
    let mut pod = pod(json!({
        "restartPolicy": "Never",
        "initContainers": [{"name": "i", "image": "busybox", "command": ["true"]}],
        "containers": [{"name": "a", "image": "nginx"}, {"name": "b", "image": "busybox",
            "command": ["sh", "-c", "sleep 2; exit 42"], "restartPolicy": "Never", "restartPolicyRules": rule}],
    }));
    let lines = play(&mut pod);
    let expected = [
        "0: Running ready i:0! a:running! b:running!",
        "2: Running i:0! a:running! b:42",
        "3: Running i:RestartingAllContainers*1 a:RestartingAllContainers*1 b:RestartingAllContainers*1",
    ];
    assert_eq!(lines.iter().take(3).collect::<Vec<_>>(), expected);
    let next = step(&pod, &place(), at(4)).status.unwrap();
    let again = next.container_statuses.as_ref().unwrap();
    assert_eq!(told(&next), "Running ready i:0*1! a:running*1! b:running*1!");
    let last = |status: &ContainerStatus| status.last_state.clone().unwrap().terminated.unwrap();
    assert_eq!((last(&again[0]).exit_code, last(&again[1]).exit_code), (137, 42));
    assert_eq!(last(&again[0]).reason.as_deref(), Some("RestartingAllContainers"));
}

#[test]
fn running_containers_are_resized_where_there_is_room() {
    let mut pod = pod(
        json!({"containers": [{"name": "c", "image": "nginx", "resources": {"requests": {"cpu": "1"}}}]}),
    );
    pod.status = step(&pod, &place(), at(0)).status;
    assert!(!is_resized(&pod));
    let requests =
        pod.spec.as_mut().unwrap().containers[0].resources.as_mut().unwrap().requests.as_mut().unwrap();
    requests.get_mut("cpu").unwrap().0 = "9".into();
    assert!(is_resized(&pod));
    let given = |status: &PodStatus| {
        status.container_statuses.as_ref().unwrap()[0].allocated_resources.as_ref().unwrap()["cpu"].0.clone()
    };
    let pending =
        |status: &PodStatus| status.conditions.iter().flatten().any(|c| c.type_ == "PodResizePending");
    let none =
        Place { obstacles: Obstacles { resize: Some("no room".into()), ..Obstacles::default() }, ..place() };
    let told = |step: &Step| step.notes.iter().map(|note| note.reason).collect::<Vec<_>>();
    let waits = step(&pod, &none, at(1));
    assert_eq!((told(&waits), waits.again), (vec!["ResizeDeferred"], Some(Duration::from_secs(10))));
    pod.status = waits.status;
    let status = pod.status.as_ref().unwrap();
    assert!(given(status) == "1" && pending(status));
    assert!(step(&pod, &none, at(2)).notes.is_empty(), "told once");
    let done = step(&pod, &place(), at(3));
    assert_eq!(told(&done), ["ResizeStarted", "ResizeCompleted"]);
    let status = done.status.unwrap();
    assert!(given(&status) == "9" && !pending(&status));
}
