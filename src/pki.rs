//! The cluster's certificates: one authority, the server's, the
//! administrator's. Made at the first start and kept.

use std::{
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use time::{Duration, OffsetDateTime};

use crate::data_dir::write_private;

/// Names under which the server is reached, besides its addresses.
const NAMES: &[&str] = &[
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
];
const YEARS: i64 = 10;

/// A certificate and its key, in PEM.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// The key.
    pub key: String,
}

/// What the API server is reached by, besides the names that every cluster has.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// Addresses.
    pub addresses: Vec<IpAddr>,
    /// Names of hosts.
    pub hosts: Vec<String>,
}

/// The certificates of a cluster.
#[derive(Debug, Clone)]
pub struct Pki {
    /// The authority. Whoever holds its key is the cluster's administrator.
    pub authority: Pair,
    /// The API server's.
    pub server: Pair,
    /// The administrator's: in the group `system:masters`.
    pub admin: Pair,
    /// The key that signs tokens of service accounts, in PEM.
    pub token_key: String,
}

/// Why there are no certificates.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file cannot be read or written.
    #[error("{path}: {error}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A certificate or key is not one.
    #[error("cannot make certificates: {0}")]
    Certificate(#[from] rcgen::Error),
}

impl Pki {
    /// The certificates in `directory`; those that are missing, or do not fit
    /// `names`, are made.
    ///
    /// # Errors
    /// When files cannot be read or written.
    pub fn load_or_create(directory: &Path, names: &Names) -> Result<Self, PkiError> {
        fs::create_dir_all(directory)
            .map_err(|error| PkiError::File { path: directory.to_owned(), error })?;
        let files = Files(directory);
        let authority = match files.read("ca")? {
            Some(pair) => pair,
            None => files.write("ca", authority()?)?,
        };
        let issuer = Issuer::from_ca_cert_pem(&authority.certificate, KeyPair::from_pem(&authority.key)?)?;
        let server = match files.read("apiserver")?.filter(|pair| serves(pair, names)) {
            Some(pair) => pair,
            None => files.write("apiserver", server(&issuer, names)?)?,
        };
        let admin = match files.read("admin")? {
            Some(pair) => pair,
            None => files.write("admin", client(&issuer, "kubernetes-admin", "system:masters")?)?,
        };
        let token_key = match files.read_one("sa.key")? {
            Some(key) => key,
            None => files.write_one("sa.key", KeyPair::generate()?.serialize_pem())?,
        };
        Ok(Self { authority, server, admin, token_key })
    }

    /// The certificate of an authority that signs nothing: what pods are told of
    /// an API server that is only reached within its process.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn lone_authority() -> Result<String, PkiError> {
        Ok(authority()?.certificate)
    }

    /// Certificates that are kept nowhere.
    ///
    /// # Errors
    /// When they cannot be made.
    pub fn ephemeral(addresses: &[IpAddr]) -> Result<Self, PkiError> {
        let authority = authority()?;
        let issuer = Issuer::from_ca_cert_pem(&authority.certificate, KeyPair::from_pem(&authority.key)?)?;
        let names = Names { addresses: addresses.to_vec(), hosts: Vec::new() };
        let server = server(&issuer, &names)?;
        let admin = client(&issuer, "kubernetes-admin", "system:masters")?;
        Ok(Self { authority, server, admin, token_key: KeyPair::generate()?.serialize_pem() })
    }
}

struct Files<'a>(&'a Path);

impl Files<'_> {
    fn read(&self, name: &str) -> Result<Option<Pair>, PkiError> {
        let read = |ending: &str| self.read_one(&format!("{name}.{ending}"));
        Ok(read("crt")?.zip(read("key")?).map(|(certificate, key)| Pair { certificate, key }))
    }

    fn read_one(&self, name: &str) -> Result<Option<String>, PkiError> {
        let path = self.0.join(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(PkiError::File { path, error }),
        }
    }

    fn write(&self, name: &str, pair: Pair) -> Result<Pair, PkiError> {
        for (ending, text) in [("key", &pair.key), ("crt", &pair.certificate)] {
            self.write_one(&format!("{name}.{ending}"), text.clone())?;
        }
        Ok(pair)
    }

    fn write_one(&self, name: &str, text: String) -> Result<String, PkiError> {
        let path = self.0.join(name);
        write_private(&path, text.as_bytes()).map_err(|error| PkiError::File { path, error })?;
        Ok(text)
    }
}

