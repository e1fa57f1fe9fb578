//! Priority level configurations.

use coracle_api::{FieldError, FieldPath, Object, format};
use serde_json::{Map, Value};

use super::flowschemas::condition_types;
use crate::resources::{
    Column, Part, Strategy, Write,
    columns::{AGE, NAME, show},
    declared, keep_metadata, prepare,
    rules::Errors,
    tree::{field, number, object_mut, or_default, section, set, text},
};

/// The behaviour of priority level configurations.
pub struct PriorityLevelConfigurations;

impl Strategy for PriorityLevelConfigurations {
    fn default(&self, object: &mut Object) {
        let spec = object.section_mut("spec");
        if let Some(exempt) = object_mut(spec, "exempt") {
            exempt.entry("nominalConcurrencyShares").or_insert_with(|| 0.into());
            exempt.entry("lendablePercent").or_insert_with(|| 0.into());
        }
        let Some(limited) = object_mut(spec, "limited") else { return };
        // Go writes an unset one as `null`.
        or_default(limited, "nominalConcurrencyShares", 30);
        limited.entry("lendablePercent").or_insert_with(|| 0.into());
        let response = object_mut(limited, "limitResponse");
        if let Some(queuing) = response.and_then(|response| object_mut(response, "queuing")) {
            or_if_zero(queuing, "handSize", 8);
            or_if_zero(queuing, "queues", 64);
            or_if_zero(queuing, "queueLengthLimit", 50);
        }
    }

    fn prepare(&self, write: &Write<'_>, new: &mut Object, old: Option<&Object>) {
        prepare(write, new, old);
        keep_metadata(write, new, old);
    }

    fn validate(&self, write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        if write.part == Part::Status {
            return condition_types(new);
        }
        let mut errors = Vec::new();
        const ZERO: &str = "flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares";
        if new.annotation(ZERO).is_some() {
            let path = FieldPath::new("metadata").child("annotations");
            errors.push(FieldError::forbidden(&path, format!("annotation '{ZERO}' is forbidden")));
        }
        errors.extend(spec(new.name(), section(new, "spec")));
        errors.extend(condition_types(new));
        let before = old.map(|old| section(old, "spec"));
        declared::supersede(&mut errors, declared_of(section(new, "spec"), before));
        errors
    }

    fn name(&self, name: &str, prefix: bool) -> Vec<String> {
        format::name_is_subdomain(name, prefix)
    }
}

fn declared_of(spec: &Value, old: Option<&Value>) -> Errors {
    let path = FieldPath::new("spec");
    let same = |field: &str| old.is_some_and(|old| old[field] == spec[field]);
    let kind = text(&spec["type"]);
    let mut errors = Errors::new();
    for (member, of) in [("exempt", "Exempt"), ("limited", "Limited")] {
        if same("type") && same(member) {
            continue;
        }
        match (kind == of, set(&spec[member])) {
            (false, true) => errors.push(FieldError::forbidden(&path.child(member), "")),
            (true, false) if member == "limited" => {
                errors.push(FieldError::required(&path.child(member), ""));
            }
            _ => {}
        }
    }
    if kind.is_empty() && !same("type") {
        errors.push(FieldError::required(&path.child("type"), ""));
    }
    let response = &spec["limited"]["limitResponse"];
    let before = old.map(|old| &old["limited"]["limitResponse"]);
    if set(&spec["limited"]) && before != Some(response) {
        declared_of_response(response, before, &path.child("limited").child("limitResponse"), &mut errors);
    }
    errors
}

fn declared_of_response(response: &Value, old: Option<&Value>, path: &FieldPath, errors: &mut Errors) {
    let kind = text(&response["type"]);
    let same = old.is_some_and(|old| text(&old["type"]) == kind);
    let neither = response["queuing"].is_null() && old.is_some_and(|old| old["queuing"].is_null());
    if !(same && neither) {
        match (kind == "Queue", set(&response["queuing"])) {
            (false, true) => errors.push(FieldError::forbidden(&path.child("queuing"), "")),
            (true, false) => errors.push(FieldError::required(&path.child("queuing"), "")),
            _ => {}
        }
    }
    if kind.is_empty() && !same {
        errors.push(FieldError::required(&path.child("type"), ""));
    }
}

