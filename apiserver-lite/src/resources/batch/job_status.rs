//! What a status may say about a job. Most of it is judged only where it
//! changed: a spec that was just updated may not fit the status for a while.

use std::collections::HashSet;

use coracle_api::{FieldError, Object};
use jiff::Timestamp;
use serde_json::Value;

use super::indexes;
use crate::resources::rules::{Check, Errors, IMMUTABLE, Place, Rule, check};

/// A job's status beside what it was.
struct Change<'a> {
    spec: Place<'a>,
    new: Place<'a>,
    old: Place<'a>,
}

/// Validates an update of `/status`.
pub fn validate(new: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    let null = Value::Object(serde_json::Map::new());
    let (job, before) = (Place::object(new, None), Place::object(old, None));
    let Some(spec) = job.field("spec") else { return errors };
    let new = job.field("status").unwrap_or_else(|| Place::at("status", &null, None));
    let old = before.field("status").unwrap_or_else(|| Place::at("status", &null, None));
    let change = Change { spec, new, old };
    check(COUNTS, &change.new, &mut errors);
    change.uncounted(&mut errors);
    change.conditions(&mut errors);
    change.times(&mut errors);
    change.finished(&mut errors);
    change.indexes(&mut errors);
    change.pods(&mut errors);
    change.criteria(&mut errors);
    change.transitions(&mut errors);
    errors
}

static COUNTS: &[Check] = &[
    Check::Field("active", &[Rule::NotNegative]),
    Check::Field("succeeded", &[Rule::NotNegative]),
    Check::Field("failed", &[Rule::NotNegative]),
    Check::Field("ready", &[Rule::NotNegative]),
    Check::Field("terminating", &[Rule::NotNegative]),
];

fn is(status: &Place<'_>, condition: &str) -> bool {
    status.list("conditions").iter().any(|it| it["type"] == condition && it["status"] == "True")
}

fn finished(status: &Place<'_>) -> bool {
    is(status, "Complete") || is(status, "Failed")
}

