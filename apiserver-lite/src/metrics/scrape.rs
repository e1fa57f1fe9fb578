//! `/metrics` and `/metrics/slis`.

use coracle_api::metrics::{self, Gathered, Sample};
use coracle_store::Range;
use http::{HeaderMap, HeaderValue, Response, header};

use super::{facts, process};
use crate::{
    ApiServer,
    body::Body,
    health,
    registry::{Registry, rows},
    request::RequestInfo,
};

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";
const PROTOBUF: &str = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; \
                        encoding=delimited; escaping=underscores";

/// Answers, if the path is one of these.
pub async fn answer(server: &ApiServer, info: &RequestInfo, headers: &HeaderMap) -> Option<Response<Body>> {
    let registry = &server.registry;
    let slis = match info.path.trim_end_matches('/') {
        "/metrics" => false,
        "/metrics/slis" => true,
        _ => return None,
    };
    let pages = if slis { &registry.metrics.health.registry } else { &*registry.metrics.registry };
    if info.verb == "delete" {
        pages.reset();
        let mut response = Response::new(Body::from("metrics reset\n".to_owned()));
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, text);
        return Some(response);
    }
    let mut families = pages.gather();
    if slis {
        let started = process::started().map(|at| Sample::number(&[], at)).into_iter().collect();
        families.push(Gathered { desc: &facts::START_TIME, samples: started });
    } else {
        process::gather(&mut families);
        versions(&mut families);
        families.push(features());
        watched(registry, &mut families);
        stored(registry, &mut families).await;
    }
    let families = metrics::merged(families);
    let protobuf = wants_protobuf(headers);
    let body = if protobuf {
        Body::from(bytes::Bytes::from(metrics::write_protobuf(&families)))
    } else {
        Body::from(metrics::write_text(&families))
    };
    let mut response = Response::new(body);
    let kind = HeaderValue::from_static(if protobuf { PROTOBUF } else { TEXT });
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    if let Some(started) = process::started() {
        let value = HeaderValue::from(started as u64);
        response.headers_mut().insert("process-start-time-unix", value);
    }
    Some(response)
}

// The clause of the best quality that names a form we have: the delimited
// protobuf one, or text. Anything else is text too; there is no OpenMetrics.
fn wants_protobuf(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut clauses: Vec<(f32, bool)> = Vec::new();
    for clause in accept.split(',') {
        let mut parts = clause.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        let (mut quality, mut proto, mut encoding, mut version) = (1.0, "", "", "");
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            match name.trim() {
                "q" => quality = value.parse().unwrap_or(1.0),
                "proto" => proto = value,
                "encoding" => encoding = value,
                "version" => version = value,
                _ => {}
            }
        }
        match kind {
            "application/vnd.google.protobuf"
                if proto == "io.prometheus.client.MetricFamily" && encoding == "delimited" =>
            {
                clauses.push((quality, true));
            }
            "text/plain" if matches!(version, "" | "0.0.4") => clauses.push((quality, false)),
            _ => {}
        }
    }
    // Of equal ones the first: the sort is stable.
    clauses.sort_by(|a, b| b.0.total_cmp(&a.0));
    clauses.first().is_some_and(|(_, protobuf)| *protobuf)
}

fn versions(out: &mut Vec<Gathered>) {
    let platform = health::platform();
    let build = ["1", "37", health::KUBERNETES, "", "clean", "1970-01-01T00:00:00Z", "", "rustc", &platform];
    let version = ["kube", health::KUBERNETES.trim_start_matches('v'), "1.37", "1.36"];
    for (desc, labels) in [(&facts::BUILD, &build[..]), (&facts::VERSION, &version)] {
        out.push(Gathered { desc, samples: vec![Sample::number(labels, 1.0)] });
    }
}

// The gates of the v1.37 that this server is to its clients, each as upstream has it by default: `features.tsv` is what
// the real kube-apiserver tells.
fn features() -> Gathered {
    let sample = |line: &'static str| {
        let mut fields = line.split('\t');
        let (name, stage, enabled) = (fields.next()?, fields.next()?, fields.next()?);
        Some(Sample::number(&[name, stage], enabled.parse().ok()?))
    };
    let samples = include_str!("features.tsv").lines().filter_map(sample).collect();
    Gathered { desc: &facts::FEATURES, samples }
}

// The histories that watches read stand where upstream has its caches.
fn watched(registry: &Registry, out: &mut Vec<Gathered>) {
    let (mut received, mut revisions, mut capacities) = (Vec::new(), Vec::new(), Vec::new());
    for (labels, prefix) in kept(registry) {
        let labels = labels.each_ref().map(String::as_str);
        let feed = registry.hub.feed(&prefix);
        received.push(Sample::number(&labels, feed.received() as f64));
        revisions.push(Sample::number(&labels, (registry.hub.revision().0 % 1_000_000_000_000_000) as f64));
        capacities.push(Sample::number(&labels, registry.config.history as f64));
    }
    out.push(Gathered { desc: &facts::CACHE_RECEIVED, samples: received });
    out.push(Gathered { desc: &facts::CACHE_REVISION, samples: revisions });
    out.push(Gathered { desc: &facts::CACHE_CAPACITY, samples: capacities });
}

async fn stored(registry: &Registry, out: &mut Vec<Gathered>) {
    let mut counts = Vec::new();
    for (labels, prefix) in kept(registry) {
        let range = Range { prefix: prefix.into(), after: None, limit: 1 };
        let count = match registry.store.range(range, None).await {
            Ok(page) => (page.records.len() + page.remaining) as f64,
            Err(_) => -1.0,
        };
        counts.push(Sample::number(&labels.each_ref().map(String::as_str), count));
    }
    out.push(Gathered { desc: &facts::STORED_OBJECTS, samples: counts });
    let size = Sample::number(&["etcd-0"], registry.store.size() as f64);
    out.push(Gathered { desc: &facts::STORED_BYTES, samples: vec![size] });
}

// Group and plural of what is stored, once for all its versions, and where.
fn kept(registry: &Registry) -> Vec<([String; 2], String)> {
    let mut all: Vec<([String; 2], String)> = Vec::new();
    for row in registry.rows().all().iter().filter(|row| !row.facts.storage.is_empty()) {
        let prefix = rows::prefix(&row.facts);
        if !all.iter().any(|(_, known)| *known == prefix) {
            let group = row.facts.storage_version.group.to_string();
            all.push(([group, row.facts.plural.to_string()], prefix));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(accept: &str, protobuf: bool) {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_str(accept).expect("a header"));
        assert_eq!(wants_protobuf(&headers), protobuf, "{accept}");
    }

    #[test]
    fn forms_as_upstream_chooses_them() {
        let delimited =
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
        check("*/*", false);
        check("application/openmetrics-text; version=1.0.0", false);
        check(delimited, true);
        check("application/vnd.google.protobuf", false);
        check("text/plain;version=1.0.0", false);
        check(&format!("{delimited};q=0.6,text/plain;version=0.0.4;q=0.7"), false);
        check(&format!("{delimited};q=0.7,text/plain;version=0.0.4;q=0.3,*/*;q=0.1"), true);
        check(&format!("text/plain,{delimited}"), false);
    }
}
