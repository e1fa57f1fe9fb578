//! `KubeSchedulerConfiguration`: which rules run for which pods, and how.
//!
//! Start at [`Configuration::parse`]. Unknown fields, rules and points are
//! errors, never ignored.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    extender::{Extender, Settings, validate},
    objects::Objects,
    profile::rules,
};

const API_VERSION: &str = "kubescheduler.config.k8s.io/v1";
const KIND: &str = "KubeSchedulerConfiguration";
/// The scheduler of pods that name none.
pub(crate) const DEFAULT_NAME: &str = "default-scheduler";

/// What a scheduler is told in a file.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// One for each scheduler name; what they say can be done.
    pub(crate) profiles: Vec<Profile>,
    /// The first back-off of a pod that was rejected.
    pub(crate) backoff_first: Duration,
    /// The longest one.
    pub(crate) backoff_longest: Duration,
    /// Who else is asked where pods go.
    pub(crate) extenders: Vec<Settings>,
}

/// The rules for the pods of one scheduler name.
#[derive(Debug, Clone, Default)]
pub struct Profile {
    /// The name.
    pub name: String,
    /// How many of the nodes to find, in percent; 0 goes by how many there are.
    pub percentage: usize,
    /// What rules are told, by rule.
    pub args: BTreeMap<String, Value>,
    /// Which rules run where.
    pub points: Points,
}

/// Changes to the default rules, by extension point.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Points {
    /// At all points.
    pub multi_point: Set,
    /// Before a pod is queued.
    pub pre_enqueue: Set,
    /// Which pod comes first.
    pub queue_sort: Set,
    /// Before nodes are looked at.
    pub pre_filter: Set,
    /// Whether a node can take the pod.
    pub filter: Set,
    /// When none can.
    pub post_filter: Set,
    /// Before nodes are scored.
    pub pre_score: Set,
    /// How good a node is.
    pub score: Set,
    /// When a node is chosen.
    pub reserve: Set,
    /// Whether the pod may be bound.
    pub permit: Set,
    /// Before it is bound.
    pub pre_bind: Set,
    /// Binding.
    pub bind: Set,
    /// After it was bound.
    pub post_bind: Set,
}

/// Rules that are switched on and off at a point.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Set {
    /// On, after those that are off.
    pub enabled: Vec<Switch>,
    /// Off; `*` is all.
    pub disabled: Vec<Switch>,
}

/// A rule at a point.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Switch {
    /// The rule.
    pub name: String,
    /// What its scores count; 0 leaves it as it is.
    pub weight: i64,
}

impl Set {
    /// Whether the set says something of `rule`.
    pub fn verdict(&self, rule: &str) -> Option<bool> {
        let names = |switches: &[Switch], name: &str| switches.iter().any(|switch| switch.name == name);
        if names(&self.enabled, rule) {
            return Some(true);
        }
        (names(&self.disabled, rule) || names(&self.disabled, "*")).then_some(false)
    }

    /// What the scores of `rule` are to count, if the set says.
    pub fn weight(&self, rule: &str) -> Option<i64> {
        let switch = self.enabled.iter().find(|switch| switch.name == rule)?;
        (switch.weight != 0).then_some(switch.weight)
    }
}

