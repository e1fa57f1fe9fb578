//! Finished jobs and their time to live.

use k8s_openapi::api::batch::v1::Job;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::cluster::{Outcome, create, until_all, with};

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_job_goes_when_its_time_is_over() {
    let outcome = with(async |client| -> Outcome {
        let job = |name: &str, ttl: i32| {
            json!({
                "metadata": { "name": name, "labels": { "of": "ttl" } },
                // No controller looks at it: what it says of itself stays.
                "spec": {
                    "managedBy": "example.com/nobody",
                    "ttlSecondsAfterFinished": ttl,
                    "template": { "spec": {
                        "restartPolicy": "Never",
                        "containers": [{ "name": "main", "image": "example:1" }],
                    } },
                },
            })
        };
        create::<Job>(&client, job("short", 1)).await?;
        create::<Job>(&client, job("long", 10_000)).await?;
        let jobs: Api<Job> = Api::default_namespaced(client.clone());
        let ended = |kind: &str| json!({ "type": kind, "status": "True", "lastTransitionTime": "2024-01-01T00:00:10Z" });
        let now = jiff::Timestamp::now().to_string();
        let mut long = ended("Complete");
        long["lastTransitionTime"] = json!(now);
        for (name, end) in [("long", long), ("short", ended("Complete"))] {
            let status = json!({ "status": {
                "startTime": "2024-01-01T00:00:00Z",
                "completionTime": "2024-01-01T00:00:10Z",
                "conditions": [ended("SuccessCriteriaMet"), end],
            } });
            jobs.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await?;
        }
        let left = until_all(&jobs, "of=ttl", |jobs| jobs.len() == 1).await?;
        assert_eq!(left.first().and_then(|job| job.metadata.name.as_deref()), Some("long"));
        Ok(())
    });
    outcome.await.expect("a finished job goes");
}
