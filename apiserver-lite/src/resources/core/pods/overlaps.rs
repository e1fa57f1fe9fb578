//! Files of one volume that are in each other's way: the same path, or one
//! below the other.

use coracle_api::field::go_quote;
use serde_json::Value;

struct File {
    path: String,
    source: String,
}

impl File {
    fn new(path: &Value, source: &str) -> Self {
        let path = path.as_str().unwrap_or_default().trim_end_matches('/');
        Self { path: path.to_owned(), source: source.to_owned() }
    }

    fn shown(&self) -> String {
        let path = go_quote(&self.path);
        if self.source.is_empty() { path } else { format!("{path} ({})", self.source) }
    }

    fn clashes(&self, other: &Self) -> bool {
        let (own, other) = (format!("{}/", self.path), format!("{}/", other.path));
        own.starts_with(&other) || other.starts_with(&own)
    }
}

/// The warnings about a pod's volumes.
pub fn of(volumes: &[Value]) -> Vec<String> {
    let mut out = Vec::new();
    for volume in volumes {
        let name = go_quote(volume["name"].as_str().unwrap_or_default());
        let text = |source: &str, field: &str| go_quote(volume[source][field].as_str().unwrap_or_default());
        for (source, shown) in [
            ("configMap", format!("ConfigMap {}", text("configMap", "name"))),
            ("secret", format!("Secret {}", text("secret", "secretName"))),
            ("downwardAPI", "DownwardAPI".to_owned()),
        ] {
            let files = items(&volume[source], "");
            out.extend(
                clashes(files)
                    .into_iter()
                    .map(|it| format!("volume {name} ({shown}): overlapping paths: {it}")),
            );
        }
        let Some(sources) = volume["projected"]["sources"].as_array() else { continue };
        let mut files = Vec::new();
        for source in sources {
            if source.as_object().is_none_or(|fields| fields.values().all(Value::is_null)) {
                out.push(format!("volume {name} (Projected) has no sources provided"));
            }
            files.extend(projected(source));
        }
        out.extend(
            clashes(files)
                .into_iter()
                .map(|it| format!("volume {name} (Projected): overlapping paths: {it}")),
        );
    }
    out
}

fn items(source: &Value, shown: &str) -> Vec<File> {
    let items = source["items"].as_array().into_iter().flatten();
    items.map(|item| File::new(&item["path"], shown)).collect()
}

fn projected(source: &Value) -> Vec<File> {
    let quoted = |value: &Value| go_quote(value.as_str().unwrap_or_default());
    let set = |field: &str| source.get(field).filter(|it| !it.is_null());
    if let Some(map) = set("configMap").filter(|it| it.get("items").is_some()) {
        return items(map, &format!("ConfigMap {}", quoted(&map["name"])));
    }
    if let Some(secret) = set("secret").filter(|it| it.get("items").is_some()) {
        return items(secret, &format!("Secret {}", quoted(&secret["name"])));
    }
    if let Some(downward) = set("downwardAPI").filter(|it| it.get("items").is_some()) {
        return items(downward, "DownwardAPI");
    }
    if let Some(token) = set("serviceAccountToken") {
        return vec![File::new(&token["path"], "ServiceAccountToken")];
    }
    if let Some(bundle) = set("clusterTrustBundle") {
        let name = if bundle["name"].is_null() { &bundle["signerName"] } else { &bundle["name"] };
        return vec![File::new(&bundle["path"], &format!("ClusterTrustBundle {}", quoted(name)))];
    }
    let Some(certificate) = set("podCertificate") else { return Vec::new() };
    let files = [
        ("certificateChainPath", "PodCertificate chain"),
        ("keyPath", "PodCertificate key"),
        ("credentialBundlePath", "PodCertificate credential bundle"),
    ];
    let set = files.into_iter().filter(|(field, _)| certificate.get(*field).is_some());
    set.map(|(field, shown)| File::new(&certificate[field], shown)).collect()
}

// More files than that are not compared with each other.
const MOST: usize = 1000;

fn clashes(files: Vec<File>) -> Vec<String> {
    let files: Vec<File> = files.into_iter().filter(|file| !file.path.is_empty()).take(MOST).collect();
    let mut out = Vec::new();
    for (index, file) in files.iter().enumerate() {
        let before = files[..index].iter().filter(|other| file.clashes(other));
        out.extend(before.map(|other| format!("{} with {}", file.shown(), other.shown())));
    }
    out
}
