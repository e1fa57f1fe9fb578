//! Extenders at loopback: what they are asked, and what becomes of their answers.

mod tls;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
};

use super::{Extender, Settings, Victims, passed, preemptible, score, validate};
use crate::{cache::NodeInfo, pod::PodInfo};

/// What was asked: the path, and the body.
type Asked = Arc<Mutex<Vec<(String, Value)>>>;

/// A server that answers `answer` to everything; without one it hangs.
async fn server(answer: Option<Value>, code: u16) -> (String, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Asked::default();
    let seen = asked.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, answer.clone(), code, seen.clone()));
        }
    });
    (format!("http://{address}/scheduler/"), asked)
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: Option<Value>,
    code: u16,
    asked: Asked,
) {
    let mut read = Vec::new();
    let (path, body) = loop {
        let mut chunk = [0; 4096];
        let count = stream.read(&mut chunk).await.unwrap_or(0);
        if count == 0 {
            return;
        }
        read.extend_from_slice(&chunk[..count]);
        let text = String::from_utf8_lossy(&read).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
        });
        if body.len() >= length.unwrap_or(0) {
            let path = head.split_whitespace().nth(1).unwrap_or_default().to_owned();
            break (path, serde_json::from_str(body).unwrap_or_default());
        }
    };
    asked.lock().push((path, body));
    let Some(answer) = answer else { return std::future::pending().await };
    let text = answer.to_string();
    let head = format!("HTTP/1.1 {code} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", text.len());
    let _closed = stream.write_all((head + &text).as_bytes()).await;
}

fn extenders(url: &str, fields: Value) -> Vec<Extender> {
    let mut settings = json!({"urlPrefix": url, "filterVerb": "filter", "prioritizeVerb": "prioritize",
        "preemptVerb": "preempt", "bindVerb": "bind", "weight": 2, "httpTimeout": "5s"});
    settings.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    Extender::all(&[serde_json::from_value::<Settings>(settings).unwrap()]).unwrap()
}

fn nodes(names: &[&str]) -> Vec<Arc<NodeInfo>> {
    let node = |name: &&str| {
        let node = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        Arc::new(NodeInfo { node: Some(Arc::new(node)), ..NodeInfo::default() })
    };
    names.iter().map(node).collect()
}

fn pod(name: &str) -> PodInfo {
    let pod = json!({"metadata": {"namespace": "n", "name": name, "uid": name}, "spec": {"containers": [
        {"name": "c", "resources": {"limits": {"example.com/x": "1"}}}]}});
    PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap()))
}

/// The nodes that are left; those refused, why, and whether for good.
type Filtered = (Vec<String>, Vec<(String, String, bool)>);

/// What is left of the nodes `a`, `b` and `c`, and why the others are not.
fn filtered(extenders: &[Extender]) -> Result<Filtered, String> {
    let mut rejected = Vec::new();
    let left = passed(extenders, &pod("p"), nodes(&["a", "b", "c"]), |node, why| {
        rejected.push((node, why.reasons.join(", "), why.resolvable));
    })?;
    Ok((left.iter().map(|node| node.name().to_owned()).collect(), rejected))
}

