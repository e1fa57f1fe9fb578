//! Which IP families a service's cluster addresses are of.

use coracle_api::{FieldError, FieldPath, Object};
use serde_json::{Value, json};

use super::{
    shape::{NONE, needs_cluster_ip},
    validate::cluster_ips,
};
use crate::resources::{
    core::addresses,
    tree::{list, section, set, text, texts},
};

/// The family of an address.
pub fn of(ip: &str) -> &'static str {
    if addresses::is_v6(ip) { "IPv6" } else { "IPv4" }
}

fn other(family: &str) -> &'static str {
    if family == "IPv4" { "IPv6" } else { "IPv4" }
}

fn field(name: &str) -> FieldPath {
    FieldPath::new("spec").child(name)
}

/// Fills `ipFamilies` and `ipFamilyPolicy` in; `configured` are the cluster's
/// families, the primary one first.
///
/// # Errors
/// What does not fit together, or is not to be had here.
pub fn fill(
    new: &mut Object,
    old: Option<&Object>,
    configured: &[&'static str],
) -> Result<(), Vec<FieldError>> {
    let before = old.map(|old| section(old, "spec"));
    if !needs_cluster_ip(section(new, "spec")) || unchanged(section(new, "spec"), before) {
        return Ok(());
    }
    let selected = |spec: &Value| spec["selector"].as_object().is_some_and(|it| !it.is_empty());
    let after = section(new, "spec");
    let selectorless = text(&after["clusterIP"]) == NONE && !selected(after);
    if after["ipFamilyPolicy"].is_null() {
        let policy = match before.map(|spec| text(&spec["ipFamilyPolicy"])) {
            Some(policy) if !policy.is_empty() => policy.to_owned(),
            _ if selectorless => "RequireDualStack".to_owned(),
            _ => "SingleStack".to_owned(),
        };
        new.section_mut("spec").insert("ipFamilyPolicy".to_owned(), policy.into());
    }
    let faults = cluster_ips(new, old);
    if !faults.is_empty() {
        return Err(faults);
    }
    fit_policy(new, before)?;
    add_families_of_ips(new, configured)?;
    let spec = section(new, "spec");
    let single = text(&spec["ipFamilyPolicy"]) == "SingleStack";
    let mut families: Vec<String> = texts(&spec["ipFamilies"]).into_iter().map(str::to_owned).collect();
    let mut faults = Vec::new();
    if !selectorless {
        if text(&spec["ipFamilyPolicy"]) == "RequireDualStack" && configured.len() < 2 {
            let detail = "this cluster is not configured for dual-stack services";
            faults.push(FieldError::invalid(&field("ipFamilyPolicy"), "RequireDualStack", detail));
        }
        for (index, family) in families.iter().enumerate() {
            if !configured.contains(&family.as_str()) {
                let path = field("ipFamilies").index(index);
                faults.push(FieldError::invalid(&path, family.as_str(), "not configured on this cluster"));
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
    }
    if families.is_empty() {
        families.extend(configured.first().map(|family| (*family).to_owned()));
    }
    if families.len() == 1 && !single && (selectorless || configured.len() == 2) {
        families.push(other(&families[0]).to_owned());
    }
    new.section_mut("spec").insert("ipFamilies".to_owned(), json!(families));
    Ok(())
}

// A service that prefers two families and changes nothing stays as it is, even
// when the cluster has got a second family since.
fn unchanged(after: &Value, before: Option<&Value>) -> bool {
    let Some(before) = before else { return false };
    let prefers = |spec: &Value| text(&spec["ipFamilyPolicy"]) == "PreferDualStack";
    prefers(after)
        && (before["ipFamilyPolicy"].is_null() || prefers(before))
        && after["type"] == before["type"]
        && list(&after["clusterIPs"]) == list(&before["clusterIPs"])
        && list(&after["ipFamilies"]) == list(&before["ipFamilies"])
}

// Going from two families to one must be said, then the second ones go.
fn fit_policy(new: &mut Object, before: Option<&Value>) -> Result<(), Vec<FieldError>> {
    let after = section(new, "spec").clone();
    let single = text(&after["ipFamilyPolicy"]) == "SingleStack";
    let mut faults = Vec::new();
    let path = field("ipFamilyPolicy");
    let mut fault =
        |detail: &str| faults.push(FieldError::invalid(&path, after["ipFamilyPolicy"].clone(), detail));
    const LISTS: [(&str, &str); 2] = [("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")];
    if let Some(before) = before {
        for (name, what) in LISTS {
            let (old, now) = (list(&before[name]), list(&after[name]));
            if single && old == now && now.len() > 1 {
                new.section_mut("spec").insert(name.to_owned(), json!(now[..1]));
            }
            if !single && !now.is_empty() && now.len() < old.len() {
                fault(&format!("must be 'SingleStack' to release the secondary {what}"));
            }
        }
    }
    if single {
        let spec = section(new, "spec");
        let two = |name: &str| list(&spec[name]).len() == 2;
        if two("clusterIPs") {
            fault("must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are specified");
        }
        if two("ipFamilies") {
            fault("must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified");
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

fn add_families_of_ips(new: &mut Object, configured: &[&'static str]) -> Result<(), Vec<FieldError>> {
    let spec = section(new, "spec").clone();
    let mut families = list(&spec["ipFamilies"]).to_vec();
    let mut faults = Vec::new();
    for (index, ip) in texts(&spec["clusterIPs"]).into_iter().enumerate() {
        if ip == NONE {
            break;
        }
        if index < families.len() {
            continue;
        }
        let family = of(ip);
        if configured.contains(&family) {
            families.push(family.into());
        } else {
            let path = field("clusterIPs").index(index);
            let detail = format!("{family} is not configured on this cluster");
            faults.push(FieldError::invalid(&path, spec["clusterIPs"].clone(), detail));
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    if !families.is_empty() || set(&spec["ipFamilies"]) {
        new.section_mut("spec").insert("ipFamilies".to_owned(), Value::Array(families));
    }
    Ok(())
}
