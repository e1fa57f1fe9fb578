//! The options of requests, from their parameters, checked as upstream checks
//! them.

use std::time::Duration;

use coracle_api::{
    FieldError, FieldSelector, GroupVersionKind, LabelSelector, facts,
    field::{FieldPath, go_quote},
};
use coracle_store::Revision;
use serde::Deserialize;
use serde_json::json;

use crate::{
    error::{ApiError, Subject},
    request::Query,
    schema::decode,
};

const OPTIONS: &str = "DeleteOptions";
const IGNORE: &str = "ignoreStoreReadErrorWithClusterBreakingPotential";

/// `ListOptions`
#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    /// Which objects, by label.
    pub labels: Option<LabelSelector>,
    /// Which objects, by field.
    pub fields: Option<FieldSelector>,
    /// Since when; `None` when not given.
    pub revision: Option<Revision>,
    /// How the revision is meant.
    pub exact: bool,
    /// At most so many; 0 is no limit.
    pub limit: usize,
    /// The page token; empty for the first page.
    pub continue_token: String,
    /// How long a watch lasts.
    pub timeout: Option<Duration>,
    /// Whether a watch gets bookmarks.
    pub bookmarks: bool,
    /// Whether a watch starts with what is there.
    pub initial_events: Option<bool>,
}

/// How unknown and duplicate fields are met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldValidation {
    /// With an error.
    Strict,
    /// With a warning.
    Warn,
    /// With silence.
    Ignore,
}

/// The options that creates, updates and patches share.
#[derive(Debug, Clone)]
pub struct WriteOptions {
    /// Nothing is stored.
    pub dry_run: bool,
    /// The field manager, if the client names one.
    pub manager: String,
    /// How unknown fields are met.
    pub validation: FieldValidation,
    /// Whether an apply takes fields from others.
    pub force: bool,
}

impl WriteOptions {
    /// Those of the API server's own writes: nothing is asked for.
    pub fn own() -> Self {
        Self { dry_run: false, manager: String::new(), validation: FieldValidation::Ignore, force: false }
    }
}

/// `DeleteOptions`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeleteOptions {
    /// Seconds of grace.
    pub grace_period_seconds: Option<i64>,
    /// What the object must be.
    pub preconditions: Option<Preconditions>,
    /// The deprecated form of the propagation policy.
    pub orphan_dependents: Option<bool>,
    /// `Orphan`, `Background` or `Foreground`.
    pub propagation_policy: Option<String>,
    dry_run: Option<Vec<String>>,
    #[serde(rename = "ignoreStoreReadErrorWithClusterBreakingPotential")]
    ignore_errors: Option<bool>,
}

/// What an object must be for its deletion to go on.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Preconditions {
    /// Its uid.
    pub uid: Option<String>,
    /// Its resourceVersion.
    pub resource_version: Option<String>,
}

fn invalid(kind: &str, errors: Vec<FieldError>) -> Result<(), ApiError> {
    if errors.is_empty() {
        return Ok(());
    }
    let subject = Subject { group: "meta.k8s.io".to_owned(), kind: kind.to_owned(), name: String::new() };
    Err(ApiError::Invalid { subject, errors })
}

// Upstream's parameter codec takes the first value of each parameter, and
// anything but 0 and false for a true boolean.
fn flag(query: &Query, name: &str) -> Option<bool> {
    query.get(name).map(|value| !matches!(value.to_ascii_lowercase().as_str(), "0" | "false"))
}

fn integer(query: &Query, name: &str) -> Result<Option<i64>, ApiError> {
    let Some(text) = query.get(name).filter(|text| !text.is_empty()) else { return Ok(None) };
    text.parse().map(Some).map_err(|error: std::num::ParseIntError| {
        let why = match error.kind() {
            std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        ApiError::BadRequest(format!("strconv.ParseInt: parsing {text:?}: {why}"))
    })
}

/// Reads a resourceVersion. Empty and `0` are `None` and `Some(0)`.
///
/// # Errors
/// What is no revision: each verb has a status of its own for it.
pub fn revision(text: &str) -> Result<Option<Revision>, FieldError> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(|number| Some(Revision(number))).map_err(|error: std::num::ParseIntError| {
        let why = match error.kind() {
            std::num::IntErrorKind::PosOverflow => "value out of range",
            _ => "invalid syntax",
        };
        let detail = format!("strconv.ParseUint: parsing {text:?}: {why}");
        FieldError::invalid(&FieldPath::new("resourceVersion"), text, detail)
    })
}

