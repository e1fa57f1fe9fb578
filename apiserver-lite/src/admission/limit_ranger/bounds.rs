//! The bounds of a limit range, and what oversteps them.

use coracle_api::{Object, Quantity};
use serde_json::Value;

use crate::resources::{
    core::pods::resources::{Amounts, amounts, level, sum},
    tree::{field, list, section, text},
};

// Above it, amounts are compared in whole units, as thousandths might overflow.
const MAX_MILLI: i64 = i64::MAX / 1000;

/// What of a pod is out of bounds.
pub fn pod(limits: &[Value], pod: &Object) -> Vec<String> {
    let mut faults = Vec::new();
    for limit in limits {
        match text(&limit["type"]) {
            "Container" => {
                for name in ["containers", "initContainers"] {
                    for container in list(field(pod, &["spec", name])) {
                        let of = |kind| amounts(container.get("resources").and_then(|it| it.get(kind)));
                        Usage { limit, requests: of("requests"), limits: of("limits") }.check(&mut faults);
                    }
                }
            }
            "Pod" => {
                let spec = section(pod, "spec");
                let of = |kind| level(spec, kind, sum(spec, kind));
                Usage { limit, requests: of("requests"), limits: of("limits") }.check(&mut faults);
            }
            _ => {}
        }
    }
    faults
}

/// What of a claim is out of bounds.
pub fn claim(limits: &[Value], claim: &Object) -> Vec<String> {
    let mut faults = Vec::new();
    for limit in limits.iter().filter(|it| it["type"] == "PersistentVolumeClaim") {
        let requests = amounts(claim.get(&["spec", "resources", "requests"]));
        let usage = Usage { limit, requests, limits: Amounts::new() };
        let of = |name| amounts(limit.get(name));
        faults.extend(of("min").iter().filter_map(|(name, bound)| usage.min(name, bound)));
        faults.extend(of("max").iter().filter_map(|(name, bound)| usage.max_request(name, bound)));
    }
    faults
}

struct Usage<'a> {
    limit: &'a Value,
    requests: Amounts,
    limits: Amounts,
}

impl Usage<'_> {
    fn check(&self, faults: &mut Vec<String>) {
        let of = |name| amounts(self.limit.get(name));
        faults.extend(of("min").iter().filter_map(|(name, bound)| self.min(name, bound)));
        faults.extend(of("max").iter().filter_map(|(name, bound)| self.max(name, bound)));
        faults.extend(of("maxLimitRequestRatio").iter().filter_map(|(name, bound)| self.ratio(name, bound)));
    }

    fn kind(&self) -> &str {
        text(&self.limit["type"])
    }

    fn min(&self, name: &str, bound: &Quantity) -> Option<String> {
        let head = format!("minimum {name} usage per {} is {bound}", self.kind());
        let Some(request) = self.requests.get(name) else {
            return Some(format!("{head}.  No request is specified"));
        };
        let limit = self.limits.get(name);
        let (asked, allowed, least) = scaled(Some(request), limit, bound);
        match limit {
            _ if asked < least => Some(format!("{head}, but request is {request}")),
            Some(limit) if allowed < least => Some(format!("{head}, but limit is {limit}")),
            _ => None,
        }
    }

    fn max(&self, name: &str, bound: &Quantity) -> Option<String> {
        let head = format!("maximum {name} usage per {} is {bound}", self.kind());
        let Some(limit) = self.limits.get(name) else {
            return Some(format!("{head}.  No limit is specified"));
        };
        let request = self.requests.get(name);
        let (asked, allowed, most) = scaled(request, Some(limit), bound);
        match request {
            _ if allowed > most => Some(format!("{head}, but limit is {limit}")),
            Some(request) if asked > most => Some(format!("{head}, but request is {request}")),
            _ => None,
        }
    }

    fn max_request(&self, name: &str, bound: &Quantity) -> Option<String> {
        let head = format!("maximum {name} usage per {} is {bound}", self.kind());
        let Some(request) = self.requests.get(name) else {
            return Some(format!("{head}.  No request is specified"));
        };
        let (asked, _, most) = scaled(Some(request), None, bound);
        (asked > most).then(|| format!("{head}, but request is {request}"))
    }

    fn ratio(&self, name: &str, bound: &Quantity) -> Option<String> {
        let head = format!("{name} max limit to request ratio per {} is {bound}", self.kind());
        let (request, limit) = (self.requests.get(name), self.limits.get(name));
        let (asked, allowed, _) = scaled(request, limit, bound);
        if request.is_none() || asked == 0 {
            return Some(format!("{head}, but no request is specified or request is 0"));
        }
        if limit.is_none() || allowed == 0 {
            return Some(format!("{head}, but no limit is specified or limit is 0"));
        }
        let ratio = allowed as f64 / asked as f64;
        let exceeds = match bound.value() {
            whole if whole <= MAX_MILLI => ratio * 1000.0 > bound.milli_value() as f64,
            whole => ratio > whole as f64,
        };
        exceeds.then(|| format!("{head}, but provided ratio is {ratio:.6}"))
    }
}

// The amounts in one unit: thousandths where those do not overflow.
fn scaled(request: Option<&Quantity>, limit: Option<&Quantity>, bound: &Quantity) -> (i64, i64, i64) {
    let zero = Quantity::default();
    let all = [request.unwrap_or(&zero), limit.unwrap_or(&zero), bound];
    let [request, limit, bound] = match all.iter().all(|it| it.value() <= MAX_MILLI) {
        true => all.map(Quantity::milli_value),
        false => all.map(Quantity::value),
    };
    (request, limit, bound)
}
