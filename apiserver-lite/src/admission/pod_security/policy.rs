//! What a namespace demands, and what it is that violates it.

use std::fmt;

use coracle_api::{FieldError, FieldPath, Object};

use super::{
    baseline,
    pod::{Fault, Pod},
    restricted,
};

// The newest minor version that the standards have; newer demands mean it.
const NEWEST: u32 = 37;

/// How strict a demand is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// All is allowed.
    Privileged,
    /// Known ways out of a container are not.
    Baseline,
    /// Hardening is a must.
    Restricted,
}

/// The version of the standards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// The newest.
    Latest,
    /// `v1.` and this.
    Minor(u32),
}

/// A level of one version of the standards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// The level.
    pub level: Level,
    /// The version.
    pub version: Version,
}

/// The demands of a namespace. Audit demands are nobody's here yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// What pods are refused by.
    pub enforce: Demand,
    /// What is warned of.
    pub warn: Demand,
}

/// What of a pod a demand does not allow.
pub struct Violation {
    demand: Demand,
    faults: Vec<Fault>,
}

impl Policy {
    /// The policy that a namespace's labels make, and what is wrong with them.
    /// A label that cannot be read enforces the strictest and warns of nothing.
    pub fn of(namespace: &Object) -> (Self, Vec<FieldError>) {
        let mut errors = Vec::new();
        let mut demand = |mode: &str| {
            let of = |name: &str| namespace.labels().find(|(key, _)| *key == name).map(|(_, value)| value);
            let key = format!("pod-security.kubernetes.io/{mode}");
            let level = of(&key).map(|value| (value, level(value)));
            let mut refuse = |key: &str, value: &str, detail: &str| {
                let path = FieldPath::new("metadata").child("labels").key(key);
                errors.push(FieldError::invalid(&path, value, detail));
            };
            if let Some((value, None)) = level {
                refuse(&key, value, "must be one of privileged, baseline, restricted");
            }
            let key = format!("{key}-version");
            let version = of(&key).map(|value| (value, version(value)));
            if let Some((value, None)) = version {
                refuse(&key, value, "must be \"latest\" or \"v1.x\"");
            }
            (level.map(|(_, it)| it), version.map(|(_, it)| it.unwrap_or(Version::Latest)))
        };
        let (enforced, enforced_version) = demand("enforce");
        demand("audit");
        let (warned, warned_version) = demand("warn");
        let enforce = Demand {
            level: enforced.map_or(Level::Privileged, |it| it.unwrap_or(Level::Restricted)),
            version: enforced_version.unwrap_or(Version::Latest),
        };
        let mut warn = Demand {
            level: warned.flatten().unwrap_or(Level::Privileged),
            version: warned_version.unwrap_or(Version::Latest),
        };
        // What is enforced of pods is warned of in templates.
        if warned.is_none() && enforced.flatten().is_some_and(|level| level > warn.level) {
            warn.level = enforce.level;
            if warned_version.is_none() {
                warn.version = enforce.version;
            }
        }
        (Self { enforce, warn }, errors)
    }
}

fn level(text: &str) -> Option<Level> {
    match text {
        "privileged" => Some(Level::Privileged),
        "baseline" => Some(Level::Baseline),
        "restricted" => Some(Level::Restricted),
        _ => None,
    }
}

fn version(text: &str) -> Option<Version> {
    if text == "latest" {
        return Some(Version::Latest);
    }
    let digits = text.strip_prefix("v1.")?;
    let plain = digits.bytes().all(|it| it.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    digits.parse().ok().filter(|_| plain).map(Version::Minor)
}

impl Demand {
    /// What of the pod is not allowed, if anything.
    pub fn violated_by(self, pod: &Pod<'_>) -> Option<Violation> {
        let minor = match self.version {
            Version::Latest => NEWEST,
            Version::Minor(minor) => minor.min(NEWEST),
        };
        let faults: Vec<Fault> = match self.level {
            Level::Privileged => Vec::new(),
            Level::Baseline => baseline::CHECKS.iter().filter_map(|(_, check)| check(pod, minor)).collect(),
            Level::Restricted => {
                let replaced = |name: &str| {
                    restricted::REPLACED.iter().any(|(it, since)| *it == name && minor >= *since)
                };
                let basic = baseline::CHECKS.iter().filter(|(name, _)| !replaced(name));
                let basic = basic.filter_map(|(_, check)| check(pod, minor));
                basic.chain(restricted::CHECKS.iter().filter_map(|check| check(pod, minor))).collect()
            }
        };
        (!faults.is_empty()).then_some(Violation { demand: self, faults })
    }
}

impl Violation {
    /// The reasons, without what exactly it is in the pod.
    pub fn reasons(&self) -> String {
        let reasons: Vec<&str> = self.faults.iter().map(|fault| fault.reason).collect();
        reasons.join(", ")
    }

    /// Why a pod is refused.
    pub fn refusal(&self) -> String {
        format!("violates PodSecurity \"{}\": {}", self.demand, self.details())
    }

    /// What the client is warned of.
    pub fn warning(&self) -> String {
        format!("would violate PodSecurity \"{}\": {}", self.demand, self.details())
    }

    fn details(&self) -> String {
        let texts: Vec<String> =
            self.faults.iter().map(|fault| format!("{} ({})", fault.reason, fault.detail)).collect();
        texts.join(", ")
    }
}

impl fmt::Display for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        };
        match self.version {
            Version::Latest => write!(f, "{level}:latest"),
            Version::Minor(minor) => write!(f, "{level}:v1.{minor}"),
        }
    }
}
