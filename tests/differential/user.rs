//! Client certificates for people who are not the administrator.

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair};

/// PEM of a certificate for `name` and of its key, signed by the authority (PEM of certificate and key) or,
/// without one, by itself.
///
/// # Errors
/// When the authority is not valid PEM of a supported kind.
pub fn certificate(name: &str, authority: Option<(String, String)>) -> Result<(Vec<u8>, Vec<u8>), String> {
    let text = |error: rcgen::Error| error.to_string();
    let key = KeyPair::generate().map_err(text)?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
    let certificate = match authority {
        None => params.self_signed(&key),
        Some((certificate, authority_key)) => {
            let authority_key = KeyPair::from_pem(&authority_key).map_err(text)?;
            let issuer = Issuer::from_ca_cert_pem(&certificate, authority_key).map_err(text)?;
            params.signed_by(&key, &issuer)
        }
    };
    let certificate = certificate.map_err(text)?;
    Ok((certificate.pem().into_bytes(), key.serialize_pem().into_bytes()))
}