impl ListOptions {
    /// Reads the options of a list or a watch.
    ///
    /// # Errors
    /// 400 and 422 as upstream.
    pub fn parse(query: &Query, watch: bool) -> Result<Self, ApiError> {
        let bad = |error: String| ApiError::BadRequest(error);
        let text = |name| query.get(name).unwrap_or_default();
        let labels = LabelSelector::parse(text("labelSelector")).map_err(|error| bad(error.to_string()))?;
        let fields = FieldSelector::parse(text("fieldSelector")).map_err(|error| bad(error.to_string()))?;
        let limit = integer(query, "limit")?.unwrap_or(0);
        let timeout = integer(query, "timeoutSeconds")?;
        let options = Self {
            labels: (!labels.is_everything()).then_some(labels),
            fields: (!fields.is_everything()).then_some(fields),
            revision: None,
            exact: text("resourceVersionMatch") == "Exact",
            limit: usize::try_from(limit).unwrap_or(0),
            continue_token: text("continue").to_owned(),
            timeout: timeout
                .and_then(|it| u64::try_from(it).ok())
                .filter(|it| *it > 0)
                .map(Duration::from_secs),
            bookmarks: flag(query, "allowWatchBookmarks").unwrap_or(false),
            initial_events: flag(query, "sendInitialEvents"),
        };
        invalid("ListOptions", options.faults(query, watch))?;
        let revision = revision(text("resourceVersion")).map_err(|error| {
            if watch {
                ApiError::plain(500, &error.to_string())
            } else {
                bad(format!("invalid resource version: {error}"))
            }
        })?;
        Ok(Self { revision, ..options })
    }

    fn faults(&self, query: &Query, watch: bool) -> Vec<FieldError> {
        let matching = query.get("resourceVersionMatch").unwrap_or_default();
        let version = query.get("resourceVersion").unwrap_or_default();
        let path = FieldPath::new("resourceVersionMatch");
        let forbidden = |why: &str| FieldError::forbidden(&path, why);
        let mut errors = Vec::new();
        let with_continue = "resourceVersionMatch is forbidden when continue is provided";
        if watch {
            if self.initial_events.is_some() && matching != "NotOlderThan" {
                errors.push(forbidden(
                    "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
                ));
            }
            if !matching.is_empty() {
                if self.initial_events.is_none() {
                    errors.push(forbidden(
                        "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
                    ));
                }
                if matching != "NotOlderThan" {
                    errors.push(FieldError::not_supported(&path, matching, &["NotOlderThan"]));
                }
                if !self.continue_token.is_empty() {
                    errors.push(forbidden(with_continue));
                }
            }
            return errors;
        }
        if !matching.is_empty() {
            if version.is_empty() {
                errors
                    .push(forbidden("resourceVersionMatch is forbidden unless resourceVersion is provided"));
            }
            if !self.continue_token.is_empty() {
                errors.push(forbidden(with_continue));
            }
            if !matches!(matching, "Exact" | "NotOlderThan") {
                errors.push(FieldError::not_supported(&path, matching, &["Exact", "NotOlderThan", ""]));
            }
            if matching == "Exact" && version == "0" {
                errors
                    .push(forbidden("resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\""));
            }
        }
        if self.initial_events.is_some() {
            let path = FieldPath::new("sendInitialEvents");
            errors.push(FieldError::forbidden(&path, "sendInitialEvents is forbidden for list"));
        }
        errors
    }
}

/// Which request the options belong to: the kind that errors name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writing {
    /// A create.
    Create,
    /// An update.
    Update,
    /// A patch; an apply must name its manager.
    Patch {
        /// Whether it is an apply.
        apply: bool,
    },
}