impl Points {
    /// Every rule that is named somewhere.
    pub fn named(&self) -> BTreeSet<&str> {
        let sets = [
            &self.multi_point,
            &self.pre_enqueue,
            &self.queue_sort,
            &self.pre_filter,
            &self.filter,
            &self.post_filter,
            &self.pre_score,
            &self.score,
            &self.reserve,
            &self.permit,
            &self.pre_bind,
            &self.bind,
            &self.post_bind,
        ];
        let switches = sets.into_iter().flat_map(|set| set.enabled.iter().chain(&set.disabled));
        switches.map(|switch| switch.name.as_str()).filter(|name| *name != "*").collect()
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// It is not one.
    #[error("{0}")]
    Malformed(String),
    /// It says something that cannot be.
    #[error("{field}: {why}")]
    Invalid {
        /// What is wrong.
        field: &'static str,
        /// Why.
        why: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    api_version: String,
    kind: String,
    profiles: Option<Vec<FileProfile>>,
    percentage_of_nodes_to_score: Option<i64>,
    pod_initial_backoff_seconds: Option<i64>,
    pod_max_backoff_seconds: Option<i64>,
    extenders: Option<Vec<Settings>>,
    leader_election: Option<Value>,
    client_connection: Option<Value>,
    // Without meaning in this scheduler.
    #[serde(rename = "parallelism")]
    _parallelism: Option<i64>,
    #[serde(rename = "enableProfiling")]
    _enable_profiling: Option<bool>,
    #[serde(rename = "enableContentionProfiling")]
    _enable_contention_profiling: Option<bool>,
    #[serde(rename = "delayCacheUntilActive")]
    _delay_cache_until_active: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FileProfile {
    scheduler_name: Option<String>,
    percentage_of_nodes_to_score: Option<i64>,
    #[serde(default)]
    plugins: Points,
    #[serde(default)]
    plugin_config: Vec<FileArgs>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FileArgs {
    name: String,
    #[serde(default)]
    args: Value,
}

impl Default for Configuration {
    fn default() -> Self {
        let profile = Profile { name: DEFAULT_NAME.to_owned(), ..Profile::default() };
        Self {
            profiles: vec![profile],
            backoff_first: Duration::from_secs(1),
            backoff_longest: Duration::from_secs(10),
            extenders: Vec::new(),
        }
    }
}

impl Configuration {
    /// Reads a configuration file, a JSON tree.
    /// # Errors
    /// It is of another kind or version, or says something that cannot be.
    pub fn parse(tree: Value) -> Result<Self, ConfigurationError> {
        let file: File =
            serde_json::from_value(tree).map_err(|error| ConfigurationError::Malformed(error.to_string()))?;
        if (file.api_version.as_str(), file.kind.as_str()) != (API_VERSION, KIND) {
            let why = format!("no kind {:?} is registered for version {:?}", file.kind, file.api_version);
            return Err(ConfigurationError::Malformed(why));
        }
        let extenders = file.extenders.unwrap_or_default();
        validate(&extenders)?;
        if let Err(why) = Extender::all(&extenders) {
            return invalid("extenders", why);
        }
        if file.leader_election.is_some() || file.client_connection.is_some() {
            tracing::warn!("leaderElection and clientConnection are left to flags");
        }
        let backoff_first = seconds("podInitialBackoffSeconds", file.pod_initial_backoff_seconds, 1)?;
        let backoff_longest = seconds("podMaxBackoffSeconds", file.pod_max_backoff_seconds, 10)?;
        if backoff_longest < backoff_first {
            return invalid(
                "podMaxBackoffSeconds",
                "must be greater than or equal to podInitialBackoffSeconds",
            );
        }
        let overall = percentage(file.percentage_of_nodes_to_score)?;
        let Some(profiles) = file.profiles.filter(|profiles| !profiles.is_empty()) else {
            let mut all = Self { backoff_first, backoff_longest, ..Self::default() };
            for profile in &mut all.profiles {
                profile.percentage = overall.unwrap_or(0);
                profile.ignore(&extenders);
            }
            return Ok(Self { extenders, ..all });
        };
        let one = profiles.len() == 1;
        let mut profiles: Vec<Profile> =
            profiles.into_iter().map(|profile| profile.read(overall, one)).collect::<Result<_, _>>()?;
        let names: BTreeSet<&str> = profiles.iter().map(|profile| profile.name.as_str()).collect();
        if names.len() < profiles.len() {
            return invalid("profiles", "a schedulerName occurs twice");
        }
        for profile in &mut profiles {
            profile.ignore(&extenders);
            rules(profile, &Objects::default())?;
        }
        Ok(Self { profiles, backoff_first, backoff_longest, extenders })
    }
}

impl Profile {
    /// Leaves it to extenders whether nodes have enough of what they manage.
    fn ignore(&mut self, extenders: &[Settings]) {
        let managed = extenders.iter().flat_map(|extender| &extender.managed_resources);
        let ignored: Vec<&str> =
            managed.filter(|it| it.ignored_by_scheduler).map(|it| it.name.as_str()).collect();
        if ignored.is_empty() {
            return;
        }
        let args = self.args.entry("NodeResourcesFit".to_owned()).or_insert_with(|| json!({}));
        if args.is_null() {
            *args = json!({});
        }
        // What is no object is refused when the rule reads it.
        let Some(args) = args.as_object_mut() else { return };
        if let Value::Array(all) = args.entry("ignoredResources").or_insert_with(|| json!([])) {
            all.extend(ignored.into_iter().map(Value::from));
        }
    }
}

impl FileProfile {
    fn read(self, overall: Option<usize>, only: bool) -> Result<Profile, ConfigurationError> {
        let name = match self.scheduler_name.filter(|name| !name.is_empty()) {
            Some(name) => name,
            None if only => DEFAULT_NAME.to_owned(),
            None => return invalid("profiles[].schedulerName", "Required value"),
        };
        let mut args = BTreeMap::new();
        for FileArgs { name, args: told } in self.plugin_config {
            if args.insert(name.clone(), told).is_some() {
                return invalid("profiles[].pluginConfig", format!("{name:?} occurs twice"));
            }
        }
        let percentage = percentage(self.percentage_of_nodes_to_score)?.or(overall).unwrap_or(0);
        Ok(Profile { name, percentage, args, points: self.plugins })
    }
}

fn invalid<T>(field: &'static str, why: impl Into<String>) -> Result<T, ConfigurationError> {
    Err(ConfigurationError::Invalid { field, why: why.into() })
}

fn percentage(said: Option<i64>) -> Result<Option<usize>, ConfigurationError> {
    match said {
        None => Ok(None),
        Some(said @ 0..=100) => Ok(usize::try_from(said).ok()),
        Some(_) => invalid("percentageOfNodesToScore", "not in valid range [0-100]"),
    }
}

fn seconds(field: &'static str, said: Option<i64>, default: u64) -> Result<Duration, ConfigurationError> {
    match said.map_or(Some(default), |said| u64::try_from(said).ok()) {
        Some(seconds @ 1..) => Ok(Duration::from_secs(seconds)),
        _ => invalid(field, "must be greater than 0"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parsed(mut fields: Value) -> Result<Configuration, String> {
        fields["apiVersion"] = json!(API_VERSION);
        fields["kind"] = json!(KIND);
        Configuration::parse(fields).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_said_counts_and_what_is_not_is_upstreams() {
        let plain = parsed(json!({})).unwrap();
        assert_eq!((plain.profiles.len(), plain.backoff_longest.as_secs()), (1, 10));
        assert_eq!(plain.profiles[0].name, DEFAULT_NAME);
        let told = parsed(json!({"percentageOfNodesToScore": 30, "podMaxBackoffSeconds": 20, "profiles": [
            {"schedulerName": "a", "plugins": {"score": {"disabled": [{"name": "*"}],
                "enabled": [{"name": "NodeAffinity", "weight": 7}]}}},
            {"schedulerName": "b", "percentageOfNodesToScore": 50}]}))
        .unwrap();
        let shares: Vec<usize> = told.profiles.iter().map(|profile| profile.percentage).collect();
        assert_eq!((shares, told.backoff_longest.as_secs()), (vec![30, 50], 20));
        let score = &told.profiles[0].points.score;
        assert_eq!(
            (score.verdict("ImageLocality"), score.verdict("NodeAffinity")),
            (Some(false), Some(true))
        );
        assert_eq!(
            (score.weight("NodeAffinity"), told.profiles[1].points.score.verdict("X")),
            (Some(7), None)
        );
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let check = |fields: Value, expected: &str| {
            let error = parsed(fields).err().unwrap_or_default();
            assert!(error.contains(expected), "{error}");
        };
        check(
            json!({"percentageOfNodesToScore": 101}),
            "percentageOfNodesToScore: not in valid range [0-100]",
        );
        check(json!({"podInitialBackoffSeconds": 0}), "must be greater than 0");
        check(json!({"podInitialBackoffSeconds": 30}), "podMaxBackoffSeconds: must be greater");
        check(json!({"extenders": [{}]}), "extenders[].urlPrefix: Required value");
        check(json!({"extenders": [{"typo": 1}]}), "unknown field `typo`");
        check(json!({"typo": 1}), "unknown field `typo`");
        check(json!({"profiles": [{"schedulerName": "a"}, {"schedulerName": "a"}]}), "occurs twice");
        check(json!({"profiles": [{"schedulerName": "a"}, {}]}), "Required value");
    }
}