fn or_if_zero(map: &mut Map<String, Value>, name: &str, default: i64) {
    if map.get(name).map_or(0, number) == 0 {
        map.insert(name.to_owned(), default.into());
    }
}

fn spec(name: &str, spec: &Value) -> Vec<FieldError> {
    let path = FieldPath::new("spec");
    let kind = text(&spec["type"]);
    let (limited, exempt) = (&spec["limited"], &spec["exempt"]);
    let mut errors = Vec::new();
    if (name == "exempt") != (kind == "Exempt") {
        let detail = "must be 'Exempt' if and only if `name` is 'exempt'";
        errors.push(FieldError::invalid(&path.child("type"), kind, detail));
    }
    match kind {
        "Exempt" => {
            if set(limited) {
                let detail = "must be nil if the type is not Limited";
                errors.push(FieldError::forbidden(&path.child("limited"), detail));
            }
            errors.extend(shares(exempt, &path.child("exempt")));
        }
        "Limited" => {
            if set(exempt) {
                errors
                    .push(FieldError::forbidden(&path.child("exempt"), "must be nil if the type is Limited"));
            }
            if limited.is_null() {
                let detail = "must not be empty when type is Limited";
                errors.push(FieldError::required(&path.child("limited"), detail));
            } else {
                errors.extend(limit(limited, &path.child("limited")));
            }
        }
        "" => errors.push(FieldError::required(&path.child("type"), "")),
        _ => errors.push(FieldError::not_supported(&path.child("type"), kind, &["Exempt", "Limited"])),
    }
    errors
}

fn shares(level: &Value, path: &FieldPath) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let shares = &level["nominalConcurrencyShares"];
    if number(shares) < 0 {
        let path = path.child("nominalConcurrencyShares");
        errors.push(FieldError::invalid(&path, shares.clone(), "must be a non-negative integer"));
    }
    errors.extend(lendable(level, path));
    errors
}

fn lendable(level: &Value, path: &FieldPath) -> Option<FieldError> {
    let percent = level["lendablePercent"].as_i64()?;
    let path = path.child("lendablePercent");
    (!(0..=100).contains(&percent))
        .then(|| FieldError::invalid(&path, percent, "must be between 0 and 100, inclusive"))
}

fn limit(level: &Value, path: &FieldPath) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let shares = &level["nominalConcurrencyShares"];
    if number(shares) < 0 {
        let path = path.child("nominalConcurrencyShares");
        errors.push(FieldError::invalid(&path, shares.clone(), "must be a non-negative integer"));
    }
    let (response, at) = (&level["limitResponse"], path.child("limitResponse"));
    let queuing = &response["queuing"];
    match text(&response["type"]) {
        "Reject" if set(queuing) => {
            let detail = "must be nil if limited.limitResponse.type is not Limited";
            errors.push(FieldError::forbidden(&at.child("queuing"), detail));
        }
        "Reject" => {}
        "Queue" if queuing.is_null() => {
            let detail = "must not be empty if limited.limitResponse.type is Limited";
            errors.push(FieldError::required(&at.child("queuing"), detail));
        }
        "Queue" => errors.extend(queues(queuing, &at.child("queuing"))),
        "" => errors.push(FieldError::required(&at.child("type"), "")),
        other => errors.push(FieldError::not_supported(&at.child("type"), other, &["Queue", "Reject"])),
    }
    errors.extend(lendable(level, path));
    let borrowing = &level["borrowingLimitPercent"];
    if number(borrowing) < 0 {
        let detail = "if specified, must be a non-negative integer";
        errors.push(FieldError::invalid(&path.child("borrowingLimitPercent"), borrowing.clone(), detail));
    }
    errors
}