impl Change<'_> {
    fn changed(&self, field: &str) -> bool {
        self.new.get(field) != self.old.get(field)
    }

    fn count_changed(&self, field: &str) -> bool {
        self.new.number(field).unwrap_or(0) != self.old.number(field).unwrap_or(0)
    }

    fn turned(&self, condition: &str) -> bool {
        is(&self.new, condition) != is(&self.old, condition)
    }

    fn finish_turned(&self) -> bool {
        finished(&self.new) != finished(&self.old)
    }

    fn wrong(&self, field: &str, detail: &str) -> FieldError {
        let value = self.new.get(field).cloned().unwrap_or_default();
        FieldError::invalid(&self.new.path_of(field), value, detail)
    }

    fn wrong_conditions(&self, detail: &str) -> FieldError {
        FieldError::invalid(&self.new.path_of("conditions"), Value::Null, detail).valueless()
    }

    fn uncounted(&self, errors: &mut Errors) {
        let Some(uncounted) = self.new.field("uncountedTerminatedPods") else { return };
        let mut seen = HashSet::new();
        for list in ["succeeded", "failed"] {
            for (index, uid) in uncounted.texts(list).enumerate() {
                let path = uncounted.path_of(list).index(index);
                if uid.is_empty() {
                    errors.push(FieldError::invalid(&path, uid, "must not be empty"));
                } else if !seen.insert(uid) {
                    errors.push(FieldError::duplicate(&path, uid));
                }
            }
        }
    }

    fn conditions(&self, errors: &mut Errors) {
        let complete = is(&self.new, "Complete");
        if (self.turned("Complete") || self.turned("Failed")) && complete && is(&self.new, "Failed") {
            errors.push(self.wrong_conditions("cannot set Complete=True and Failed=true conditions"));
        }
        if (self.turned("Complete") || self.turned("FailureTarget"))
            && complete
            && is(&self.new, "FailureTarget")
        {
            errors.push(self.wrong_conditions("cannot set Complete=True and FailureTarget=true conditions"));
        }
    }

    fn times(&self, errors: &mut Errors) {
        let complete = is(&self.new, "Complete");
        let completed = self.new.has("completionTime");
        if self.turned("Complete") || self.changed("completionTime") {
            if completed && !complete {
                let detail = "cannot set completionTime when there is no Complete=True condition";
                errors.push(self.wrong("completionTime", detail));
            }
            if !completed && complete {
                let path = self.new.path_of("completionTime");
                errors.push(FieldError::required(&path, "completionTime is required for Complete jobs"));
            }
        }
        let time = |field: &str| self.new.text(field).parse::<Timestamp>().ok();
        let early = time("startTime").zip(time("completionTime")).is_some_and(|(start, end)| end < start);
        if early && (self.changed("startTime") || self.changed("completionTime")) {
            errors.push(self.wrong("completionTime", "must be equal to or after `startTime`"));
        }
        if (self.turned("Failed") || self.changed("failedIndexes"))
            && is(&self.new, "Failed")
            && !is(&self.new, "FailureTarget")
        {
            let detail = "cannot set Failed=True condition without the FailureTarget=true condition";
            errors.push(self.wrong_conditions(detail));
        }
        if (self.turned("Complete") || self.turned("SuccessCriteriaMet"))
            && complete
            && !is(&self.new, "SuccessCriteriaMet")
        {
            let detail = "cannot set Complete=True condition without the SuccessCriteriaMet=true condition";
            errors.push(self.wrong_conditions(detail));
        }
    }

    fn finished(&self, errors: &mut Errors) {
        if !finished(&self.new) {
            return;
        }
        let turned = self.finish_turned();
        if (turned || self.count_changed("active")) && self.new.number("active").unwrap_or(0) > 0 {
            errors.push(self.wrong("active", "active>0 is invalid for finished job"));
        }
        let idle = self.spec.flag("suspend") && self.spec.number("completions") == Some(0);
        if (turned || self.changed("startTime")) && !idle && !self.new.has("startTime") {
            let path = self.new.path_of("startTime");
            errors.push(FieldError::required(&path, "startTime is required for finished job"));
        }
        let uncounted = self.new.field("uncountedTerminatedPods");
        let some =
            uncounted.is_some_and(|it| !it.list("failed").is_empty() || !it.list("succeeded").is_empty());
        if (turned || self.changed("uncountedTerminatedPods")) && some {
            let error = self.wrong("uncountedTerminatedPods", "must be empty for finished job");
            let value = self.new.get("uncountedTerminatedPods").cloned().unwrap_or_default();
            let list = |field: &str| value.get(field).map_or_else(|| "null".to_owned(), Value::to_string);
            let shown = format!("{{\"Succeeded\":{},\"Failed\":{}}}", list("succeeded"), list("failed"));
            errors.push(error.showing(shown));
        }
    }

    fn indexes(&self, errors: &mut Errors) {
        let completions = self.spec.number("completions");
        let (completed, failed) = (self.new.text("completedIndexes"), self.new.text("failedIndexes"));
        let (completed_changed, failed_changed) =
            (self.changed("completedIndexes"), self.changed("failedIndexes"));
        let per_index = self.spec.has("backoffLimitPerIndex");
        let mut parse = |field: &str, list: &str| {
            if let Some(Err(error)) = completions.map(|completions| indexes::count(list, completions)) {
                errors.push(self.wrong(field, &format!("error parsing {field}: {error}")));
            }
        };
        if completed_changed {
            parse("completedIndexes", completed);
        }
        if failed_changed && per_index && self.new.has("failedIndexes") {
            parse("failedIndexes", failed);
        }
        if completed_changed && !completed.is_empty() && self.spec.text("completionMode") != "Indexed" {
            let detail = "cannot set non-empty completedIndexes when non-indexed completion mode";
            errors.push(self.wrong("completedIndexes", detail));
        }
        if failed_changed && !per_index && self.new.has("failedIndexes") {
            let detail = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
            errors.push(self.wrong("failedIndexes", detail));
        }
        if (failed_changed || completed_changed) && !completed.is_empty() && !failed.is_empty() {
            let shared = completions.and_then(|completions| indexes::overlap(completed, failed, completions));
            if let Some(index) = shared {
                let detail = format!("failedIndexes and completedIndexes overlap at index: {index}");
                errors.push(self.wrong("failedIndexes", &detail));
            }
        }
    }

    fn pods(&self, errors: &mut Errors) {
        let count = |field: &str| self.new.number(field).unwrap_or(0);
        let turned = self.finish_turned() || self.changed("terminating");
        if turned && count("terminating") > 0 && finished(&self.new) {
            errors.push(self.wrong("terminating", "terminating>0 is invalid for finished job"));
        }
        let changed = self.changed("ready") || self.count_changed("active");
        if changed && self.new.has("ready") && count("ready") > count("active") {
            errors.push(self.wrong("ready", "cannot set more ready pods than active"));
        }
    }

    fn criteria(&self, errors: &mut Errors) {
        let met = is(&self.new, "SuccessCriteriaMet");
        if met && is(&self.new, "Failed") {
            errors
                .push(self.wrong_conditions("cannot set SuccessCriteriaMet=True and Failed=true conditions"));
        }
        if met && is(&self.new, "FailureTarget") {
            let detail = "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions";
            errors.push(self.wrong_conditions(detail));
        }
        if self.spec.has("successPolicy") && !met && is(&self.new, "Complete") {
            let detail = "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True";
            errors.push(self.wrong_conditions(detail));
        }
    }

    fn transitions(&self, errors: &mut Errors) {
        for condition in ["Failed", "Complete", "FailureTarget"] {
            if is(&self.old, condition) && !is(&self.new, condition) {
                let detail = format!("cannot disable the terminal {condition}=True condition");
                errors.push(self.wrong_conditions(&detail));
            }
        }
        let less = |field: &str| self.new.number(field).unwrap_or(0) < self.old.number(field).unwrap_or(0);
        if less("failed") {
            errors.push(self.counted("failed"));
        }
        // Elastic jobs may be scaled down, and then have succeeded less.
        let indexed = self.spec.text("completionMode") == "Indexed";
        let elastic = indexed && self.spec.get("completions") == self.spec.get("parallelism");
        if less("succeeded") && !elastic {
            errors.push(self.counted("succeeded"));
        }
        let both = |field: &str| self.new.has(field) && self.old.has(field);
        if both("completionTime") && self.changed("completionTime") {
            errors.push(self.wrong("completionTime", IMMUTABLE));
        }
        let suspended = |status: &Place<'_>, value: &str| {
            status.list("conditions").iter().any(|it| it["type"] == "Suspended" && it["status"] == value)
        };
        let resumes = suspended(&self.old, "True") && suspended(&self.new, "False");
        if self.old.has("startTime") && self.changed("startTime") && !resumes && !self.spec.flag("suspend") {
            errors.push(self.wrong("startTime", "field is immutable for unsuspended job once set"));
        }
        let (met, was_met) = (is(&self.new, "SuccessCriteriaMet"), is(&self.old, "SuccessCriteriaMet"));
        if was_met && !met {
            errors.push(self.wrong_conditions("cannot disable the SuccessCriteriaMet=True condition"));
        }
        if is(&self.old, "Complete") && !was_met && met {
            let detail = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions";
            errors.push(self.wrong_conditions(detail));
        }
    }

    fn counted(&self, field: &str) -> FieldError {
        let detail = format!("cannot decrease the {field} counter");
        FieldError::invalid(&self.new.path_of(field), self.new.number(field).unwrap_or(0), detail)
    }
}
