use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use coracle_controllers::framework::{Change, Clock, Setup, Style};
use http::{Method, Request, Response};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{Client, client::Body};
use parking_lot::Mutex;
use rand::{SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::{Measures, Scheduler};
use crate::{
    Shapes,
    configuration::DEFAULT_NAME,
    plugins::default_plugins,
    profile::Profile,
    queue::{Backoff, Queue},
};

/// An API that answers the bindings with these statuses in turn, and tells of each.
fn api(answers: Vec<u16>) -> (Client, mpsc::UnboundedReceiver<String>) {
    let (told, bindings) = mpsc::unbounded_channel();
    let answers = Arc::new(Mutex::new(answers.into_iter()));
    let service = tower::service_fn(move |request: Request<Body>| {
        let path = request.uri().path().to_owned();
        let (code, body) = if request.method() == Method::POST && path.ends_with("/binding") {
            let code = answers.lock().next().unwrap_or(500);
            let _ = told.send(path);
            let status = if code < 300 { "Success" } else { "Failure" };
            (
                code,
                json!({"kind": "Status", "apiVersion": "v1", "status": status, "code": code, "message": "so"}),
            )
        } else {
            (200, json!({"metadata": {"name": "p"}}))
        };
        let answer = Response::builder().status(code).body(Body::from(body.to_string().into_bytes()));
        async move { Ok::<_, Infallible>(answer.unwrap()) }
    });
    (Client::new(service, "default"), bindings)
}

fn scheduler(client: Client) -> Arc<Scheduler> {
    let events = Setup::new(client.clone(), Clock::system()).recorder(DEFAULT_NAME, Style::Series);
    let plugins = default_plugins(&Default::default());
    let profile = Profile {
        name: DEFAULT_NAME,
        percentage: 0,
        plugins: plugins.clone(),
        shapes: Shapes::default(),
        events,
    };
    let backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(10) };
    Arc::new(Scheduler {
        client,
        profiles: vec![profile],
        queue: Queue::new(vec![(DEFAULT_NAME.to_owned(), plugins)], backoff),
        cache: Mutex::default(),
        nominations: Mutex::default(),
        requests: Semaphore::new(1),
        measures: Measures::new(&coracle_api::metrics::Registry::default()),
        extenders: Vec::new(),
        clock: Clock::system(),
    })
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> Arc<T> {
    Arc::new(serde_json::from_value(value).unwrap())
}

/// A node with room for one pod.
fn small(scheduler: &Scheduler) {
    let node: Arc<Node> = read(json!({"metadata": {"name": "n"}, "status": {"allocatable": {"pods": "1"}}}));
    scheduler.node_changed(&Change { before: None, after: Some(&node) });
}

fn pod(change: Value) -> Arc<Pod> {
    let mut pod =
        json!({"metadata": {"name": "p", "namespace": "a", "uid": "p"}, "spec": {"containers": []}});
    crate::plugins::tests::merge(&mut pod, change);
    read(pod)
}

#[tokio::test(start_paused = true)]
async fn the_room_of_a_pod_whose_binding_is_lost_is_free_again() {
    let (client, mut bindings) = api(vec![500, 503, 201]);
    let scheduler = scheduler(client);
    small(&scheduler);
    scheduler.pod_changed(&Change { before: None, after: Some(&pod(json!({}))) });
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(scheduler.clone().schedule(StdRng::seed_from_u64(1), shutdown.clone()));
    for attempt in 0..3 {
        let binding = tokio::time::timeout(Duration::from_secs(60), bindings.recv()).await;
        assert_eq!(
            binding.ok().flatten().as_deref(),
            Some("/api/v1/namespaces/a/pods/p/binding"),
            "{attempt}"
        );
    }
    shutdown.cancel();
    running.await.unwrap();
    assert!(scheduler.cache.lock().has_pod("p"), "bound in the end, and there");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_was_bound_stays_though_the_answer_was_lost() {
    let (client, _bindings) = api(vec![500]);
    let scheduler = scheduler(client);
    small(&scheduler);
    let (before, after) = (pod(json!({})), pod(json!({"spec": {"nodeName": "n"}})));
    scheduler.pod_changed(&Change { before: None, after: Some(&before) });
    let taken = scheduler.queue.next().await;
    scheduler.cache.lock().assume(taken.clone(), "n");
    // The watch is faster than the answer.
    scheduler.pod_changed(&Change { before: Some(&before), after: Some(&after) });
    scheduler.bind(taken, "n".to_owned(), Instant::now()).await;
    assert!(scheduler.cache.lock().has_pod("p"));
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_changes_while_it_is_bound_is_tried_again_as_it_is() {
    let (client, _bindings) = api(vec![500]);
    let scheduler = scheduler(client);
    small(&scheduler);
    let (before, after) = (pod(json!({})), pod(json!({"metadata": {"labels": {"app": "new"}}})));
    scheduler.pod_changed(&Change { before: None, after: Some(&before) });
    let taken = scheduler.queue.next().await;
    scheduler.cache.lock().assume(taken.clone(), "n");
    scheduler.pod_changed(&Change { before: Some(&before), after: Some(&after) });
    scheduler.bind(taken, "n".to_owned(), Instant::now()).await;
    let again = scheduler.queue.next().await;
    assert_eq!(again.pod.metadata.labels, after.metadata.labels);
}
