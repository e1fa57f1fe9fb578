//! Job.

use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::cluster::{Outcome, create, until, until_all, with};

fn a_job(name: &str, command: Value, more: Value) -> Value {
    let mut spec = json!({
        "template": { "spec": {
            "restartPolicy": "Never",
            "containers": [{ "name": "main", "image": "busybox:1", "command": command }],
        } },
    });
    if let (Some(all), Some(more)) = (spec.as_object_mut(), more.as_object()) {
        all.extend(more.clone());
    }
    json!({ "metadata": { "name": name }, "spec": spec })
}

fn has(job: &Job, kind: &str) -> bool {
    let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|it| it.type_ == kind && it.status == "True")
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_run_to_their_end() {
    let outcome: Outcome = with(async |client| {
        let jobs: Api<Job> = Api::default_namespaced(client.clone());
        let pods: Api<Pod> = Api::default_namespaced(client.clone());
        create::<Job>(
            &client,
            a_job("plain", json!(["true"]), json!({ "completions": 4, "parallelism": 2 })),
        )
        .await?;
        let done = until(&jobs, "plain", |job| has(job, "Complete")).await?;
        let status = done.status.clone().unwrap_or_default();
        assert_eq!(
            (status.succeeded, status.active, status.completion_time.is_some()),
            (Some(4), None, true)
        );
        let own =
            until_all(&pods, "job-name=plain", |pods| pods.iter().all(|pod| pod.finalizers().is_empty()))
                .await?;
        assert_eq!(own.len(), 4);

        let indexed = json!({ "completions": 3, "parallelism": 3, "completionMode": "Indexed" });
        create::<Job>(&client, a_job("indexed", json!(["true"]), indexed)).await?;
        let done = until(&jobs, "indexed", |job| has(job, "Complete")).await?;
        assert_eq!(done.status.and_then(|status| status.completed_indexes).as_deref(), Some("0-2"));

        create::<Job>(&client, a_job("failing", json!(["false"]), json!({ "backoffLimit": 0 }))).await?;
        let failed = until(&jobs, "failing", |job| has(job, "Failed")).await?;
        assert!(has(&failed, "FailureTarget"));

        create::<Job>(&client, a_job("held", json!(["true"]), json!({ "suspend": true }))).await?;
        until(&jobs, "held", |job| has(job, "Suspended")).await?;
        let go = Patch::Merge(json!({ "spec": { "suspend": false } }));
        jobs.patch("held", &PatchParams::default(), &go).await?;
        until(&jobs, "held", |job| has(job, "Complete") && !has(job, "Suspended")).await?;
        Ok(())
    })
    .await;
    outcome.expect("jobs run to their end");
}
