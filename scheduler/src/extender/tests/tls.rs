//! Extenders that speak TLS: whom we trust, and who we say we are.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::{Asked, extenders, filtered, serve};

/// Who signs certificates.
struct Authority {
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        Self { certificate: params.self_signed(&key).unwrap(), issuer: Issuer::new(params, key) }
    }

    fn pem(&self) -> String {
        STANDARD.encode(self.certificate.pem())
    }

    fn sign(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }
}

/// An extender with a certificate for `name`; with `clients`, only for those whom that authority has signed.
async fn server(authority: &Authority, name: &str, clients: Option<&Authority>) -> String {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let config = match clients {
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            roots.add(clients.certificate.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            config.unwrap().with_client_cert_verifier(verifier.build().unwrap())
        }
        None => config.unwrap().with_no_client_auth(),
    };
    let (certificate, key) = authority.sign(name);
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = config.with_single_cert(vec![certificate.der().clone()], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let answer = json!({"nodes": {"items": [{"metadata": {"name": "b"}}]}});
                serve(stream, Some(answer), 200, Asked::default()).await;
            });
        }
    });
    format!("https://{address}/scheduler")
}

#[tokio::test(flavor = "multi_thread")]
async fn they_speak_tls() {
    let (theirs, other) = (Authority::new("theirs"), Authority::new("other"));
    let (certificate, key) = theirs.sign("scheduler");
    let (certificate, key) = (STANDARD.encode(certificate.pem()), STANDARD.encode(key.serialize_pem()));
    let open = server(&theirs, "127.0.0.1", None).await;
    let named = server(&theirs, "extender.example.com", None).await;
    let closed = server(&theirs, "127.0.0.1", Some(&theirs)).await;
    let check = |what: &str, url: &str, tls: Value, expected: bool| {
        let outcome = filtered(&extenders(url, json!({"enableHTTPS": true, "tlsConfig": tls})));
        assert_eq!(outcome.is_ok(), expected, "{what}: {outcome:?}");
    };
    check("an authority that signed it", &open, json!({"caData": theirs.pem()}), true);
    check("an authority that did not", &open, json!({"caData": other.pem()}), false);
    check("no authority, nothing looked at", &open, json!({}), true);
    check("another name", &named, json!({"caData": theirs.pem()}), false);
    let name = "extender.example.com";
    check("the name told", &named, json!({"caData": theirs.pem(), "serverName": name}), true);
    check("nobody", &closed, json!({"caData": theirs.pem()}), false);
    let who = json!({"caData": theirs.pem(), "certData": certificate, "keyData": key});
    check("somebody", &closed, who, true);
}
