//! What upstream declares at the types of `resource.k8s.io`.

use coracle_api::{FieldError, FieldPath, format};

use crate::resources::{
    core::quantities,
    declared::{
        Declared::{self, Field, Part, Pointer, Whole},
        Must::{
            Each, Format, Immutable, Keys, MaxBytes, MaxCharacters, MaxItems, OneOf, Required, Struct,
            Unique, Unmodified, Values, With,
        },
    },
    rules::{Errors, Place},
};

/// Effects of taints.
pub const EFFECTS: &[&str] = &["NoExecute", "NoSchedule", "None"];
/// How devices are chosen.
pub const MODES: &[&str] = &["All", "ExactCount"];

static OPAQUE: &[Declared] =
    &[Field("driver", &[Required, Format(format::dns1123_subdomain_caseless), MaxCharacters(63)])];

static CONFIGURATION: &[Declared] = &[Pointer("opaque", &[Struct(OPAQUE)])];

static CONFIGURATION_FOR: &[Declared] =
    &[Field("requests", &[MaxItems(32), Unique(&[])]), Pointer("opaque", &[Struct(OPAQUE)])];

static TOLERATION: &[Declared] = &[
    Field("key", &[Format(format::qualified_name)]),
    Field("operator", &[Required, OneOf(&["Equal", "Exists"])]),
    Field("effect", &[OneOf(EFFECTS)]),
];

static SUB_REQUEST: &[Declared] = &[
    Field("deviceClassName", &[Required, Format(format::dns1123_subdomain)]),
    Field("selectors", &[MaxItems(32)]),
    Field("allocationMode", &[OneOf(MODES)]),
    Field("tolerations", &[Each(&[], TOLERATION)]),
];

static EXACT_REQUEST: &[Declared] = &[
    Field("selectors", &[MaxItems(32)]),
    Field("allocationMode", &[OneOf(MODES)]),
    Field("tolerations", &[Each(&[], TOLERATION)]),
];

static REQUEST: &[Declared] = &[
    Pointer("exactly", &[Struct(EXACT_REQUEST)]),
    Field("firstAvailable", &[MaxItems(8), Unique(&["name"]), Each(&["name"], SUB_REQUEST)]),
];

static CONSTRAINT: &[Declared] = &[
    Field("requests", &[MaxItems(32), Unique(&[])]),
    Pointer("matchAttribute", &[With(fully_qualified)]),
    Pointer("distinctAttribute", &[With(fully_qualified)]),
];

/// The spec of a claim.
pub static CLAIM_SPEC: &[Declared] = &[Part(
    "devices",
    &[
        Field("requests", &[MaxItems(32), Unique(&["name"]), Each(&["name"], REQUEST)]),
        Field("constraints", &[MaxItems(32), Each(&[], CONSTRAINT)]),
        Field("config", &[MaxItems(32), Each(&[], CONFIGURATION_FOR)]),
    ],
)];

static RESULT: &[Declared] = &[
    Field("driver", &[Required, Format(format::dns1123_subdomain_caseless), MaxCharacters(63)]),
    Field("pool", &[Required, With(pool_name)]),
    Field("tolerations", &[Each(&[], TOLERATION)]),
    Field("bindingConditions", &[MaxItems(4)]),
    Field("bindingFailureConditions", &[MaxItems(4)]),
    Pointer("shareID", &[Format(uuid)]),
];

static ALLOCATION_CONFIGURATION: &[Declared] = &[
    Field("source", &[Required, OneOf(&["FromClaim", "FromClass"])]),
    Field("requests", &[MaxItems(32), Unique(&[])]),
    Pointer("opaque", &[Struct(OPAQUE)]),
];

static ALLOCATION: &[Declared] = &[Part(
    "devices",
    &[
        Field("results", &[MaxItems(32), Each(&[], RESULT)]),
        Field("config", &[MaxItems(64), Each(&[], ALLOCATION_CONFIGURATION)]),
    ],
)];

static NETWORK: &[Declared] = &[
    Field("interfaceName", &[MaxBytes(256)]),
    Field("ips", &[MaxItems(16), Unique(&[])]),
    Field("hardwareAddress", &[MaxBytes(128)]),
];

static DEVICE_STATUS: &[Declared] =
    &[Pointer("shareID", &[Format(uuid)]), Pointer("networkData", &[Struct(NETWORK)])];

const DEVICE: &[&str] = &["driver", "device", "pool", "shareID"];

/// A claim.
pub static CLAIM: &[Declared] = &[
    Pointer("spec", &[Immutable, Struct(CLAIM_SPEC)]),
    Part(
        "status",
        &[
            Pointer("allocation", &[Unmodified, Struct(ALLOCATION)]),
            Field("reservedFor", &[MaxItems(256), Unique(&["uid"])]),
            Field("devices", &[Unique(DEVICE), Each(DEVICE, DEVICE_STATUS)]),
        ],
    ),
];

/// A template of claims.
pub static TEMPLATE: &[Declared] = &[Part("spec", &[Part("spec", CLAIM_SPEC)])];

/// A class of devices.
pub static CLASS: &[Declared] = &[
    Part("metadata", &[Field("name", &[Format(format::dns1123_subdomain)])]),
    Part(
        "spec",
        &[
            Field("selectors", &[MaxItems(32)]),
            Field("config", &[MaxItems(32), Each(&[], CONFIGURATION)]),
            Pointer("extendedResourceName", &[With(extended_resource)]),
        ],
    ),
];

