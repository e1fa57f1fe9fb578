//! What holds for any object: the real kube-apiserver and ours read, refuse, write, apply and patch it alike.
//!
//! A case is made of its seed, for the kind whose turn it is: an object, nearly valid, which is posted in JSON and in
//! protobuf and answered in both; two that are applied over each other; one that is patched in each way. What the
//! reference refuses counts too, and is mended by what it complains of until it is taken.
//!
//! - `CORACLE_PROPERTIES=5000`: how many cases (one of each kind);
//! - `CORACLE_PROPERTIES_SEED=7`: the first (1);
//! - `CORACLE_PROPERTIES_ONLY=TEXT`: only kinds with TEXT in `VERSION KIND`;
//! - `CORACLE_PROPERTIES_LOG=1`: shows all that is asked and answered.

mod both;
mod chance;
mod generate;
mod kinds;
mod patches;
mod words;

use std::env;
use std::path::Path;
use std::time::Instant;

use apiserver_lite::codec::protobuf::write;
use apiserver_lite::schema::decode;
use coracle_api::GroupVersionKind;
use serde_json::{Map, Value, json};

use crate::exchange::Exchange;
use crate::party::{Party, not_run};
use crate::side::{Answer, Body};
use both::Both;
use chance::Chance;
use generate::Generator;
use kinds::Kind;

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// What is refused is mended so often.
const ROUNDS: usize = 7;
/// Patches of an object.
const PATCHES: usize = 3;
/// So many cases need every allowance.
const WHOLE: usize = 2000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn properties() -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let here = root.join("tests/differential");
    let number = |name: &str| -> Option<u64> { env::var(name).ok()?.parse().ok() };
    let only = env::var("CORACLE_PROPERTIES_ONLY").unwrap_or_default();
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let _turn = crate::TURN.lock().await;
    let Some(mut reference) = Party::reference(root, directory.path()).await? else {
        return not_run("properties");
    };
    let mut ours = Party::ours(directory.path()).await?;
    let kinds = Kind::all(&here.join("exchanges/whole.yaml"), &crate::run_name())?;
    let meant = |kind: &&Kind| format!("{} {}", kind.version, kind.kind).contains(&only);
    let count = number("CORACLE_PROPERTIES").unwrap_or(kinds.len() as u64);
    let first = number("CORACLE_PROPERTIES_SEED").unwrap_or(1);
    let began = Instant::now();
    let mut both = Both::new(&mut reference.side, &mut ours.side, &here, crate::yesterday())?;
    for kind in kinds.iter().filter(meant) {
        furnish(&mut both, kind).await;
    }
    for seed in first..first + count {
        let Some(kind) = kinds.get(seed as usize % kinds.len()).filter(meant) else { continue };
        both.begin(format!("{seed} {} {}", kind.version, kind.kind));
        case(&mut both, kind, seed).await;
    }
    both.tally.print_common();
    println!("{} of {count} cases from {first} on, in {:.0?}", both.tally, began.elapsed());
    if count >= WHOLE as u64 && only.is_empty() {
        both.unused().for_each(|allowance| println!("allowed, but not needed: {allowance}"));
    }
    let (different, outcome) = (both.tally.different, both.tally.to_string());
    ours.stop().await?;
    reference.stop().await?;
    if different > 0 { Err(outcome) } else { Ok(()) }
}

/// The kind's namespace, as controllers would leave it.
async fn furnish(both: &mut Both<'_>, kind: &Kind) {
    let ns = &kind.namespace;
    let namespace = json!({ "metadata": { "name": ns } });
    both.furnish(&posted("namespace", "/api/v1/namespaces", namespace)).await;
    let account = json!({ "metadata": { "name": "default" } });
    both.furnish(&posted("account", &format!("/api/v1/namespaces/{ns}/serviceaccounts"), account)).await;
}

async fn case(both: &mut Both<'_>, kind: &Kind, seed: u64) {
    let mut chance = Chance::new(seed);
    let name = kind.name_for(seed);
    let valid = wire(both, kind, &mut chance, &name).await;
    if !kind.is_stored() {
        return;
    }
    applied(both, kind, &mut chance, &name).await;
    patched(both, kind, &mut chance, &valid, &name).await;
}

