//! The scopes of a quota: which objects it is about.

use serde_json::Value;

use super::{amounts, is_terminating, items, text};

/// One scope of a quota.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// Its name.
    pub name: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: String,
    /// What is asked of it.
    pub values: Vec<String>,
}

impl Scope {
    /// The scopes of a `ResourceQuota`.
    pub fn of(quota: &Value) -> Vec<Self> {
        let spec = &quota["spec"];
        let named = items(&spec["scopes"]).iter().map(|name| Self {
            name: text(name).to_owned(),
            operator: "Exists".to_owned(),
            values: Vec::new(),
        });
        let selected = items(&spec["scopeSelector"]["matchExpressions"]).iter().map(|rule| Self {
            name: text(&rule["scopeName"]).to_owned(),
            operator: text(&rule["operator"]).to_owned(),
            values: items(&rule["values"]).iter().map(|value| text(value).to_owned()).collect(),
        });
        named.chain(selected).collect()
    }

    fn selects(&self, value: Option<&str>) -> bool {
        let listed = |value: &str| self.values.iter().any(|it| it == value);
        match self.operator.as_str() {
            "In" => value.is_some_and(listed),
            "NotIn" => !value.is_some_and(listed),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    }

    pub(super) fn holds_for_pod(&self, pod: &Value) -> bool {
        match self.name.as_str() {
            "Terminating" => is_terminating(pod),
            "NotTerminating" => !is_terminating(pod),
            "BestEffort" => is_best_effort(pod),
            "NotBestEffort" => !is_best_effort(pod),
            "PriorityClass" => {
                self.selects(Some(text(&pod["spec"]["priorityClassName"])).filter(|name| !name.is_empty()))
            }
            "CrossNamespacePodAffinity" => crosses_namespaces(pod),
            _ => false,
        }
    }

    pub(super) fn holds_for_claim(&self, claim: &Value) -> bool {
        if self.name != "VolumeAttributesClass" {
            return false;
        }
        let names = [
            &claim["spec"]["volumeAttributesClassName"],
            &claim["status"]["currentVolumeAttributesClassName"],
            &claim["status"]["modifyVolumeStatus"]["targetVolumeAttributesClassName"],
        ];
        let names: Vec<&str> = names.into_iter().map(text).filter(|name| !name.is_empty()).collect();
        if names.is_empty() { self.selects(None) } else { names.iter().any(|name| self.selects(Some(name))) }
    }
}

fn is_best_effort(pod: &Value) -> bool {
    let class = text(&pod["status"]["qosClass"]);
    if !class.is_empty() {
        return class == "BestEffort";
    }
    let spec = &pod["spec"];
    let asks = |resources: &Value| {
        ["requests", "limits"].iter().any(|kind| {
            let asked = amounts(&resources[kind]);
            ["cpu", "memory"].iter().any(|name| asked.get(*name).is_some_and(|it| it.sign() > 0))
        })
    };
    let mut containers = items(&spec["containers"]).iter().chain(items(&spec["initContainers"]));
    !asks(&spec["resources"]) && !containers.any(|container| asks(&container["resources"]))
}

fn crosses_namespaces(pod: &Value) -> bool {
    let crosses =
        |term: &Value| !items(&term["namespaces"]).is_empty() || term["namespaceSelector"].is_object();
    ["podAffinity", "podAntiAffinity"].iter().any(|kind| {
        let affinity = &pod["spec"]["affinity"][kind];
        let required = items(&affinity["requiredDuringSchedulingIgnoredDuringExecution"]);
        let preferred = items(&affinity["preferredDuringSchedulingIgnoredDuringExecution"]);
        required.iter().any(crosses) || preferred.iter().any(|it| crosses(&it["podAffinityTerm"]))
    })
}
