use bytes::Bytes;
use coracle_api::Object;
use coracle_store::{Embedded, Mode, Options, Write};
use http::Request;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

use super::{issuer::Issuer, *};
use crate::{
    ApiServer, codec,
    config::{Clock, Config},
    pipeline,
    registry::Rows,
    resources,
    watch::Hub,
};

const NOW: i64 = 1_800_000_000;

async fn server() -> Arc<ApiServer> {
    let hub = Arc::new(Hub::new(10));
    let store = Arc::new(Embedded::open(Options::new(Mode::Memory, hub.clone())).unwrap());
    let config = Config {
        clock: Clock::from(|| jiff::Timestamp::from_second(NOW).unwrap()),
        issuer: Some(Arc::new(Issuer::ephemeral().unwrap())),
        ..Config::default()
    };
    let registry = Registry::new(store, hub, config, Rows::new(resources::builtins()));
    for (key, object) in [
        ("serviceaccounts/ns/a", json!({ "metadata": { "name": "a", "namespace": "ns", "uid": "a-1" } })),
        (
            "pods/ns/p",
            json!({
                "metadata": { "name": "p", "namespace": "ns", "uid": "p-1" },
                "spec": { "serviceAccountName": "a", "nodeName": "n" },
            }),
        ),
        (
            "pods/ns/other",
            json!({ "metadata": { "name": "other", "namespace": "ns" }, "spec": { "serviceAccountName": "b" } }),
        ),
        ("secrets/ns/s", json!({ "metadata": { "name": "s", "namespace": "ns", "uid": "s-1" } })),
    ] {
        let value = codec::json::encode(&Object::from_value(object).unwrap());
        let key = format!("/registry/{key}").into();
        registry.store.commit(Write::Create { key, value, ttl: None }).await.unwrap();
    }
    ApiServer::new(registry)
}

// A signed token with these claims in place of those of a good one.
fn token(server: &ApiServer, changed: Value) -> String {
    let mut claims = json!({
        "iss": issuer::NAME, "aud": [issuer::NAME], "iat": NOW, "nbf": NOW, "exp": NOW + 600, "jti": "j",
        "kubernetes.io": { "namespace": "ns", "serviceaccount": { "name": "a", "uid": "a-1" } },
    });
    for (name, value) in changed.as_object().unwrap() {
        claims.as_object_mut().unwrap().insert(name.clone(), value.clone());
    }
    server.registry.config.issuer.as_ref().unwrap().sign(claims.as_object().unwrap()).unwrap()
}

async fn check(server: &ApiServer, changed: Value, expected: Result<&str, &str>) {
    let token = token(server, changed.clone());
    let known = service_account::authenticate(&server.registry, &token, service_account::AUDIENCES).await;
    let said = match &known {
        Ok(known) => Ok(known.user.name.as_str()),
        Err(reason) => Err(reason.as_deref().unwrap_or("foreign")),
    };
    assert_eq!(said, expected, "{changed}");
}

#[tokio::test]
async fn tokens_are_good_while_what_they_name_is_there() {
    let server = server().await;
    let bound = |of: Value| {
        let mut all = json!({ "namespace": "ns", "serviceaccount": { "name": "a", "uid": "a-1" } });
        all.as_object_mut().unwrap().extend(of.as_object().unwrap().clone());
        json!({ "kubernetes.io": all })
    };
    let account = |name: &str, uid: &str| bound(json!({ "serviceaccount": { "name": name, "uid": uid } }));
    let good = Ok("system:serviceaccount:ns:a");
    let invalidated = Err("service account token has been invalidated");
    for (changed, expected) in [
        (json!({}), good),
        (json!({ "iss": "https://elsewhere" }), Err("foreign")),
        (json!({ "exp": NOW - 59 }), good),
        (json!({ "exp": NOW - 61 }), Err("service account token has expired")),
        (json!({ "exp": null }), Err("service account token has expired")),
        (json!({ "nbf": NOW + 61 }), Err("service account token is not valid yet")),
        (json!({ "iat": NOW + 61 }), Err("service account token is issued in the future")),
        (
            json!({ "aud": ["x", "y"] }),
            Err("token audiences [\"x\" \"y\"] is invalid for the target audiences \
                 [\"https://kubernetes.default.svc\"]"),
        ),
        (account("b", "a-1"), Err("serviceaccounts \"b\" not found")),
        (account("a", "a-2"), Err("service account UID (a-1) does not match claim (a-2)")),
        (bound(json!({ "pod": { "name": "p", "uid": "p-1" }, "node": { "name": "n" } })), good),
        (bound(json!({ "pod": { "name": "q", "uid": "p-1" } })), invalidated),
        (
            bound(json!({ "pod": { "name": "p", "uid": "p-2" } })),
            Err("pod UID (p-1) does not match service account pod ref claim (p-2)"),
        ),
        (bound(json!({ "secret": { "name": "s", "uid": "s-1" } })), good),
        (bound(json!({ "node": { "name": "n", "uid": "n-1" } })), invalidated),
    ] {
        check(&server, changed, expected).await;
    }
}

