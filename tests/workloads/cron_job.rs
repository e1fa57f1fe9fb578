//! CronJob.

use coracle::Options;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::cluster::{Outcome, create, until, until_all, with_options};

#[tokio::test(flavor = "multi_thread")]
async fn it_starts_jobs_by_the_clock() {
    // Without nodes the jobs stay active.
    let outcome = with_options(Options { nodes: 0, ..Options::default() }, async |client| -> Outcome {
        create::<CronJob>(
            &client,
            json!({
                "metadata": { "name": "tick" },
                "spec": {
                    "schedule": "@every 1s",
                    "timeZone": "Asia/Tokyo",
                    "concurrencyPolicy": "Forbid",
                    "jobTemplate": {
                        "metadata": { "labels": { "by": "tick" } },
                        "spec": { "template": { "spec": {
                            "restartPolicy": "Never",
                            "containers": [{ "name": "main", "image": "example:1" }],
                        } } },
                    },
                },
            }),
        )
        .await?;
        let jobs: Api<Job> = Api::default_namespaced(client.clone());
        let started = until_all(&jobs, "by=tick", |jobs| jobs.len() == 1).await?;
        let name = started.first().map(ResourceExt::name_any).unwrap_or_default();
        assert!(name.starts_with("tick-"), "{name}");
        let at = started.first().and_then(|job| {
            job.annotations().get("batch.kubernetes.io/cronjob-scheduled-timestamp").cloned()
        });
        assert!(at.as_ref().is_some_and(|at| at.ends_with("+09:00")), "{at:?}");
        let cron_jobs: Api<CronJob> = Api::default_namespaced(client.clone());
        let lists = |cron_job: &CronJob, wanted: bool| {
            let status = cron_job.status.as_ref();
            let active = status.and_then(|status| status.active.as_ref());
            active.is_some_and(|active| active.iter().any(|job| job.name.as_ref() == Some(&name))) == wanted
                && status.is_some_and(|status| status.last_schedule_time.is_some())
        };
        until(&cron_jobs, "tick", |cron_job| lists(cron_job, true)).await?;
        Ok(())
    });
    outcome.await.expect("a cron job starts jobs");
}