static TAINT: &[Declared] = &[Field("effect", &[Required, OneOf(EFFECTS)])];

/// A rule that taints devices.
pub static TAINT_RULE: &[Declared] = &[Part("spec", &[Part("taint", TAINT)])];

static COUNTER_SET: &[Declared] = &[
    Field("name", &[Required, Format(format::dns1123_label)]),
    Field("counters", &[Required, Keys(format::dns1123_label)]),
];

static CONSUMPTION: &[Declared] = &[
    Field("counterSet", &[Required, Format(format::dns1123_label)]),
    Field("counters", &[Required, Keys(format::dns1123_label)]),
];

static SLICE_DEVICE: &[Declared] = &[
    Field("attributes", &[Values(&[Whole(one_value)])]),
    Field("consumesCounters", &[MaxItems(2), Unique(&["counterSet"]), Each(&["counterSet"], CONSUMPTION)]),
    Field("taints", &[Each(&[], TAINT)]),
    Field("bindingConditions", &[MaxItems(4)]),
    Field("bindingFailureConditions", &[MaxItems(4)]),
];

/// A slice.
pub static SLICE: &[Declared] = &[Part(
    "spec",
    &[
        Field("devices", &[Each(&[], SLICE_DEVICE)]),
        Field("sharedCounters", &[MaxItems(8), Unique(&["name"]), Each(&["name"], COUNTER_SET)]),
    ],
)];

fn uuid(text: &str) -> Vec<String> {
    let good = text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
        });
    if good { Vec::new() } else { vec!["must be a lowercase UUID in 8-4-4-4-12 format".to_owned()] }
}

fn pool_name(place: &Place<'_>, errors: &mut Errors) {
    const MAX: usize = 253;
    let (name, path) = (place.value().as_str().unwrap_or_default(), place.path());
    if name.len() > MAX {
        errors.push(FieldError::too_long(&path, MAX));
    }
    for (index, part) in name.split('/').enumerate() {
        if part.is_empty() {
            errors.push(FieldError::invalid(&path, name, format!("segment {index}: must not be empty")));
            continue;
        }
        let faults = format::dns1123_subdomain(part).into_iter();
        errors.extend(faults.map(|it| FieldError::invalid(&path, part, format!("segment {index}: {it}"))));
    }
}

fn fully_qualified(place: &Place<'_>, errors: &mut Errors) {
    const LONGEST_DOMAIN: usize = 63;
    let (name, path) = (place.value().as_str().unwrap_or_default(), place.path());
    match name.split('/').collect::<Vec<_>>().as_slice() {
        [own] => errors.extend(identifier(own, &path)),
        [prefix, own] => {
            if prefix.is_empty() {
                errors.push(FieldError::invalid(&path, "", "prefix must not be empty"));
            } else {
                if prefix.len() > LONGEST_DOMAIN {
                    errors.push(FieldError::too_long(&path, LONGEST_DOMAIN));
                }
                let faults = format::dns1123_subdomain(prefix).into_iter();
                errors.extend(faults.map(|it| FieldError::invalid(&path, *prefix, format!("prefix: {it}"))));
            }
            if own.is_empty() {
                errors.push(FieldError::invalid(&path, "", "name must not be empty"));
            } else {
                errors.extend(identifier(own, &path));
            }
        }
        _ => {}
    }
    if !name.contains('/') {
        let detail = "a fully qualified name must be a domain and a name separated by a slash";
        errors.push(FieldError::invalid(&path, name, detail));
    }
}

/// What is wrong with the name of an attribute, without its domain.
pub fn identifier(name: &str, path: &FieldPath) -> Errors {
    const MAX: usize = 32;
    let mut errors = Errors::new();
    if name.len() > MAX {
        errors.push(FieldError::too_long(path, MAX));
    }
    errors.extend(format::c_identifier(name).into_iter().map(|it| FieldError::invalid(path, name, it)));
    errors
}

fn extended_resource(place: &Place<'_>, errors: &mut Errors) {
    let (name, path) = (place.value().as_str().unwrap_or_default(), place.path());
    let mut invalid = |detail: &str| errors.push(FieldError::invalid(&path, name, detail));
    if !name.contains('/') {
        invalid("a name must be a domain-prefixed path, such as 'example.com/my-prop'");
    } else if quantities::native(name) {
        invalid("must not have \"kubernetes.io/\" domain");
    }
    if name.starts_with("requests.") {
        invalid("must not have \"requests.\" prefix");
    }
    format::qualified_name(&format!("requests.{name}")).iter().for_each(|fault| invalid(fault));
}

// The kinds of values that an attribute may have, in upstream's order.
const VALUES: &[&str] = &["int", "bool", "string", "version", "ints", "bools", "strings", "versions"];

fn one_value(attribute: &Place<'_>, errors: &mut Errors) {
    let given: Vec<&str> = VALUES.iter().copied().filter(|name| attribute.has(name)).collect();
    let kept =
        |old: &serde_json::Value| VALUES.iter().all(|name| old[*name].is_null() != attribute.has(name));
    if attribute.old().is_some_and(kept) {
        return;
    }
    let all = VALUES.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let (shown, detail) = match given.as_slice() {
        [] => (String::new(), format!("must specify one of: {all}")),
        [_] => return,
        several => (format!("{{{}}}", several.join(", ")), format!("must specify exactly one of: {all}")),
    };
    errors.push(FieldError::invalid(&attribute.path(), shown, detail));
}
