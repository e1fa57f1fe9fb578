//! What must hold between a pod and those that are placed.

use std::sync::Arc;

use coracle_api::selector::SelectorError;
use k8s_openapi::api::core::v1::Node;

use super::{
    super::tally::{Domains, Labels, Sort, View, Wish, Wished},
    Namespaces,
};
use crate::{
    cache::NodeInfo,
    plugin::{Event, Happening, Rejection},
    pod::PodInfo,
};

const NOT_NEAR: &str = "node(s) didn't match pod affinity rules";
const TOO_NEAR: &str = "node(s) didn't match pod anti-affinity rules";
const NOT_WANTED: &str = "node(s) didn't satisfy existing pods anti-affinity rules";

/// What a cycle knows of required terms.
#[derive(Clone)]
pub(super) struct Near {
    /// The pod's own terms, with how many pods meet all of them in each domain.
    needs: Vec<Domains>,
    /// Those pods.
    needed: Option<Sort>,
    /// How many of them there are, each as often as there are terms.
    found: i64,
    /// The pod meets its own terms: it may be the first.
    first: bool,
    /// Its terms that refuse pods, with how many of those there are.
    refused: Vec<(Sort, Domains)>,
    /// Terms of other pods that refuse it, with how many refuse it.
    refusing: Vec<(Wished, Domains)>,
    namespace_labels: Option<Arc<Labels>>,
}

impl Near {
    /// Nothing when nothing is required.
    /// # Errors
    /// A selector that cannot be read.
    pub(super) fn new(
        view: &mut View<'_>,
        pod: &PodInfo,
        namespaces: &dyn Namespaces,
    ) -> Result<Option<Self>, SelectorError> {
        let wished = Wished::of(pod)?;
        let of = |wish: Wish| wished.iter().filter(move |one| one.wish == wish);
        let namespace_labels = namespaces.labels(pod.pod.metadata.namespace.as_deref().unwrap_or_default());
        let refusing = view.wished_of(pod, namespace_labels.as_deref());
        let refusing: Vec<_> = refusing
            .into_iter()
            .filter(|(one, domains)| {
                one.wish == Wish::Refuse && domains.counts.iter().any(|count| *count > 0)
            })
            .collect();
        let terms: Vec<_> = of(Wish::Need).map(|one| namespaces.resolve(&one.term)).collect();
        let needed = (!terms.is_empty()).then_some(Sort { terms, living: false });
        let needs = needed.iter().flat_map(|sort| of(Wish::Need).map(move |one| (sort, &one.key)));
        let needs: Vec<Domains> = needs.map(|(sort, key)| view.pods_by(sort, key)).collect();
        let refused: Vec<(Sort, Domains)> = of(Wish::Refuse)
            .map(|one| {
                let sort = Sort { terms: vec![namespaces.resolve(&one.term)], living: false };
                let domains = view.pods_by(&sort, &one.key);
                (sort, domains)
            })
            .collect();
        if needs.is_empty() && refused.is_empty() && refusing.is_empty() {
            return Ok(None);
        }
        let first = needed.as_ref().is_some_and(|sort| sort.holds(pod));
        let found = needs.iter().flat_map(|domains| domains.counts.iter()).sum();
        Ok(Some(Self { needs, needed, found, first, refused, refusing, namespace_labels }))
    }

    pub(super) fn filter(&self, info: &NodeInfo) -> Result<(), Rejection> {
        let slot = info.slot;
        if !self.has_what_it_needs(slot) {
            return Err(Rejection::unresolvable(NOT_NEAR));
        }
        let there = |domains: &Domains| domains.at(slot).is_some_and(|domain| domains.count(domain) > 0);
        if self.refused.iter().any(|(_, domains)| there(domains)) {
            return Err(Rejection::resolvable(TOO_NEAR));
        }
        if self.refusing.iter().any(|(_, domains)| there(domains)) {
            return Err(Rejection::resolvable(NOT_WANTED));
        }
        Ok(())
    }

    fn has_what_it_needs(&self, slot: usize) -> bool {
        let mut met = true;
        for domains in &self.needs {
            let Some(domain) = domains.at(slot) else { return false };
            met &= domains.count(domain) > 0;
        }
        met || self.first && self.found == 0
    }

    /// `other` comes to the node, or goes when `more` is -1: what if?
    pub(super) fn suppose(&mut self, pod: &PodInfo, other: &PodInfo, info: &NodeInfo, more: i64) {
        let slot = info.slot;
        if self.needed.as_ref().is_some_and(|sort| sort.holds(other)) {
            for domains in self.needs.iter_mut().filter(|domains| domains.at(slot).is_some()) {
                add(domains, slot, more);
                self.found += more;
            }
        }
        for (sort, domains) in &mut self.refused {
            if sort.holds(other) {
                add(domains, slot, more);
            }
        }
        let meta = &pod.pod.metadata;
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        let wished = Wished::of(other).unwrap_or_default();
        for one in wished.iter().filter(|one| one.wish == Wish::Refuse) {
            if one.term.matches(namespace, self.namespace_labels.as_deref(), meta.labels.as_ref())
                && let Some((_, domains)) = self.refusing.iter_mut().find(|(known, _)| known == one)
            {
                add(domains, slot, more);
            }
        }
    }
}

/// True when `event` may help a pod that has not what it needs near it, or
/// has near it what it or another refuses.
pub(super) fn helps(pod: &PodInfo, event: &Event<'_>) -> bool {
    let Ok(wished) = Wished::of(pod) else { return true };
    let of = |wish: Wish| wished.iter().filter(move |one| one.wish == wish);
    // Like upstream's, terms here know no labels of namespaces.
    let means = |one: &Wished, other: &PodInfo| {
        let meta = &other.pod.metadata;
        one.term.matches(meta.namespace.as_deref().unwrap_or_default(), None, meta.labels.as_ref())
    };
    let met =
        |other: &PodInfo| of(Wish::Need).next().is_some() && of(Wish::Need).all(|one| means(one, other));
    let refused = |other: &PodInfo| of(Wish::Refuse).any(|one| means(one, other));
    match (event.what, event.pods, event.nodes) {
        (Happening::PodPlaced, (before, Some(after)), _) => {
            met(after) && !before.is_some_and(met) || before.is_some_and(refused) && !refused(after)
        }
        (Happening::PodRemoved, (Some(gone), _), _) => {
            let wished = Wished::of(gone).unwrap_or_default();
            refused(gone) || wished.iter().any(|one| one.wish == Wish::Refuse && means(one, pod))
        }
        (_, _, (before, Some(after))) => {
            let value = |node: Option<&Node>, one: &Wished| {
                node.and_then(|node| node.metadata.labels.as_ref()?.get(&*one.key).cloned())
            };
            let moved = |one: &Wished| (value(before, one), value(Some(after), one));
            of(Wish::Need).map(moved).any(|(old, new)| new.is_some() && new != old)
                || before.is_none() && of(Wish::Refuse).next().is_some()
                || of(Wish::Refuse).map(moved).any(|(old, new)| old.is_some() && new != old)
        }
        _ => true,
    }
}

fn add(domains: &mut Domains, slot: usize, more: i64) {
    if let Some(domain) = domains.at(slot) {
        let counts = Arc::make_mut(&mut domains.counts);
        if counts.len() <= domain {
            counts.resize(domain + 1, 0);
        }
        if let Some(count) = counts.get_mut(domain) {
            *count += more;
        }
    }
}
