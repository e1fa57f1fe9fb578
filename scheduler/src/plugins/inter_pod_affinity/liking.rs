//! What a pod and those that are placed would like of each other.

use std::{collections::HashMap, sync::Arc};

use coracle_api::selector::SelectorError;

use super::{
    super::tally::{Domains, Sort, View, Wish, Wished},
    Namespaces,
};
use crate::{cache::NodeInfo, plugin::BEST, pod::PodInfo};

/// What a cycle knows of preferred terms: what being in each domain is worth.
pub(super) struct Liking {
    worth: Vec<Domains>,
}

impl Liking {
    /// Nothing when nobody cares.
    /// # Errors
    /// A selector that cannot be read.
    pub(super) fn new(
        view: &mut View<'_>,
        pod: &PodInfo,
        namespaces: &dyn Namespaces,
        need_weight: i64,
        only_own: bool,
    ) -> Result<Option<Self>, SelectorError> {
        let mut worth: HashMap<Arc<str>, Domains> = HashMap::new();
        let mut any = false;
        let own = Wished::of(pod)?;
        let own = own.iter().filter_map(|one| match one.wish {
            Wish::Prefer(weight) => Some((one, i64::from(weight))),
            _ => None,
        });
        let mut cares = false;
        for (one, weight) in own {
            cares = true;
            let sort = Sort { terms: vec![namespaces.resolve(&one.term)], living: false };
            any |= add(&mut worth, &one.key, &view.pods_by(&sort, &one.key), weight);
        }
        if only_own && !cares {
            return Ok(None);
        }
        let labels = namespaces.labels(pod.pod.metadata.namespace.as_deref().unwrap_or_default());
        for (one, domains) in view.wished_of(pod, labels.as_deref()) {
            match one.wish {
                Wish::Prefer(weight) => any |= add(&mut worth, &one.key, &domains, i64::from(weight)),
                Wish::Need if need_weight > 0 => any |= add(&mut worth, &one.key, &domains, need_weight),
                Wish::Need | Wish::Refuse => {}
            }
        }
        Ok(any.then(|| Self { worth: worth.into_values().collect() }))
    }

    pub(super) fn score(&self, info: &NodeInfo) -> i64 {
        self.worth
            .iter()
            .filter_map(|domains| domains.at(info.slot).map(|domain| domains.count(domain)))
            .sum()
    }
}

/// Adds what the pods in each domain are worth; true when there are any.
fn add(worth: &mut HashMap<Arc<str>, Domains>, key: &Arc<str>, pods: &Domains, weight: i64) -> bool {
    if pods.counts.iter().all(|count| *count == 0) {
        return false;
    }
    let of = || Domains { of: pods.of.clone(), counts: Arc::default() };
    let sum = Arc::make_mut(&mut worth.entry(key.clone()).or_insert_with(of).counts);
    if sum.len() < pods.counts.len() {
        sum.resize(pods.counts.len(), 0);
    }
    for (sum, count) in sum.iter_mut().zip(pods.counts.iter()) {
        *sum += weight * count;
    }
    true
}

/// Stretches the scores over the whole range.
pub(super) fn normalize(scores: &mut [i64]) {
    let (least, most) =
        (scores.iter().copied().min().unwrap_or(0), scores.iter().copied().max().unwrap_or(0));
    let range = most - least;
    for score in scores {
        let share = if range > 0 { (*score - least) as f64 / range as f64 } else { 0.0 };
        *score = (BEST as f64 * share) as i64;
    }
}