// What the server answers: the status, and the object.
async fn ask(server: &Arc<ApiServer>, method: &str, path: &str, bearer: &str, body: Value) -> (u16, Value) {
    let peer = match bearer {
        "" => Peer::Known(Arc::new(User::authenticated("admin", &["system:masters"]))),
        _ => Peer::Unknown,
    };
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {bearer}"))
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))
        .unwrap();
    let response = pipeline::handle(server.clone(), peer, request).await;
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap())
}

fn request(spec: Value) -> Value {
    json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec })
}

#[tokio::test]
async fn a_token_that_was_asked_for_is_taken() {
    let server = server().await;
    let path = "/api/v1/namespaces/ns/serviceaccounts/a/token";
    let pod = json!({ "kind": "Pod", "apiVersion": "v1", "name": "p" });
    let asked = request(json!({ "expirationSeconds": 3607, "boundObjectRef": pod }));
    let (status, answer) = ask(&server, "POST", path, "", asked).await;
    assert_eq!((status, &answer["spec"]["expirationSeconds"]), (201, &json!(3607)));
    let token = answer["status"]["token"].as_str().unwrap();
    let claims = server.registry.config.issuer.as_ref().unwrap().open(token).unwrap();
    assert_eq!(claims["exp"], json!(NOW + 365 * 24 * 3600), "tokens of pods' volumes last a year");
    assert_eq!(claims["kubernetes.io"]["warnafter"], json!(NOW + 3607));
    let (status, answer) = ask(&server, "GET", "/api/v1/pods", token, Value::Null).await;
    let refused = "pods is forbidden: User \"system:serviceaccount:ns:a\" cannot list resource \"pods\" in API group \
                   \"\" at the cluster scope";
    assert_eq!((status, &answer["message"]), (403, &json!(refused)));
    assert_eq!(ask(&server, "GET", "/api/v1/pods", &format!("{token}A"), Value::Null).await.0, 401);
    let review = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": { "token": token },
    });
    let (_, answer) = ask(&server, "POST", "/apis/authentication.k8s.io/v1/tokenreviews", "", review).await;
    let groups = json!(["system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated"]);
    assert_eq!(answer["status"]["user"]["groups"], groups);
    assert_eq!(answer["status"]["user"]["extra"]["authentication.kubernetes.io/node-name"], json!(["n"]));
}

#[tokio::test]
async fn requests_for_tokens_are_refused_as_upstream_does() {
    let server = server().await;
    let pod = |name: &str, uid: &str| json!({ "kind": "Pod", "apiVersion": "v1", "name": name, "uid": uid });
    let bound = |of: Value| json!({ "boundObjectRef": of });
    for (account, spec, expected) in [
        ("none", json!({}), "serviceaccounts \"none\" not found"),
        (
            "a",
            json!({ "expirationSeconds": 5 }),
            "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: 5: may not \
             specify a duration less than 10 minutes",
        ),
        ("a", bound(pod("x", "")), "pods \"x\" not found"),
        (
            "a",
            bound(pod("other", "")),
            "cannot bind token for serviceaccount \"a\" to pod running with different serviceaccount name.",
        ),
        (
            "a",
            bound(json!({ "kind": "Foo", "apiVersion": "v1", "name": "x" })),
            "cannot bind token to object of type /v1, Kind=Foo",
        ),
        (
            "a",
            bound(pod("p", "p-2")),
            "Operation cannot be fulfilled on Pod \"p\": the UID in the bound object reference (p-2) does not match \
             the UID in record. The object might have been deleted and then recreated",
        ),
    ] {
        let path = format!("/api/v1/namespaces/ns/serviceaccounts/{account}/token");
        let (_, answer) = ask(&server, "POST", &path, "", request(spec)).await;
        assert_eq!(answer["message"], json!(expected));
    }
}