fn posted(name: &str, url: &str, body: Value) -> Exchange {
    Exchange { name: name.into(), request: format!("POST {url}"), body: Some(body), ..Exchange::default() }
}

/// Posts an object that is mended until it is taken; in every form then. Returns what was taken, or the kind's own.
async fn wire(both: &mut Both<'_>, kind: &Kind, chance: &mut Chance, name: &str) -> Value {
    let mut object = generate::object(chance, kind, name);
    let mut base = kind.base.clone();
    base["metadata"] = json!({ "name": name });
    let validation = ["", "&fieldValidation=Strict", "&fieldValidation=Warn"][chance.below(3)];
    let url = format!("{}?dryRun=All{validation}", kind.url);
    for _ in 0..=ROUNDS {
        let answer = both.ask(&posted("json", &url, object.clone())).await;
        if answer.status < 400 {
            forms(both, kind, &url, &object).await;
            return object;
        }
        let Body::Tree(status) = &answer.body else { break };
        if !generate::mended(&mut object, &base, status) {
            break;
        }
    }
    let mut plain = base;
    plain["apiVersion"] = kind.version.clone().into();
    plain["kind"] = kind.kind.clone().into();
    plain
}

/// JSON to protobuf, and protobuf to both.
async fn forms(both: &mut Both<'_>, kind: &Kind, url: &str, object: &Value) {
    let mut exchange = posted("json to protobuf", url, object.clone());
    exchange.headers.insert("Accept".into(), PROTOBUF.into());
    both.ask(&exchange).await;
    let (group, version) = kind.version.rsplit_once('/').unwrap_or(("", &kind.version));
    let gvk = GroupVersionKind {
        group: group.to_owned().into(),
        version: version.to_owned().into(),
        kind: kind.kind.clone().into(),
    };
    let Ok(decoded) = decode::value(object, &gvk, &kind.schema) else { return };
    let message = write::message(&decoded.object.0, &kind.schema);
    let mut exchange = posted("protobuf", url, object.clone());
    exchange.bytes = Some(write::envelope(&kind.version, &kind.kind, &message));
    both.ask(&exchange).await;
    exchange.name = "protobuf to protobuf".into();
    exchange.headers.insert("Accept".into(), PROTOBUF.into());
    both.ask(&exchange).await;
}

fn apply(kind: &Kind, name: &str, manager: &str, more: &str, body: Value) -> Exchange {
    Exchange {
        name: format!("apply {manager}{more}"),
        request: format!("PATCH {}/{name}?fieldManager={manager}{more}", kind.url),
        content_type: Some("application/apply-patch+yaml".into()),
        body: Some(body),
        ..Exchange::default()
    }
}

/// Two managers apply objects over each other: with and without force, more and less.
async fn applied(both: &mut Both<'_>, kind: &Kind, chance: &mut Chance, name: &str) {
    let name = &match kind.kind.as_str() {
        "IPAddress" | "CustomResourceDefinition" | "APIService" => name.to_owned(),
        _ => format!("{name}-a"),
    };
    let mut base = kind.base.clone();
    base["metadata"] = json!({ "name": name });
    let (mut one, mut two) = (generate::object(chance, kind, name), generate::object(chance, kind, name));
    let kept = if kind.is_harmless() { "" } else { "&dryRun=All" };
    if !kind.is_harmless() {
        one = base.clone();
        one["apiVersion"] = kind.version.clone().into();
        one["kind"] = kind.kind.clone().into();
    }
    let taken = mend(both, &base, &mut one, |object| apply(kind, name, "one", "", object)).await;
    if taken {
        mend(both, &base, &mut two, |object| apply(kind, name, "two", kept, object)).await;
        both.ask(&apply(kind, name, "two", &format!("{kept}&force=true"), two.clone())).await;
        let less = lessened(chance, &one, 0);
        both.ask(&apply(kind, name, "one", kept, less)).await;
        let bare = json!({ "apiVersion": kind.version, "kind": kind.kind, "metadata": { "name": name } });
        both.ask(&apply(kind, name, "two", kept, bare)).await;
        let read = Exchange {
            name: "read what was applied".into(),
            request: format!("GET {}/{name}", kind.url),
            ..Exchange::default()
        };
        both.ask(&read).await;
    }
    clear(both, kind, name).await;
}

