//! Server-side apply of Deployments.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};

use super::create::unique;
use super::stretch::Stretch;
use super::{Client, Clients, LoadError, NAMESPACE, together};
use crate::kubeconfig::Access;
use crate::sample::Sample;

/// So many clients, each of whom applies a Deployment of its own again and again, changed each time.
///
/// # Errors
/// When any apply fails.
pub async fn measure(
    access: &Access,
    pid: Option<u32>,
    clients: usize,
    time: Duration,
) -> Result<Value, LoadError> {
    let connections = Clients::connect(access, clients).await?;
    connections.client(0).await?.furnish().await?;
    let prefix = unique();
    run(&connections, &prefix, clients, time.min(Duration::from_secs(1))).await?;
    let stretch = Stretch::begin(pid);
    let latencies = run(&connections, &prefix, clients, time).await?;
    let spent = stretch.spent();
    let sample = Sample::of(latencies);
    Ok(json!({
        "clients": clients,
        "applies": sample.count(),
        "per_second": spent.per_second(sample.count()),
        "per_cpu_second": spent.per_cpu_second(sample.count()),
        "p50_ms": sample.percentile(50.0).as_secs_f64() * 1e3,
        "p99_ms": sample.percentile(99.0).as_secs_f64() * 1e3,
    }))
}

async fn run(
    connections: &Clients,
    prefix: &str,
    clients: usize,
    time: Duration,
) -> Result<Vec<Duration>, LoadError> {
    let deadline = Instant::now() + time;
    let numbered = connections.first(clients).await?.into_iter().enumerate();
    together(numbered, |(number, client)| {
        apply_until(client.sending("application/apply-patch+yaml"), format!("{prefix}-{number}"), deadline)
    })
    .await
}

async fn apply_until(
    mut client: Client,
    name: String,
    deadline: Instant,
) -> Result<Vec<Duration>, LoadError> {
    let path =
        format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{name}?fieldManager=bench&force=true");
    let mut latencies = Vec::new();
    while Instant::now() < deadline {
        let body = deployment(&name, &unique());
        let begin = Instant::now();
        client.ask("PATCH", &path, body).await?;
        latencies.push(begin.elapsed());
    }
    Ok(latencies)
}

fn deployment(name: &str, tag: &str) -> Bytes {
    let labels = json!({"app": name});
    let env: Vec<Value> =
        (0..10).map(|n| json!({"name": format!("VARIABLE_{n}"), "value": format!("value {n}")})).collect();
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "labels": labels, "annotations": {"bench.example.com/owner": "load"}},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{
                    "name": "main", "image": format!("registry.example.com/bench:{tag}"), "env": env,
                    "ports": [{"name": "http", "containerPort": 8080}],
                    "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}},
                    "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}},
                }]},
            },
        },
    });
    Bytes::from(deployment.to_string())
}
