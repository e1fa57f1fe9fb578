//! Where Coracle may differ from the real Kubernetes, and why: the `allowed.yaml` of the tests that compare them.

use std::path::Path;

use serde::Deserialize;

use crate::compare::Difference;

/// A difference that is meant to be.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allowance {
    /// Which exchanges (`FILE: NAME`) or decisions (`SEED.NUMBER`), `*` for any text.
    #[serde(alias = "exchange", alias = "decision")]
    case: String,
    /// Which place, as a difference tells it, `*` for any text.
    at: String,
    /// Why.
    reason: String,
    #[serde(skip)]
    used: bool,
}

impl Allowance {
    /// Reads the list.
    ///
    /// # Errors
    /// When it is not one, or an entry gives no reason.
    pub fn load(path: &Path) -> Result<Vec<Self>, String> {
        let in_file = |error: String| format!("{}: {error}", path.display());
        let text = std::fs::read_to_string(path).map_err(|error| in_file(error.to_string()))?;
        let list: Option<Vec<Self>> =
            serde_yaml_ng::from_str(&text).map_err(|error| in_file(error.to_string()))?;
        let list = list.unwrap_or_default();
        match list.iter().find(|allowance| allowance.reason.trim().is_empty()) {
            Some(allowance) => Err(in_file(format!("no reason for {}", allowance.case))),
            None => Ok(list),
        }
    }

    /// Whether it allows `difference` in `case`; notes that it was of use.
    pub fn covers(&mut self, case: &str, difference: &Difference) -> bool {
        let covers = glob(&self.case, case) && glob(&self.at, &difference.at);
        self.used |= covers;
        covers
    }

    /// What nobody needed: it would hide the day that the difference comes back.
    pub fn unused(list: &[Self]) -> impl Iterator<Item = String> {
        list.iter().filter(|a| !a.used).map(|a| format!("{} at {}: {}", a.case, a.at, a.reason))
    }
}

fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
            (0..=rest.len()).any(|start| rest.get(start..).is_some_and(|rest| glob(after, rest)))
        }),
    }
}

#[test]
fn globs() {
    let check =
        |pattern: &str, text: &str, expected: bool| assert_eq!(glob(pattern, text), expected, "{pattern}");
    check("a", "a", true);
    check("a", "ab", false);
    check("a*", "ab", true);
    check("*: list *", "pods: list all", true);
    check(".items[*].x", ".items[3].x", true);
    check(".items[*].x", ".items[3].y", false);
}