/// Asks, and mends what is refused, until it is taken; false if it never is.
async fn mend(
    both: &mut Both<'_>,
    base: &Value,
    object: &mut Value,
    exchange: impl Fn(Value) -> Exchange,
) -> bool {
    for _ in 0..=ROUNDS {
        let answer: Answer = both.ask(&exchange(object.clone())).await;
        if answer.status < 400 {
            return true;
        }
        // Conflicts are what it is about.
        let Body::Tree(status) = &answer.body else { return false };
        if answer.status != 422 || !generate::mended(object, base, status) {
            break;
        }
    }
    false
}

/// Without some of its fields.
fn lessened(chance: &mut Chance, object: &Value, depth: usize) -> Value {
    match object {
        Value::Object(fields) => {
            let kept: Map<String, Value> = fields
                .iter()
                .filter(|(name, _)| {
                    depth == 0 || matches!(name.as_str(), "name" | "key" | "type") || !chance.percent(12)
                })
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
            Value::Object(
                kept.into_iter().map(|(name, value)| (name, lessened(chance, &value, depth + 1))).collect(),
            )
        }
        Value::Array(items) => {
            let kept: Vec<&Value> = items.iter().filter(|_| !chance.percent(12)).collect();
            kept.into_iter().map(|item| lessened(chance, item, depth + 1)).collect()
        }
        other => other.clone(),
    }
}

/// Patches an object in each way, without storing what comes of it.
async fn patched(both: &mut Both<'_>, kind: &Kind, chance: &mut Chance, object: &Value, name: &str) {
    let mut object = object.clone();
    if !kind.is_harmless() {
        object = kind.base.clone();
        object["metadata"] = json!({ "name": name });
    }
    if kind.kind == "Pod" {
        // The volume of a token has a name that each server makes up.
        object["spec"]["automountServiceAccountToken"] = false.into();
    }
    let created = both.ask(&posted("create", &kind.url, object)).await;
    let live = match &created.body {
        Body::Tree(live) if created.status < 400 => live.clone(),
        _ => return,
    };
    let fields = live.as_object().cloned().unwrap_or_default();
    let patch = |way: &str, content_type: &str, body: Value| Exchange {
        name: way.into(),
        request: format!("PATCH {}/{name}?dryRun=All&fieldManager=patcher", kind.url),
        content_type: Some(content_type.into()),
        body: Some(body),
        ..Exchange::default()
    };
    for _ in 0..PATCHES {
        let mut generator = Generator::new(chance);
        let body = patches::strategic(&mut generator, &kind.schema, &fields, 0);
        both.ask(&patch("strategic", "application/strategic-merge-patch+json", body)).await;
        let body = patches::merge(&mut generator, &kind.schema, &fields, 0);
        both.ask(&patch("merge", "application/merge-patch+json", body)).await;
        let body = patches::json(&mut generator, &live);
        both.ask(&patch("json patch", "application/json-patch+json", body)).await;
    }
    clear(both, kind, name).await;
}

/// Takes an object away again, and what would hold it.
async fn clear(both: &mut Both<'_>, kind: &Kind, name: &str) {
    let free = Exchange {
        name: "free".into(),
        request: format!("PATCH {}/{name}", kind.url),
        content_type: Some("application/merge-patch+json".into()),
        body: Some(json!({ "metadata": { "finalizers": null } })),
        ..Exchange::default()
    };
    both.furnish(&free).await;
    let delete = Exchange {
        name: "delete".into(),
        request: format!("DELETE {}/{name}?gracePeriodSeconds=0", kind.url),
        ..Exchange::default()
    };
    both.furnish(&delete).await;
}
