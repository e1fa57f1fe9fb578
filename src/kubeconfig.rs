//! Kubeconfig files: writing the cluster's own, merging into the user's.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_yaml_ng::{Mapping, Value};

use crate::{data_dir::write_private, pki::Pki};

/// The name of the context, the cluster and the user.
pub const NAME: &str = "coracle";

/// Why a kubeconfig was not written.
#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    /// The file cannot be read or written.
    #[error("{path}: {error}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file is no kubeconfig. It was left as it is.
    #[error("{path} is not a kubeconfig: {reason}; it was left as it is")]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// The URL of a server that listens at `address`: one at all addresses is reached
/// at the loopback address.
pub fn url(address: SocketAddr) -> String {
    let loopback = match address {
        SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::LOCALHOST),
        SocketAddr::V6(_) => IpAddr::from(Ipv6Addr::LOCALHOST),
    };
    let ip = if address.ip().is_unspecified() { loopback } else { address.ip() };
    format!("https://{}", SocketAddr::new(ip, address.port()))
}

/// The kubeconfig of the administrator of the cluster at `url`.
pub fn administrator(url: &str, pki: &Pki) -> Value {
    let encoded = |text: &str| STANDARD.encode(text);
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: {NAME}\npreferences: {{}}\n\
         clusters:\n- name: {NAME}\n  cluster:\n    server: {url}\n    certificate-authority-data: {}\n\
         contexts:\n- name: {NAME}\n  context:\n    cluster: {NAME}\n    user: {NAME}\n\
         users:\n- name: {NAME}\n  user:\n    client-certificate-data: {}\n    client-key-data: {}\n",
        encoded(&pki.authority.certificate),
        encoded(&pki.admin.certificate),
        encoded(&pki.admin.key),
    );
    serde_yaml_ng::from_str(&text).unwrap_or_default()
}

/// Writes a kubeconfig to a file of its own.
///
/// # Errors
/// `File`
pub fn write(path: &Path, config: &Value) -> Result<(), KubeconfigError> {
    let text = serde_yaml_ng::to_string(config).unwrap_or_default();
    let failed = |error| KubeconfigError::File { path: path.to_owned(), error };
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    write_private(path, text.as_bytes()).map_err(failed)
}

/// Puts the entries of `config` into the kubeconfig at `path` and makes its
/// context the current one. All other entries stay.
///
/// # Errors
/// `Malformed` for a file that is no kubeconfig; it is not touched.
pub fn merge(path: &Path, config: &Value) -> Result<(), KubeconfigError> {
    // A link stays a link: what it leads to is written.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return write(path, config),
        Err(error) => return Err(KubeconfigError::File { path: path.clone(), error }),
    };
    let malformed =
        |reason: &str| KubeconfigError::Malformed { path: path.clone(), reason: reason.to_owned() };
    let mut merged: Value = serde_yaml_ng::from_str(&text).map_err(|error| malformed(&error.to_string()))?;
    if merged.is_null() {
        return write(path, config);
    }
    let Some(map) = merged.as_mapping_mut() else { return Err(malformed("it is no map")) };
    for list in ["clusters", "contexts", "users"] {
        upsert(map, config, list).map_err(malformed)?;
    }
    map.insert("current-context".into(), NAME.into());
    if serde_yaml_ng::from_str::<Value>(&text).ok().as_ref() == Some(&merged) {
        return Ok(());
    }
    write(path, &merged)
}

fn upsert(map: &mut Mapping, config: &Value, list: &str) -> Result<(), &'static str> {
    let Some(ours) = config.get(list).and_then(|it| it.get(0)) else { return Ok(()) };
    let slot = map.entry(list.into()).or_insert(Value::Null);
    if slot.is_null() {
        *slot = Value::Sequence(Vec::new());
    }
    let Some(entries) = slot.as_sequence_mut() else { return Err("clusters, contexts and users are lists") };
    match entries.iter_mut().find(|entry| entry.get("name").and_then(Value::as_str) == Some(NAME)) {
        Some(entry) => *entry = ours.clone(),
        None => entries.push(ours.clone()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pki() -> Pki {
        let pair = || crate::pki::Pair { certificate: "c".to_owned(), key: "k".to_owned() };
        Pki { authority: pair(), server: pair(), admin: pair(), token_key: String::new() }
    }

    #[test]
    fn merging_keeps_everything_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config");
        let theirs = "apiVersion: v1\nkind: Config\ncurrent-context: work\nclusters:\n- name: work\n  cluster: {server: https://work, proxy-url: p}\ncontexts:\n- name: work\n  context: {cluster: work, user: me, namespace: n}\nusers:\n- name: me\n  user: {token: t}\nextensions:\n- name: x\n  extension: {a: 1}\n";
        fs::write(&path, theirs).unwrap();
        for url in ["https://127.0.0.1:1", "https://127.0.0.1:2"] {
            merge(&path, &administrator(url, &pki())).unwrap();
        }
        let mut merged: Value = serde_yaml_ng::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(merged["current-context"], Value::from(NAME));
        assert_eq!(merged["clusters"][1]["cluster"]["server"], Value::from("https://127.0.0.1:2"));
        for list in ["clusters", "contexts", "users"] {
            assert_eq!(merged[list].as_sequence_mut().unwrap().pop().unwrap()["name"], Value::from(NAME));
        }
        merged["current-context"] = "work".into();
        assert_eq!(merged, serde_yaml_ng::from_str::<Value>(theirs).unwrap());
    }

    #[test]
    fn what_is_no_kubeconfig_is_not_touched() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config");
        for text in ["- a list", "clusters: text\n", "a: [\n"] {
            fs::write(&path, text).unwrap();
            assert!(merge(&path, &administrator("https://127.0.0.1:1", &pki())).is_err(), "{text}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }
}
