//! What the two schedulers said, side by side.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::reference::Scores;

/// What a scheduler said of a pod that it was refused every node for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// What the user is told.
    pub message: String,
    /// The nodes that could take it.
    pub found: BTreeSet<String>,
}

/// What a scheduler said of a pod that it gave a node.
#[derive(Debug, Default)]
pub struct Chosen {
    /// By node and rule. Rules that do not care may be absent.
    pub scores: Scores,
    /// The sum, by node.
    pub total: BTreeMap<String, i64>,
    /// The nodes that may be chosen: the chosen one, or all of the best.
    pub nodes: BTreeSet<String>,
}

/// Where the two differ.
#[derive(Debug)]
pub struct Difference {
    pub at: String,
    pub reference: String,
    pub ours: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: the reference: {}; ours: {}", self.at, self.reference, self.ours)
    }
}

/// Compares why there is no node.
pub fn refusals(reference: &Refused, ours: &Refused) -> Vec<Difference> {
    let mut differences = Vec::new();
    if reference.found != ours.found {
        differences.push(Difference {
            at: "nodes".into(),
            reference: format!("{:?}", reference.found),
            ours: format!("{:?}", ours.found),
        });
    }
    if reference.message != ours.message {
        differences.push(Difference {
            at: "message".into(),
            reference: reference.message.clone(),
            ours: ours.message.clone(),
        });
    }
    differences
}

/// Compares scores and the choice.
pub fn choice(reference: &Chosen, ours: &Chosen) -> Vec<Difference> {
    let mut differences = Vec::new();
    if reference.scores.is_empty() && reference.nodes.len() == 1 {
        // Nobody scores where there is no choice.
        return missing(reference, ours).into_iter().collect();
    }
    let nodes: BTreeSet<&String> = reference.scores.keys().chain(ours.scores.keys()).collect();
    for node in nodes {
        let of =
            |scores: &Scores, rule: &str| scores.get(node).and_then(|s| s.get(rule)).copied().unwrap_or(0);
        let rules: BTreeSet<&String> = [&reference.scores, &ours.scores]
            .into_iter()
            .filter_map(|s| s.get(node))
            .flat_map(|s| s.keys())
            .collect();
        for rule in rules {
            let (theirs, own) = (of(&reference.scores, rule), of(&ours.scores, rule));
            if theirs != own {
                differences.push(Difference {
                    at: format!("score of {rule}"),
                    reference: format!("{node} {theirs}"),
                    ours: format!("{node} {own}"),
                });
            }
        }
    }
    if differences.is_empty() && reference.total != ours.total {
        differences.push(Difference {
            at: "total".into(),
            reference: format!("{:?}", reference.total),
            ours: format!("{:?}", ours.total),
        });
    }
    differences.extend(missing(reference, ours));
    differences
}

fn missing(reference: &Chosen, ours: &Chosen) -> Option<Difference> {
    (!reference.nodes.is_subset(&ours.nodes)).then(|| Difference {
        at: "choice".into(),
        reference: format!("{:?}", reference.nodes),
        ours: format!("{:?}", ours.nodes),
    })
}