impl WriteOptions {
    /// Reads the options of a write.
    ///
    /// # Errors
    /// 422 as upstream.
    pub fn parse(query: &Query, writing: Writing) -> Result<Self, ApiError> {
        let manager = query.get("fieldManager").unwrap_or_default();
        let force = flag(query, "force");
        let mut errors = Vec::new();
        if let Writing::Patch { apply } = writing {
            if apply && manager.is_empty() {
                errors.push(FieldError::required(
                    &FieldPath::new("fieldManager"),
                    "is required for apply patch",
                ));
            }
            if !apply && force.is_some() {
                errors.push(FieldError::forbidden(
                    &FieldPath::new("force"),
                    "may not be specified for non-apply patch",
                ));
            }
        }
        manager_faults(manager, &mut errors);
        let dry_run: Vec<&str> = query.all("dryRun").collect();
        dry_run_faults(&dry_run, &mut errors);
        let asked = query.get("fieldValidation").unwrap_or_default();
        let validation = match asked {
            "Strict" => FieldValidation::Strict,
            "" | "Warn" => FieldValidation::Warn,
            _ => FieldValidation::Ignore,
        };
        if !matches!(asked, "" | "Ignore" | "Strict" | "Warn") {
            let path = FieldPath::new("fieldValidation");
            errors.push(FieldError::not_supported(&path, asked, &["", "Ignore", "Strict", "Warn"]));
        }
        let kind = match writing {
            Writing::Create => "CreateOptions",
            Writing::Update => "UpdateOptions",
            Writing::Patch { .. } => "PatchOptions",
        };
        invalid(kind, errors)?;
        let manager = manager.to_owned();
        Ok(Self { dry_run: !dry_run.is_empty(), manager, validation, force: force.unwrap_or(false) })
    }
}

fn manager_faults(manager: &str, errors: &mut Vec<FieldError>) {
    let path = FieldPath::new("fieldManager");
    if manager.len() > 128 {
        errors.push(FieldError::too_long(&path, 128));
    }
    for (at, c) in manager.char_indices().filter(|(_, c)| c.is_control()) {
        let detail = format!("invalid character U+{:04X} (at position {at})", c as u32);
        errors.push(FieldError::invalid(&path, manager, detail));
    }
}

fn dry_run_faults(values: &[&str], errors: &mut Vec<FieldError>) {
    if values.iter().any(|value| *value != "All") {
        errors.push(FieldError::not_supported(&FieldPath::new("dryRun"), json!(values), &["All"]));
    }
}

impl DeleteOptions {
    /// Reads the options from the parameters, as is done where there is no body.
    ///
    /// # Errors
    /// 400 and 422 as upstream.
    pub fn parse(query: &Query) -> Result<Self, ApiError> {
        let options = Self {
            grace_period_seconds: integer(query, "gracePeriodSeconds")?,
            orphan_dependents: flag(query, "orphanDependents"),
            propagation_policy: query.get("propagationPolicy").map(str::to_owned),
            dry_run: Some(query.all("dryRun").map(str::to_owned).collect()),
            ignore_errors: flag(query, IGNORE),
            ..Self::default()
        };
        invalid(OPTIONS, options.faults())?;
        Ok(options)
    }

    /// Reads the options from a body in JSON.
    ///
    /// # Errors
    /// 400 and 422 as upstream.
    pub fn decode(body: &[u8]) -> Result<Self, ApiError> {
        let gvk = Self::kind_of(body)?;
        let decoded = decode::bare(body, &gvk, &facts::meta_v1::DELETE_OPTIONS)
            .map_err(|error| ApiError::BadRequest(error.to_string()))?;
        let options: Self = serde_json::from_value(decoded.object.into_value())
            .map_err(|error| ApiError::BadRequest(error.to_string()))?;
        invalid(OPTIONS, options.faults())?;
        Ok(options)
    }

    // Old clients send the options under the resource's own group and version.
    fn kind_of(body: &[u8]) -> Result<GroupVersionKind, ApiError> {
        #[derive(Deserialize, Default)]
        #[serde(rename_all = "camelCase", default)]
        struct Identity {
            kind: String,
            api_version: String,
        }
        // What is no object at all is told by the decoder.
        let identity: Identity = serde_json::from_slice(body).unwrap_or_default();
        let version = if identity.api_version.is_empty() { "meta.k8s.io/v1" } else { &identity.api_version };
        if !matches!(identity.kind.as_str(), "" | OPTIONS) {
            let (kind, version) = (go_quote(&identity.kind), go_quote(version));
            return Err(ApiError::BadRequest(format!(
                "no kind {kind} is registered for version {version} in scheme \"pkg/runtime/scheme.go:111\""
            )));
        }
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        Ok(GroupVersionKind {
            group: group.to_owned().into(),
            version: version.to_owned().into(),
            kind: OPTIONS.into(),
        })
    }