#[tokio::test(flavor = "multi_thread")]
async fn they_filter() {
    let answer = json!({"nodes": {"items": [{"metadata": {"name": "b"}}]},
        "failedNodes": {"a": "busy", "c": "busy"}, "failedAndUnresolvableNodes": {"c": "broken"}});
    let (url, asked) = server(Some(answer), 200).await;
    let expected =
        (vec!["b".into()], vec![("a".into(), "busy".into(), true), ("c".into(), "broken".into(), false)]);
    assert_eq!(filtered(&extenders(&url, json!({}))), Ok(expected));
    let (path, body) = asked.lock().first().cloned().unwrap();
    assert_eq!(path, "/scheduler/filter");
    assert_eq!((&body["Pod"]["metadata"]["name"], &body["NodeNames"]), (&json!("p"), &json!(null)));
    assert_eq!(body["Nodes"]["items"].as_array().map(Vec::len), Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn they_filter_by_name_when_they_know_the_nodes() {
    let (url, asked) = server(Some(json!({"NodeNames": ["a", "c"], "FailedNodes": null})), 200).await;
    let by_name = extenders(&url, json!({"nodeCacheCapable": true}));
    assert_eq!(filtered(&by_name), Ok((vec!["a".into(), "c".into()], vec![])));
    assert_eq!(asked.lock()[0].1["NodeNames"], json!(["a", "b", "c"]));
    let (url, _) = server(Some(json!({"NodeNames": ["z"]})), 200).await;
    let strange = filtered(&extenders(&url, json!({"nodeCacheCapable": true})));
    assert!(strange.unwrap_err().contains("claims a filtered node \"z\" which is not found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_hangs_or_fails_is_not_waited_for() {
    let (url, _) = server(None, 200).await;
    let began = Instant::now();
    let hangs = filtered(&extenders(&url, json!({"httpTimeout": "200ms"})));
    let prefix = url.trim_end_matches('/');
    let expected = format!(
        "Post \"{prefix}/filter\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
    );
    assert_eq!(hangs, Err(expected));
    assert!(began.elapsed() < Duration::from_secs(3));
    let all = Ok((vec!["a".into(), "b".into(), "c".into()], vec![]));
    assert_eq!(filtered(&extenders(&url, json!({"httpTimeout": "200ms", "ignorable": true}))), all);
    let (url, _) = server(Some(json!({})), 500).await;
    let prefix = url.trim_end_matches('/');
    let failed = format!("failed filter with extender at URL {prefix}/filter, code 500");
    assert_eq!(filtered(&extenders(&url, json!({}))), Err(failed));
    let (url, _) = server(Some(json!({"Error": "no idea"})), 200).await;
    assert_eq!(filtered(&extenders(&url, json!({}))), Err("no idea".into()));
    assert!(filtered(&extenders("http://127.0.0.1:1", json!({}))).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_asked_only_of_pods_that_concern_them() {
    let (url, asked) = server(Some(json!({"NodeNames": []})), 200).await;
    let managing = |name: &str| json!({"nodeCacheCapable": true, "managedResources": [{"name": name}]});
    assert_eq!(filtered(&extenders(&url, managing("example.com/y"))).unwrap().0.len(), 3);
    assert_eq!(asked.lock().len(), 0);
    assert_eq!(filtered(&extenders(&url, managing("example.com/x"))).unwrap().0.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn they_score() {
    let (url, _) = server(Some(json!([{"host": "b", "score": 3}, {"Host": "x", "Score": 9}])), 200).await;
    let mut totals = vec![1, 1];
    score(&extenders(&url, json!({})), &pod("p"), &nodes(&["a", "b"]), &mut totals);
    assert_eq!(totals, [1, 61]);
    let (url, _) = server(Some(json!("nonsense")), 200).await;
    score(&extenders(&url, json!({})), &pod("p"), &nodes(&["a", "b"]), &mut totals);
    assert_eq!(totals, [1, 61], "who does not answer gives nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn they_have_a_say_in_who_goes() {
    let victims = || -> Victims {
        let of = |name: &str| (vec![Arc::new(pod(name))], 0);
        [("a".to_owned(), of("v")), ("b".to_owned(), of("w"))].into()
    };
    let on = |_: &str, uid: &str| (uid == "w").then(|| Arc::new(pod("w")));
    let answer =
        |uid: &str| json!({"nodeNameToMetaVictims": {"b": {"pods": [{"uid": uid}], "numPDBViolations": 1}}});
    let (url, asked) = server(Some(answer("w")), 200).await;
    let left = preemptible(&extenders(&url, json!({})), &pod("p"), victims(), on).unwrap();
    let left: Vec<_> =
        left.iter().map(|(node, (pods, violations))| (node.as_str(), pods.len(), *violations)).collect();
    assert_eq!(left, [("b", 1, 1)]);
    assert_eq!(asked.lock()[0].1["NodeNameToVictims"]["a"]["Pods"][0]["metadata"]["name"], json!("v"));
    let (url, _) = server(Some(answer("gone")), 200).await;
    let gone = preemptible(&extenders(&url, json!({})), &pod("p"), victims(), on).err().unwrap();
    assert!(gone.contains("but the pod is not found on that node"), "{gone}");
}

#[tokio::test(flavor = "multi_thread")]
async fn they_bind() {
    let (url, asked) = server(Some(json!({})), 200).await;
    let bound = extenders(&url, json!({}))[0].bind(&pod("p"), "a").await;
    assert_eq!(bound, Some(Ok(())));
    let expected = json!({"PodName": "p", "PodNamespace": "n", "PodUID": "p", "Node": "a"});
    assert_eq!(asked.lock()[0].1, expected);
    let (url, _) = server(Some(json!({"error": "no"})), 200).await;
    assert_eq!(extenders(&url, json!({}))[0].bind(&pod("p"), "a").await, Some(Err("no".into())));
    assert_eq!(extenders(&url, json!({"ignorable": true}))[0].bind(&pod("p"), "a").await, None);
    assert_eq!(extenders(&url, json!({"bindVerb": ""}))[0].bind(&pod("p"), "a").await, None);
}

#[test]
fn what_cannot_be_is_refused() {
    let check = |fields: Vec<Value>, expected: Option<&str>| {
        let settings: Vec<Settings> =
            fields.into_iter().map(|it| serde_json::from_value(it).unwrap()).collect();
        let error = validate(&settings).err().map(|error| error.to_string());
        assert!(error.as_deref().unwrap_or_default().contains(expected.unwrap_or_default()), "{error:?}");
        assert_eq!(error.is_some(), expected.is_some());
    };
    let with = |fields: Value| {
        let mut settings = json!({"urlPrefix": "http://x"});
        settings.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        settings
    };
    check(vec![with(json!({"filterVerb": "f"}))], None);
    check(vec![with(json!({"prioritizeVerb": "p"}))], Some("must have a positive weight"));
    check(
        vec![with(json!({"bindVerb": "b"})), with(json!({"bindVerb": "b"}))],
        Some("only one extender can implement bind"),
    );
    check(vec![json!({"filterVerb": "f"})], Some("urlPrefix"));
    let managed = || with(json!({"managedResources": [{"name": "a/b"}]}));
    check(vec![managed(), managed()], Some("duplicate extender managed resource name"));
}