fn queues(queuing: &Value, path: &FieldPath) -> Vec<FieldError> {
    const MOST: i64 = 10_000_000;
    const MOST_BITS: u32 = 60;
    let of = |name: &str| (number(&queuing[name]), path.child(name));
    let mut errors = Vec::new();
    let (length, at) = of("queueLengthLimit");
    if length <= 0 {
        errors.push(FieldError::invalid(&at, length, "must be positive"));
    }
    let (queues, at) = of("queues");
    if queues <= 0 {
        errors.push(FieldError::invalid(&at, queues, "must be positive"));
    } else if queues > MOST {
        errors.push(FieldError::invalid(&at, queues, format!("must not be greater than {MOST}")));
    }
    let (hand, at) = of("handSize");
    if hand <= 0 {
        errors.push(FieldError::invalid(&at, hand, "must be positive"));
    } else if hand > queues {
        errors.push(FieldError::invalid(&at, hand, format!("should not be greater than queues ({queues})")));
    } else if bits(queues, hand) > MOST_BITS {
        let detail = format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {MOST_BITS}"
        );
        errors.push(FieldError::invalid(&at, hand, detail));
    }
    errors
}

// How many bits of a hash dealing a hand takes: log2 of the number of hands.
fn bits(queues: i64, hand: i64) -> u32 {
    let bits: f64 = (0..hand.min(64)).map(|dealt| ((queues - dealt) as f64).log2()).sum();
    bits.ceil() as u32
}

fn shown(level: &Object, path: &[&str]) -> Value {
    match field(level, path) {
        Value::Null if field(level, &path[..path.len().saturating_sub(1)]).is_null() => "<none>".into(),
        value => number(value).into(),
    }
}

/// The columns.
pub static COLUMNS: &[Column] = &[
    NAME,
    Column::new(
        "Type",
        "string",
        "`type` indicates whether this priority level is subject to limitation on request execution.  A value of `\"Exempt\"` means that requests of this priority level are not subject to a limit (and thus are never queued) and do not detract from the capacity made available to other priority levels.  A value of `\"Limited\"` means that (a) requests of this priority level _are_ subject to limits and (b) some of the server's limited capacity is made available exclusively to this priority level. Required.",
        |it, _| show(it, &["spec", "type"]),
    ),
    Column::new(
        "NominalConcurrencyShares",
        "string",
        "`nominalConcurrencyShares` (NCS) contributes to the computation of the NominalConcurrencyLimit (NominalCL) of this level. This is the number of execution seats available at this priority level. This is used both for requests dispatched from this priority level as well as requests dispatched from other priority levels borrowing seats from this level. The server's concurrency limit (ServerCL) is divided among the Limited priority levels in proportion to their NCS values:\n\nNominalCL(i)  = ceil( ServerCL * NCS(i) / sum_ncs ) sum_ncs = sum[priority level k] NCS(k)\n\nBigger numbers mean a larger nominal concurrency limit, at the expense of every other priority level.\n\nIf not specified, this field defaults to a value of 30.\n\nSetting this field to zero supports the construction of a \"jail\" for this priority level that is used to hold some request(s)",
        |it, _| shown(it, &["spec", "limited", "nominalConcurrencyShares"]),
    ),
    Column::new(
        "Queues",
        "string",
        "`queues` is the number of queues for this priority level. The queues exist independently at each apiserver. The value must be positive.  Setting it to 1 effectively precludes shufflesharding and thus makes the distinguisher method of associated flow schemas irrelevant.  This field has a default value of 64.",
        |it, _| shown(it, &["spec", "limited", "limitResponse", "queuing", "queues"]),
    ),
    Column::new(
        "HandSize",
        "string",
        "`handSize` is a small positive number that configures the shuffle sharding of requests into queues.  When enqueuing a request at this priority level the request's flow identifier (a string pair) is hashed and the hash value is used to shuffle the list of queues and deal a hand of the size specified here.  The request is put into one of the shortest queues in that hand. `handSize` must be no larger than `queues`, and should be significantly smaller (so that a few heavy flows do not saturate most of the queues).  See the user-facing documentation for more extensive guidance on setting this field.  This field has a default value of 8.",
        |it, _| shown(it, &["spec", "limited", "limitResponse", "queuing", "handSize"]),
    ),
    Column::new(
        "QueueLengthLimit",
        "string",
        "`queueLengthLimit` is the maximum number of requests allowed to be waiting in a given queue of this priority level at a time; excess requests are rejected.  This value must be positive.  If not specified, it will be defaulted to 50.",
        |it, _| shown(it, &["spec", "limited", "limitResponse", "queuing", "queueLengthLimit"]),
    ),
    AGE,
];
