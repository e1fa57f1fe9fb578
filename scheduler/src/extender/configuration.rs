//! What is said of extenders in a scheduler's configuration.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

use crate::configuration::ConfigurationError;

/// How long an extender has, unless the configuration says otherwise.
const PATIENCE: Duration = Duration::from_secs(5);

/// One extender.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Settings {
    /// Where it is.
    pub url_prefix: String,
    /// What is added to that to ask which nodes can take a pod; it is not
    /// asked when empty. So with the others.
    pub filter_verb: String,
    /// For how good nodes are.
    pub prioritize_verb: String,
    /// For who goes to make room.
    pub preempt_verb: String,
    /// For binding.
    pub bind_verb: String,
    /// What its scores count.
    pub weight: i64,
    /// Whether TLS is spoken.
    #[serde(rename = "enableHTTPS")]
    pub enable_https: bool,
    /// How.
    pub tls_config: Tls,
    /// How long it has to answer.
    #[serde(rename = "httpTimeout", deserialize_with = "time")]
    pub http_timeout: Duration,
    /// It knows the nodes: names are enough.
    pub node_cache_capable: bool,
    /// It is asked only of pods that want one of these.
    pub managed_resources: Vec<Managed>,
    /// Without its answer pods are scheduled as if it were not there.
    pub ignorable: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url_prefix: String::new(),
            filter_verb: String::new(),
            prioritize_verb: String::new(),
            preempt_verb: String::new(),
            bind_verb: String::new(),
            weight: 0,
            enable_https: false,
            tls_config: Tls::default(),
            http_timeout: PATIENCE,
            node_cache_capable: false,
            managed_resources: Vec::new(),
            ignorable: false,
        }
    }
}

/// How TLS is spoken with an extender.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Tls {
    /// Its certificate is not looked at.
    pub insecure: bool,
    /// The name in it.
    pub server_name: String,
    /// The file with our certificate.
    pub cert_file: String,
    /// The file with our key.
    pub key_file: String,
    /// The file with who signs its certificate.
    pub ca_file: String,
    /// Our certificate, in base64.
    pub cert_data: String,
    /// Our key, in base64.
    pub key_data: String,
    /// Who signs its certificate, in base64.
    pub ca_data: String,
}

/// A resource that an extender looks after.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Managed {
    /// Its name.
    pub name: String,
    /// The scheduler does not look whether nodes have enough of it.
    pub ignored_by_scheduler: bool,
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let nanos = coracle_api::stamp::parse_duration(&text).map_err(de::Error::custom)?;
    match u64::try_from(nanos) {
        Ok(0) => Ok(PATIENCE),
        Ok(nanos) => Ok(Duration::from_nanos(nanos)),
        Err(_) => Err(de::Error::custom("must not be negative")),
    }
}

/// Whether extenders can be as they are configured.
/// # Errors
/// They cannot: upstream's text.
pub(crate) fn validate(extenders: &[Settings]) -> Result<(), ConfigurationError> {
    let invalid = |field, why: &str| Err(ConfigurationError::Invalid { field, why: why.to_owned() });
    for extender in extenders {
        if !extender.prioritize_verb.is_empty() && extender.weight <= 0 {
            return invalid("extenders[].weight", "must have a positive weight applied to it");
        }
        if extender.url_prefix.is_empty() {
            return invalid("extenders[].urlPrefix", "Required value");
        }
    }
    let mut managed: Vec<&String> =
        extenders.iter().flat_map(|it| &it.managed_resources).map(|managed| &managed.name).collect();
    managed.sort();
    if managed.windows(2).any(|pair| pair.first() == pair.last()) {
        return invalid("extenders[].managedResources[].name", "duplicate extender managed resource name");
    }
    if extenders.iter().filter(|extender| !extender.bind_verb.is_empty()).count() > 1 {
        return invalid("extenders", "only one extender can implement bind");
    }
    Ok(())
}
