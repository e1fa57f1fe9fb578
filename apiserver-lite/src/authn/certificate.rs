//! Client certificates: the common name is the user, organizations are groups.

use std::sync::Arc;

use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::{Peer, User};

/// Lets every handshake through, so that a bad certificate can be told 401 as
/// upstream does, and judges certificates afterwards.
#[derive(Debug)]
pub struct Verifier {
    trusted: Arc<dyn ClientCertVerifier>,
}

impl Verifier {
    /// Trusts what these authorities signed.
    ///
    /// # Errors
    /// When there is no usable authority.
    pub fn new(
        roots: rustls::RootCertStore,
        provider: Arc<rustls::crypto::CryptoProvider>,
    ) -> Result<Self, Error> {
        let trusted = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        Ok(Self { trusted })
    }

    /// Who showed these certificates, the peer's own first.
    pub fn judge(&self, chain: &[CertificateDer<'_>]) -> Peer {
        let Some((own, between)) = chain.split_first() else { return Peer::Unknown };
        if self.trusted.verify_client_cert(own, between, UnixTime::now()).is_err() {
            return Peer::Untrusted;
        }
        match subject(own) {
            Some(user) => Peer::Known(Arc::new(user)),
            None => Peer::Untrusted,
        }
    }
}

fn subject(certificate: &CertificateDer<'_>) -> Option<User> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let name = parsed.subject().iter_common_name().next()?.as_str().ok()?;
    let groups: Vec<&str> = parsed.subject().iter_organization().filter_map(|it| it.as_str().ok()).collect();
    if name.is_empty() {
        return None;
    }
    let mut user = User::authenticated(name, &groups);
    let sum = ring::digest::digest(&ring::digest::SHA256, certificate);
    let sum: String = sum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let credential = "authentication.kubernetes.io/credential-id".to_owned();
    user.extra.insert(credential, vec![format!("X509SHA256={sum}")]);
    Some(user)
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.trusted.root_hint_subjects()
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _own: &CertificateDer<'_>,
        _between: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.trusted.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.trusted.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trusted.supported_verify_schemes()
    }
}
