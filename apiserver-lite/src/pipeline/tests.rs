use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use coracle_store::{Embedded, Mode, Options, Store};
use http::{Method, Request};
use http_body::Frame;
use http_body_util::{BodyExt, Full};

use super::*;
use crate::{
    authn::User,
    config::Config,
    registry::{Registry, Rows, bootstrap},
    resources,
    watch::Hub,
};

async fn server() -> Arc<ApiServer> {
    let rows = Rows::new(resources::builtins());
    let hub = Arc::new(Hub::new(1000));
    let store = Arc::new(Embedded::open(Options::new(Mode::Memory, hub.clone())).unwrap());
    hub.starts_at(store.oldest(), store.revision());
    let server = ApiServer::new(Registry::new(store, hub, Config::default(), rows));
    bootstrap::run(&server.registry).await.unwrap();
    server
}

fn admin() -> Peer {
    Peer::Known(Arc::new(User::authenticated("admin", &["system:masters"])))
}

fn request<B>(method: Method, path: &str, body: B) -> Request<B> {
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    request.body(body).unwrap()
}

async fn text(response: Response<Body>) -> (u16, String) {
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

struct Panics;

impl http_body::Body for Panics {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        panic!("a handler's bug")
    }
}

#[tokio::test]
async fn a_handler_that_panics_answers_500_and_the_server_goes_on() {
    let server = server().await;
    let path = "/api/v1/namespaces/default/configmaps";
    let (status, body) =
        text(handle(server.clone(), admin(), request(Method::POST, path, Panics)).await).await;
    assert_eq!(status, 500);
    assert!(body.contains("caused apiserver to panic"), "{body}");
    let body = Full::new(Bytes::from_static(br#"{"metadata":{"name":"a"}}"#));
    let (status, _) = text(handle(server, admin(), request(Method::POST, path, body)).await).await;
    assert_eq!(status, 201);
}

struct Endless(usize);

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0 += 1;
        assert!(self.0 < 100, "read on past the limit");
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b' '; 64 << 10])))))
    }
}

#[tokio::test]
async fn a_body_that_does_not_end_is_cut_off_at_the_limit() {
    let path = "/api/v1/namespaces/default/configmaps";
    let answer = handle(server().await, admin(), request(Method::POST, path, Endless(0))).await;
    let (status, body) = text(answer).await;
    assert_eq!(status, 413);
    assert!(body.contains("Request entity too large: limit is 3145728"), "{body}");
}

