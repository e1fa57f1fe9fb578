//! Cron jobs.

use coracle_api::{
    FieldError, FieldPath, Object, format,
    schedule::{self, Schedule},
};
use serde_json::Value;

use super::{job_spec, jobs};
use crate::resources::{
    Column, Part, Strategy, Write,
    columns::{AGE, NAME, selector, show_or, since, wide},
    core::pods::internal::escaped,
    restore,
    rules::{Check, Errors, Place, Rule, check},
    tree::{count, field, text},
    workloads::{self, unset},
};

/// The behaviour of cron jobs.
pub struct CronJobs;

const JOB: &[&str] = &["spec", "jobTemplate", "spec"];
const TEMPLATE: &[&str] = &["spec", "jobTemplate", "spec", "template"];

impl Strategy for CronJobs {
    fn default(&self, object: &mut Object) {
        let spec = object.section_mut("spec");
        if spec.get("concurrencyPolicy").is_none_or(|policy| policy.is_null() || policy == "") {
            spec.insert("concurrencyPolicy".to_owned(), "Allow".into());
        }
        unset(spec, "suspend", false);
        unset(spec, "successfulJobsHistoryLimit", 3);
        unset(spec, "failedJobsHistoryLimit", 1);
        if let Some(job) = workloads::at_mut(object, JOB).and_then(Value::as_object_mut) {
            jobs::default_spec(job, false);
        }
        workloads::default_template(object, TEMPLATE);
    }

    fn prepare(&self, write: &Write<'_>, new: &mut Object, old: Option<&Object>) {
        match (write.part, old) {
            (Part::Status, Some(old)) => restore(new, old, "spec"),
            (_, old) => jobs::drop_disabled(workloads::at_mut(new, JOB), old.and_then(|old| old.get(JOB))),
        }
        workloads::prepare(write, new, old, TEMPLATE);
    }

    fn validate(&self, write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        if write.part == Part::Status {
            return Vec::new();
        }
        let mut errors = workloads::section(new, old, "spec", SPEC);
        // The jobs' names end in a dash and ten digits.
        if old.is_none() && new.name().len() > 52 {
            let detail = "must be no more than 52 characters";
            errors.push(FieldError::invalid(&FieldPath::new("metadata.name"), new.name(), detail));
        }
        // What upstream declares comes last.
        let schedule = Place::object(new, old);
        if let Some(spec) = schedule.field("spec") {
            check(&[Check::Field("schedule", &[Rule::Required("")])], &spec, &mut errors);
        }
        errors
    }

