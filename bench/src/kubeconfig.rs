//! A kubeconfig, read: where a cluster's API is, whom to trust, who one is.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;

/// Who a request comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// PEM of the client certificate (chain) and of its key.
    pub certificate: Option<(Vec<u8>, Vec<u8>)>,
    /// A bearer token.
    pub token: Option<String>,
}

/// How to reach one cluster.
#[derive(Clone, Debug)]
pub struct Access {
    /// Host name or address of the API server.
    pub host: String,
    /// Its TCP port.
    pub port: u16,
    /// PEM of the authority that signed the server's certificate.
    pub authority: Vec<u8>,
    /// Who the kubeconfig says one is.
    pub credentials: Credentials,
}

/// Why a kubeconfig could not be used.
#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    /// The file, or one that it names, could not be read.
    #[error("reading {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is not a kubeconfig.
    #[error("{path} is not a kubeconfig: {source}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        source: serde_yaml_ng::Error,
    },
    /// Something in it is missing or wrong.
    #[error("kubeconfig: {0}")]
    Invalid(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    current_context: String,
    contexts: Vec<Named>,
    clusters: Vec<Named>,
    users: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
    context: Option<Context>,
    cluster: Option<Cluster>,
    user: Option<User>,
}

#[derive(Deserialize)]
struct Context {
    cluster: String,
    user: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<String>,
    token: Option<String>,
}

impl Access {
    /// Reads the current context of the kubeconfig at `path`.
    ///
    /// # Errors
    /// When it, or a file that it names, cannot be read, or does not say how to
    /// reach a cluster over TLS.
    pub fn from_kubeconfig(path: &Path) -> Result<Self, KubeconfigError> {
        let text = read(path)?;
        let file: File = serde_yaml_ng::from_slice(&text)
            .map_err(|source| KubeconfigError::Parse { path: path.to_owned(), source })?;
        let context = named(file.contexts, &file.current_context, |n| n.context)?;
        let cluster = named(file.clusters, &context.cluster, |n| n.cluster)?;
        let user = named(file.users, &context.user, |n| n.user)?;
        let (host, port) = host_and_port(&cluster.server)?;
        let authority = pem(cluster.certificate_authority, cluster.certificate_authority_data)?
            .ok_or_else(|| KubeconfigError::Invalid("the cluster names no certificate authority".into()))?;
        let certificate = pem(user.client_certificate, user.client_certificate_data)?
            .zip(pem(user.client_key, user.client_key_data)?);
        Ok(Self { host, port, authority, credentials: Credentials { certificate, token: user.token } })
    }

    /// The same cluster, as somebody else.
    pub fn with(&self, credentials: Credentials) -> Self {
        Self { credentials, ..self.clone() }
    }

    /// The name that the server's certificate must bear.
    ///
    /// # Errors
    /// When the host is neither an address nor a DNS name.
    pub fn server_name(&self) -> Result<ServerName<'static>, KubeconfigError> {
        ServerName::try_from(self.host.clone())
            .map_err(|_| KubeconfigError::Invalid(format!("{} is not a host name", self.host)))
    }

    /// The TLS settings of a client with these credentials that offers `alpn`.
    ///
    /// # Errors
    /// When a certificate or key is not valid PEM of a supported kind.
    pub fn tls(&self, alpn: &[u8]) -> Result<Arc<ClientConfig>, KubeconfigError> {
        let invalid = |what: &str, error: String| KubeconfigError::Invalid(format!("{what}: {error}"));
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&self.authority) {
            let certificate = certificate.map_err(|e| invalid("certificate authority", e.to_string()))?;
            roots.add(certificate).map_err(|e| invalid("certificate authority", e.to_string()))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| invalid("TLS versions", e.to_string()))?
            .with_root_certificates(roots);
        let mut config = match &self.credentials.certificate {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = CertificateDer::pem_slice_iter(certificate)
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(|e| invalid("client certificate", e.to_string()))?;
                let key =
                    PrivateKeyDer::from_pem_slice(key).map_err(|e| invalid("client key", e.to_string()))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|e| invalid("client certificate", e.to_string()))?
            }
        };
        config.alpn_protocols = vec![alpn.to_vec()];
        Ok(Arc::new(config))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, KubeconfigError> {
    fs::read(path).map_err(|source| KubeconfigError::Read { path: path.to_owned(), source })
}

fn named<T>(list: Vec<Named>, name: &str, part: fn(Named) -> Option<T>) -> Result<T, KubeconfigError> {
    list.into_iter()
        .find(|entry| entry.name == name)
        .and_then(part)
        .ok_or_else(|| KubeconfigError::Invalid(format!("no entry named {name:?}")))
}

fn pem(path: Option<PathBuf>, data: Option<String>) -> Result<Option<Vec<u8>>, KubeconfigError> {
    match (data, path) {
        (Some(data), _) => BASE64
            .decode(data.trim())
            .map(Some)
            .map_err(|error| KubeconfigError::Invalid(format!("embedded data: {error}"))),
        (None, Some(path)) => read(&path).map(Some),
        (None, None) => Ok(None),
    }
}

fn host_and_port(server: &str) -> Result<(String, u16), KubeconfigError> {
    let invalid = || KubeconfigError::Invalid(format!("{server:?} is not an https URL with a host"));
    let uri: http::Uri = server.parse().map_err(|_| invalid())?;
    if uri.scheme_str() != Some("https") {
        return Err(invalid());
    }
    let host = uri.host().ok_or_else(invalid)?.trim_matches(['[', ']']).to_owned();
    Ok((host, uri.port_u16().unwrap_or(443)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers() {
        let check = |server: &str, expected: Option<(&str, u16)>| {
            let expected = expected.map(|(host, port)| (host.to_owned(), port));
            assert_eq!(host_and_port(server).ok(), expected, "{server}");
        };
        check("https://127.0.0.1:6443", Some(("127.0.0.1", 6443)));
        check("https://[::1]:6443", Some(("::1", 6443)));
        check("https://example.com", Some(("example.com", 443)));
        check("http://127.0.0.1:8080", None);
        check("127.0.0.1", None);
    }

    #[test]
    fn contexts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kubeconfig");
        let check = |text: &str, expected: &str| {
            fs::write(&path, text).unwrap();
            let found = match Access::from_kubeconfig(&path) {
                Ok(access) => format!("{}:{} {:?}", access.host, access.port, access.credentials.token),
                Err(error) => error.to_string(),
            };
            assert_eq!(found, expected);
        };
        let config = |context: &str, authority: &str| {
            format!(
                "current-context: {context}\n\
                 contexts: [{{name: a, context: {{cluster: c, user: u}}}}]\n\
                 clusters: [{{name: c, cluster: {{server: 'https://h:1'{authority}}}}}]\n\
                 users: [{{name: u, user: {{token: t}}}}]\n"
            )
        };
        check(&config("a", ", certificate-authority-data: eA=="), "h:1 Some(\"t\")");
        check(&config("b", ""), "kubeconfig: no entry named \"b\"");
        check(&config("a", ""), "kubeconfig: the cluster names no certificate authority");
    }
}