    /// Checks that the options can be those of a collection.
    ///
    /// # Errors
    /// 422
    pub fn check_collection(&self) -> Result<(), ApiError> {
        if !self.ignores_errors() {
            return Ok(());
        }
        let detail = "is not allowed with DELETECOLLECTION, try again after removing the option";
        invalid(OPTIONS, vec![FieldError::invalid(&FieldPath::new(IGNORE), true, detail)])
    }

    /// Whether objects that cannot be read any more are to be deleted, and no others.
    pub fn ignores_errors(&self) -> bool {
        self.ignore_errors == Some(true)
    }

    fn faults(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let path = FieldPath::new("propagationPolicy");
        if let Some(policy) = &self.propagation_policy {
            if self.orphan_dependents.is_some() {
                let detail = "orphanDependents and deletionPropagation cannot be both set";
                errors.push(FieldError::invalid(&path, policy.as_str(), detail));
            }
            if !matches!(policy.as_str(), "Foreground" | "Background" | "Orphan") {
                let supported = &["Foreground", "Background", "Orphan", "nil"];
                errors.push(FieldError::not_supported(&path, policy.as_str(), supported));
            }
        }
        let dry_run: Vec<&str> = self.dry_run.iter().flatten().map(String::as_str).collect();
        dry_run_faults(&dry_run, &mut errors);
        if self.ignores_errors() {
            let others = [
                (self.propagation_policy.is_some(), "propagationPolicy"),
                (self.orphan_dependents.is_some(), "orphanDependents"),
                (self.grace_period_seconds.is_some(), "gracePeriodSeconds"),
                (self.preconditions.is_some(), "preconditions"),
            ];
            for (_, name) in others.into_iter().filter(|(given, _)| *given) {
                let detail = format!("cannot be set together with .{name}");
                errors.push(FieldError::invalid(&FieldPath::new(IGNORE), true, detail));
            }
        }
        errors
    }

    /// Stores nothing, whatever the options said.
    pub fn set_dry_run(&mut self) {
        self.dry_run = Some(vec!["All".to_owned()]);
    }

    /// Whether nothing is stored.
    pub fn dry_run(&self) -> bool {
        self.dry_run.as_ref().is_some_and(|values| !values.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, expected: &str) {
        let said = match DeleteOptions::decode(body.as_bytes()) {
            Ok(options) => format!("grace {:?}, dry {}", options.grace_period_seconds, options.dry_run()),
            Err(error) => error.to_string(),
        };
        assert_eq!(said, expected, "{body}");
    }

    #[test]
    fn deletions() {
        check("{}", "grace None, dry false");
        check(r#"{"gracePeriodSeconds":-5,"dryRun":["All"],"nothing":1}"#, "grace Some(-5), dry true");
        check(r#"{"kind":"DeleteOptions","apiVersion":"apps/v1"}"#, "grace None, dry false");
        check(
            r#"{"kind":"Pod","apiVersion":"v1"}"#,
            r#"no kind "Pod" is registered for version "v1" in scheme "pkg/runtime/scheme.go:111""#,
        );
        check("{", "couldn't get version/kind; json parse error: unexpected end of JSON input");
        check(
            r#"{"gracePeriodSeconds":"soon"}"#,
            "json: cannot unmarshal string into Go struct field DeleteOptions.gracePeriodSeconds of type int64",
        );
        check(
            r#"{"ignoreStoreReadErrorWithClusterBreakingPotential":true,"gracePeriodSeconds":0}"#,
            "DeleteOptions.meta.k8s.io \"\" is invalid: ignoreStoreReadErrorWithClusterBreakingPotential: \
             Invalid value: true: cannot be set together with .gracePeriodSeconds",
        );
    }
}