    fn warnings(&self, write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<String> {
        let mut out = workloads::warn(write, new, old, TEMPLATE, true);
        let counts = write.part == Part::Whole && old.is_none_or(|old| old.generation() != new.generation());
        let many = new.get(JOB).and_then(|job| jobs::many(job, "spec.jobTemplate.spec"));
        if let Some(warning) = many.filter(|_| counts) {
            let named = usize::from(old.is_none() && !format::dns1123_label(new.name()).is_empty());
            out.insert(named, warning);
        }
        if write.part == Part::Whole && old.is_some() && new.get_str(&["spec", "schedule"]).contains("TZ") {
            out.push("cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details".to_owned());
        }
        out
    }

    fn name(&self, name: &str, prefix: bool) -> Vec<String> {
        format::name_is_subdomain(name, prefix)
    }
}

static SPEC: &[Check] = &[
    Check::With(validate_schedule),
    Check::Field("startingDeadlineSeconds", &[Rule::NotNegative]),
    Check::With(time_zone),
    Check::Field("concurrencyPolicy", &[Rule::Required(""), Rule::OneOf(&["Allow", "Forbid", "Replace"])]),
    Check::Within("jobTemplate", &[Check::Within("spec", JOB_SPEC)]),
    Check::Field("successfulJobsHistoryLimit", &[Rule::NotNegative]),
    Check::Field("failedJobsHistoryLimit", &[Rule::NotNegative]),
];

static JOB_SPEC: &[Check] = &[
    Check::All(job_spec::SPEC),
    Check::With(|job, errors| {
        if job.has("selector") {
            errors.push(workloads::selector_error(job, "`selector` will be auto-generated"));
        }
        if job.flag("manualSelector") {
            let path = job.path_of("manualSelector");
            errors.push(FieldError::not_supported(&path, true, &["nil", "false"]));
        }
    }),
];

fn validate_schedule(spec: &Place<'_>, errors: &mut Errors) {
    let (text, path) = (spec.text("schedule"), spec.path_of("schedule"));
    if text.is_empty() {
        return;
    }
    if let Err(error) = Schedule::parse(text) {
        errors.push(FieldError::invalid(&path, text, error));
    }
    // What had a zone in it before may keep it.
    let had = spec.old_of("schedule").and_then(Value::as_str).is_some_and(|old| old.contains("TZ"));
    let detail = match text.contains("TZ") {
        true if had && spec.has("timeZone") => "cannot use both timeZone field and TZ or CRON_TZ in schedule",
        true if !had => "cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
        _ => return,
    };
    errors.push(FieldError::invalid(&path, text, detail));
}

fn time_zone(spec: &Place<'_>, errors: &mut Errors) {
    let Some(zone) = spec.get("timeZone").and_then(Value::as_str) else { return };
    if spec.old().is_some() && spec.get("timeZone") == spec.old_of("timeZone") {
        return;
    }
    let mut wrong = |detail: &str| {
        let error = FieldError::invalid(&spec.path_of("timeZone"), zone, detail);
        errors.push(error.showing(escaped(&zone.into())));
    };
    if zone.is_empty() {
        wrong("timeZone must be nil or non-empty string");
        return;
    }
    let unknown = format!("unknown time zone {zone}");
    let named = |part: &str| {
        let characters = part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_+".contains(&byte));
        characters && (1..=14).contains(&part.len()) && part != "." && part != ".." && !part.starts_with('-')
    };
    if !zone.split('/').all(named) {
        wrong(&unknown);
        return;
    }
    if zone.eq_ignore_ascii_case("local") {
        wrong("timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones");
    }
    if schedule::time_zone(zone).is_err() {
        wrong(&unknown);
    }
}

/// The columns.
pub static COLUMNS: &[Column] = &[
    NAME,
    Column::new(
        "Schedule",
        "string",
        "The schedule in Cron format, see https://en.wikipedia.org/wiki/Cron.",
        |it, _| text(field(it, &["spec", "schedule"])).into(),
    ),
    Column::new(
        "Timezone",
        "string",
        "The time zone name for the given schedule, see https://en.wikipedia.org/wiki/List_of_tz_database_time_zones. If not specified, this will default to the time zone of the kube-controller-manager process. The set of valid time zone names and the time zone offset is loaded from the system-wide time zone database by the API server during CronJob validation and the controller manager during execution. If no system-wide time zone database can be found a bundled version of the database is used instead. If the time zone name becomes invalid during the lifetime of a CronJob or due to a change in host configuration, the controller will stop creating new new Jobs and will create a system event with the reason UnknownTimeZone. More information can be found in https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/#time-zones",
        |it, _| show_or(it, &["spec", "timeZone"], "<none>"),
    ),
    Column::new(
        "Suspend",
        "boolean",
        "This flag tells the controller to suspend subsequent executions, it does not apply to already started executions.  Defaults to false.",
        |it, _| match field(it, &["spec", "suspend"]).as_bool() {
            None => "<unset>".into(),
            Some(true) => "True".into(),
            Some(false) => "False".into(),
        },
    ),
    Column::new("Active", "integer", "A list of pointers to currently running jobs.", |it, _| {
        count(field(it, &["status", "active"])).into()
    }),
    Column::new(
        "Last Schedule",
        "string",
        "Information when was the last time the job was successfully scheduled.",
        |it, now| match it.get(&["status", "lastScheduleTime"]) {
            None => "<none>".into(),
            Some(_) => since(it, &["status", "lastScheduleTime"], now),
        },
    ),
    AGE,
    wide(Column::new("Containers", "string", "Names of each container in the template.", |it, _| {
        workloads::names(it, TEMPLATE)
    })),
    wide(Column::new("Images", "string", "Images referenced by each container in the template.", |it, _| {
        workloads::images(it, TEMPLATE)
    })),
    wide(Column::new("Selector", "string", jobs::SELECTS, |it, _| {
        selector(field(it, &["spec", "jobTemplate", "spec", "selector"])).into()
    })),
];