fn params(name: &str, organization: Option<&str>) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    if let Some(organization) = organization {
        subject.push(DnType::OrganizationName, organization);
    }
    subject.push(DnType::CommonName, name);
    params.distinguished_name = subject;
    // Clocks of other machines may be a little behind.
    params.not_before = OffsetDateTime::now_utc() - Duration::hours(1);
    params.not_after = OffsetDateTime::now_utc() + Duration::days(365 * YEARS);
    params
}

fn authority() -> Result<Pair, PkiError> {
    let mut params = params("coracle-ca", None);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages =
        vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate()?;
    Ok(Pair { certificate: params.self_signed(&key)?.pem(), key: key.serialize_pem() })
}

fn server(issuer: &Issuer<'_, KeyPair>, names: &Names) -> Result<Pair, PkiError> {
    let mut params = params("kube-apiserver", None);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    for name in NAMES.iter().copied().chain(names.hosts.iter().map(String::as_str)) {
        params.subject_alt_names.push(SanType::DnsName(name.try_into()?));
    }
    params.subject_alt_names.extend(names.addresses.iter().copied().map(SanType::IpAddress));
    signed(params, issuer)
}

fn client(issuer: &Issuer<'_, KeyPair>, name: &str, group: &str) -> Result<Pair, PkiError> {
    let mut params = params(name, Some(group));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    signed(params, issuer)
}

fn signed(params: CertificateParams, issuer: &Issuer<'_, KeyPair>) -> Result<Pair, PkiError> {
    let key = KeyPair::generate()?;
    Ok(Pair { certificate: params.signed_by(&key, issuer)?.pem(), key: key.serialize_pem() })
}

// Whether the certificate has all names and is good for a while yet.
fn serves(pair: &Pair, wanted: &Names) -> bool {
    use x509_parser::{extensions::GeneralName, pem::parse_x509_pem};
    let Ok((_, pem)) = parse_x509_pem(pair.certificate.as_bytes()) else { return false };
    let Ok(certificate) = pem.parse_x509() else { return false };
    let soon = OffsetDateTime::now_utc() + Duration::days(30);
    if certificate.validity().not_after.timestamp() < soon.unix_timestamp() {
        return false;
    }
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return false };
    let has = |wanted: GeneralName<'_>| names.value.general_names.contains(&wanted);
    wanted.hosts.iter().all(|host| has(GeneralName::DNSName(host)))
        && wanted.addresses.iter().all(|address| match address {
            IpAddr::V4(v4) => has(GeneralName::IPAddress(&v4.octets())),
            IpAddr::V6(v6) => has(GeneralName::IPAddress(&v6.octets())),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_kept_and_the_servers_follows_its_addresses() {
        let directory = tempfile::tempdir().unwrap();
        let load = |address: &str, hosts: &[&str]| {
            let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
            let names = Names { addresses: vec![address.parse().unwrap()], hosts };
            Pki::load_or_create(directory.path(), &names).unwrap()
        };
        let first = load("127.0.0.1", &[]);
        let same = load("127.0.0.1", &["localhost"]);
        assert_eq!(first.server.certificate, same.server.certificate);
        assert_eq!(first.admin.key, same.admin.key);
        assert_eq!(first.token_key, same.token_key);
        let moved = load("192.0.2.7", &[]);
        assert_ne!(first.server.certificate, moved.server.certificate);
        assert_eq!(first.authority.certificate, moved.authority.certificate);
        let named = load("192.0.2.7", &["coracle.example.com"]);
        assert_ne!(named.server.certificate, moved.server.certificate);
        assert_eq!(named.server.certificate, load("192.0.2.7", &[]).server.certificate);
    }
}
