//! Service CIDRs: networks of cluster addresses.

use coracle_api::{FieldError, FieldPath, Object, format};
use serde_json::json;

use crate::resources::{
    Column, Part, Strategy, Write,
    columns::{AGE, NAME},
    core::addresses,
    rules::IMMUTABLE,
    separate_wholly,
    tree::{field, texts},
};

/// The behaviour of service CIDRs.
pub struct ServiceCidrs;

impl Strategy for ServiceCidrs {
    fn prepare(&self, write: &Write<'_>, new: &mut Object, old: Option<&Object>) {
        separate_wholly(write, new, old);
    }

    fn validate(&self, write: &Write<'_>, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        if write.part == Part::Status {
            return Vec::new();
        }
        let now = texts(field(new, &["spec", "cidrs"]));
        let Some(old) = old else { return networks(&now) };
        let before = texts(field(old, &["spec", "cidrs"]));
        let path = FieldPath::new("spec").child("cidrs");
        match (before.len(), now.len()) {
            (a, b) if a == b => {
                let changed = before.iter().zip(&now).enumerate().filter(|(_, (before, now))| before != now);
                changed
                    .map(|(index, (_, now))| FieldError::invalid(&path.index(index), *now, IMMUTABLE))
                    .collect()
            }
            (1, 2) => {
                let mut errors = Vec::new();
                if now[0] != before[0] {
                    errors.push(FieldError::invalid(&path.index(0), now[0], IMMUTABLE));
                }
                errors.extend(networks(&now));
                errors
            }
            _ => vec![FieldError::invalid(&path, json!(now), IMMUTABLE)],
        }
    }

    fn name(&self, name: &str, prefix: bool) -> Vec<String> {
        format::name_is_subdomain(name, prefix)
    }
}

fn networks(cidrs: &[&str]) -> Vec<FieldError> {
    let path = FieldPath::new("spec").child("cidrs");
    match cidrs {
        [] => return vec![FieldError::required(&path, "at least one CIDR required")],
        [_] | [_, _] => {}
        _ => {
            let shown = json!({"CIDRs": cidrs});
            return vec![FieldError::invalid(&path, shown, "may only hold up to 2 values")];
        }
    }
    let mut errors = Vec::new();
    for (index, cidr) in cidrs.iter().enumerate() {
        errors.extend(addresses::canonical_cidr(cidr, &path.index(index)));
    }
    if let [one, two] = cidrs {
        let families = (addresses::cidr_is_v6(one), addresses::cidr_is_v6(two));
        if families.0.is_some() && families.0 == families.1 {
            let detail =
                "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
            errors.push(FieldError::invalid(&path, json!(cidrs), detail));
        }
    }
    errors
}

/// The columns.
pub static COLUMNS: &[Column] = &[
    NAME,
    Column::new(
        "CIDRs",
        "string",
        "cidrs defines the IP blocks in CIDR notation (e.g. \"192.168.0.0/24\" or \"2001:db8::/64\") from which to assign service cluster IPs. Max of two CIDRs is allowed, one of each IP family. This field is immutable.",
        |it, _| texts(field(it, &["spec", "cidrs"])).join(",").into(),
    ),
    AGE,
];