#[tokio::test]
async fn a_watch_sees_what_is_there_and_what_comes() {
    let server = server().await;
    let path = "/api/v1/namespaces/default/configmaps";
    let create = |name: &str| {
        let body = Full::new(Bytes::from(format!(r#"{{"metadata":{{"name":"{name}"}}}}"#)));
        handle(server.clone(), admin(), request(Method::POST, path, body))
    };
    assert_eq!(create("a").await.status(), 201);
    let watch = request(Method::GET, &format!("{path}?watch=1"), Full::new(Bytes::new()));
    let mut events = handle(server.clone(), admin(), watch).await.into_body();
    let mut next = async || {
        let frame = events.frame().await.unwrap().unwrap().into_data().unwrap();
        let event: serde_json::Value = serde_json::from_slice(&frame).unwrap();
        format!(
            "{} {}",
            event["type"].as_str().unwrap(),
            event["object"]["metadata"]["name"].as_str().unwrap()
        )
    };
    assert_eq!(next().await, "ADDED a");
    assert_eq!(create("b").await.status(), 201);
    assert_eq!(next().await, "ADDED b");
    server.registry.hub.close();
    assert!(events.frame().await.is_none(), "a closing hub ends its watches");
}

async fn get(server: &Arc<ApiServer>, path: &str) -> (u16, String) {
    let request = request(Method::GET, path, Full::new(Bytes::new()));
    text(handle(server.clone(), admin(), request).await).await
}

#[tokio::test]
async fn checks_of_health_as_upstream_has_them() {
    let server = server().await;
    let ok = (200, "ok".to_owned());
    for path in ["/healthz", "/livez/", "/readyz", "/livez/ping", "/readyz/informer-sync", "/readyz/shutdown"]
    {
        assert_eq!(get(&server, path).await, ok, "{path}");
    }
    assert_eq!(get(&server, "/readyz/poststarthook/rbac/bootstrap-roles").await, ok);
    for path in ["/livez/shutdown", "/readyz/nothing", "/healthz/poststarthook"] {
        assert_eq!(get(&server, path).await, (404, "404 page not found\n".to_owned()), "{path}");
    }
    let (status, verbose) = get(&server, "/readyz?verbose&exclude=etcd&exclude=b&exclude=a&exclude=b").await;
    assert_eq!(status, 200);
    assert!(
        verbose.starts_with("[+]ping ok\n[+]log ok\n[+]etcd excluded: ok\n[+]etcd-readiness ok\n"),
        "{verbose}"
    );
    let end = "[+]shutdown ok\nwarn: some health checks cannot be excluded: no matches for \"a\",\"b\"\nreadyz check passed\n";
    assert!(verbose.ends_with(end), "{verbose}");
}

#[tokio::test]
async fn who_stops_is_alive_but_not_ready() {
    let server = server().await;
    server.registry.stops();
    assert_eq!(get(&server, "/livez").await.0, 200);
    let (status, body) = get(&server, "/readyz").await;
    assert_eq!(status, 500);
    assert!(body.ends_with("[-]shutdown failed: reason withheld\nreadyz check failed\n"), "{body}");
    let alone = get(&server, "/readyz/shutdown").await;
    assert_eq!(alone, (500, "internal server error: process is shutting down\n".to_owned()));
    assert_eq!(get(&server, "/readyz?exclude=shutdown").await, (200, "ok".to_owned()));
    let (_, slis) = get(&server, "/metrics/slis").await;
    assert!(slis.contains("kubernetes_healthcheck{name=\"shutdown\",type=\"readyz\"} 0"), "{slis}");
}

#[tokio::test]
async fn requests_are_counted_when_they_end() {
    let server = server().await;
    let path = "/api/v1/namespaces/default/configmaps";
    let body = Full::new(Bytes::from_static(br#"{"metadata":{"name":"a"}}"#));
    handle(server.clone(), admin(), request(Method::POST, path, body)).await;
    get(&server, &format!("{path}/a")).await;
    get(&server, &format!("{path}/b")).await;
    get(&server, "/api/v1/configmaps").await;
    get(&server, "/apis/example.com/v1/made-up").await;
    let watch = request(Method::GET, &format!("{path}?watch=1"), Full::new(Bytes::new()));
    let mut events = handle(server.clone(), admin(), watch).await.into_body();
    events.frame().await.unwrap().unwrap();
    let (_, during) = get(&server, "/metrics").await;
    drop(events);
    let (_, after) = get(&server, "/metrics").await;
    let of = |page: &str, name: &str, labels: &str| {
        let line = page.lines().find(|line| {
            let (found, rest) = line.split_once('{').unwrap_or((line, ""));
            found == name && labels.split_whitespace().all(|label| rest.contains(label))
        });
        line.and_then(|line| line.rsplit_once(' ')).map_or("none".to_owned(), |(_, value)| value.to_owned())
    };
    let total = "apiserver_request_total";
    for (page, name, labels, expected) in [
        (
            &after,
            total,
            r#"code="201" resource="configmaps" verb="POST" scope="resource" group="" version="v1""#,
            "1",
        ),
        (&after, total, r#"code="200" resource="configmaps" verb="GET" scope="resource""#, "1"),
        (&after, total, r#"code="404" resource="configmaps" verb="GET" scope="resource""#, "1"),
        (&after, total, r#"code="200" resource="configmaps" verb="LIST" scope="cluster""#, "1"),
        (&after, total, r#"resource="made-up""#, "none"),
        (&during, total, r#"verb="WATCH""#, "none"),
        (&after, total, r#"verb="WATCH" scope="namespace""#, "1"),
        (&during, "apiserver_longrunning_requests", r#"verb="WATCH" resource="configmaps""#, "1"),
        (&after, "apiserver_longrunning_requests", r#"verb="WATCH" resource="configmaps""#, "0"),
        (&after, "kubernetes_feature_enabled", r#"name="WatchList" stage="BETA""#, "1"),
        (&after, "kubernetes_feature_enabled", r#"name="AllAlpha" stage="ALPHA""#, "0"),
        (&after, "apiserver_watch_events_total", r#"resource="configmaps""#, "1"),
        (&after, "apiserver_response_sizes_count", r#"verb="LIST""#, "1"),
        (&after, "apiserver_resource_objects", r#"resource="configmaps""#, "1"),
        (&after, "etcd_requests_total", r#"operation="create" resource="configmaps""#, "1"),
        (&after, "authenticated_user_requests", r#"username="admin""#, "8"),
    ] {
        assert_eq!(of(page, name, labels), expected, "{name} {labels}");
    }
    let admission = "apiserver_admission_controller_admission_duration_seconds_count";
    let labels = r#"name="NamespaceLifecycle" operation="CREATE" rejected="false" type="admit""#;
    assert_ne!(of(&after, admission, labels), "none");
}

#[tokio::test]
async fn the_future_of_a_request_is_small() {
    let body = Full::new(Bytes::new());
    let future = handle(server().await, admin(), request(Method::GET, "/api/v1/namespaces/default", body));
    // Every stream of a connection holds one, and it is moved when it starts.
    assert!(size_of_val(&future) < 4096, "{} bytes", size_of_val(&future));
}
