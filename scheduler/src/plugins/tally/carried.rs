//! What the pods that are placed want near them, and what not.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use coracle_api::selector::SelectorError;
use k8s_openapi::api::core::v1::{PodAffinityTerm, WeightedPodAffinityTerm};

use super::{
    column::Column,
    group::add,
    term::{Labels, Term},
};
use crate::pod::PodInfo;

/// How much a pod wants others near it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Wish {
    /// It must have such pods near.
    Need,
    /// It cannot have such pods near.
    Refuse,
    /// It would like them near; less than zero: away.
    Prefer(i32),
}

/// One term of a pod: what it wishes of which pods, and what counts as near.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Wished {
    /// What it wishes.
    pub(crate) wish: Wish,
    /// Of which pods.
    pub(crate) term: Term,
    /// Near is where this label has the same value.
    pub(crate) key: Arc<str>,
}

impl Wished {
    /// All terms of `pod`.
    /// # Errors
    /// A selector that cannot be read.
    pub(crate) fn of(pod: &PodInfo) -> Result<Vec<Self>, SelectorError> {
        let mut all = Vec::new();
        let Some(affinity) = pod.spec().and_then(|spec| spec.affinity.as_ref()) else { return Ok(all) };
        let namespace = pod.pod.metadata.namespace.as_deref().unwrap_or_default();
        let mut take = |wish: Wish, term: &PodAffinityTerm| {
            let key = term.topology_key.as_str().into();
            all.push(Self { wish, term: Term::read(term, namespace)?, key });
            Ok(())
        };
        let required = |terms: &Option<Vec<PodAffinityTerm>>| terms.clone().unwrap_or_default();
        let preferred = |terms: &Option<Vec<WeightedPodAffinityTerm>>| terms.clone().unwrap_or_default();
        if let Some(near) = &affinity.pod_affinity {
            for term in required(&near.required_during_scheduling_ignored_during_execution) {
                take(Wish::Need, &term)?;
            }
            for term in preferred(&near.preferred_during_scheduling_ignored_during_execution) {
                take(Wish::Prefer(term.weight), &term.pod_affinity_term)?;
            }
        }
        if let Some(away) = &affinity.pod_anti_affinity {
            for term in required(&away.required_during_scheduling_ignored_during_execution) {
                take(Wish::Refuse, &term)?;
            }
            for term in preferred(&away.preferred_during_scheduling_ignored_during_execution) {
                take(Wish::Prefer(-term.weight), &term.pod_affinity_term)?;
            }
        }
        Ok(all)
    }
}

/// The terms of all pods that are placed, equal ones together.
#[derive(Debug, Default)]
pub(crate) struct Carried {
    entries: BTreeMap<u64, Entry>,
    numbers: HashMap<Wished, u64>,
    next: u64,
    /// The terms that are about one namespace alone.
    by_namespace: HashMap<String, BTreeSet<u64>>,
    /// All others.
    elsewhere: BTreeSet<u64>,
}

#[derive(Debug)]
struct Entry {
    wished: Wished,
    pods: u64,
    by_slot: HashMap<usize, i64>,
    by_domain: Arc<Vec<i64>>,
}

impl Carried {
    /// The labels that terms look at.
    pub(crate) fn keys(&self) -> BTreeSet<Arc<str>> {
        self.entries.values().map(|entry| entry.wished.key.clone()).collect()
    }

    /// `pod` came to `slot`, or went from there when `more` is -1.
    pub(crate) fn change(
        &mut self,
        wished: Vec<Wished>,
        slot: usize,
        more: i64,
        columns: &HashMap<Arc<str>, Column>,
    ) {
        for one in wished {
            let domain = columns.get(&one.key).map(|column| column.at(slot));
            let number = self.number(&one);
            let Some(entry) = self.entries.get_mut(&number) else { continue };
            entry.pods = entry.pods.saturating_add_signed(more);
            let count = entry.by_slot.entry(slot).or_default();
            *count += more;
            if *count == 0 {
                entry.by_slot.remove(&slot);
            }
            if let Some(domain) = domain {
                add(Arc::make_mut(&mut entry.by_domain), domain, more);
            }
            if entry.pods == 0 {
                self.remove(number, &one);
            }
        }
    }

    fn number(&mut self, wished: &Wished) -> u64 {
        if let Some(number) = self.numbers.get(wished) {
            return *number;
        }
        self.next += 1;
        let number = self.next;
        let entry =
            Entry { wished: wished.clone(), pods: 0, by_slot: HashMap::new(), by_domain: Arc::default() };
        self.entries.insert(number, entry);
        self.numbers.insert(wished.clone(), number);
        match wished.term.only_namespace() {
            Some(namespace) => {
                self.by_namespace.entry(namespace.to_owned()).or_default().insert(number);
            }
            None => {
                self.elsewhere.insert(number);
            }
        }
        number
    }

    fn remove(&mut self, number: u64, wished: &Wished) {
        self.entries.remove(&number);
        self.numbers.remove(wished);
        self.elsewhere.remove(&number);
        if let Some(namespace) = wished.term.only_namespace()
            && let Some(numbers) = self.by_namespace.get_mut(namespace)
        {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.by_namespace.remove(namespace);
            }
        }
    }

    /// `slot` moved between domains of the label `key`.
    pub(crate) fn moved(&mut self, key: &str, slot: usize, (before, after): (u32, u32)) {
        for entry in self.entries.values_mut().filter(|entry| &*entry.wished.key == key) {
            if let Some(count) = entry.by_slot.get(&slot) {
                let counts = Arc::make_mut(&mut entry.by_domain);
                add(counts, before, -count);
                add(counts, after, *count);
            }
        }
    }

    /// What they wish of a pod with `labels` in `namespace`, which itself has
    /// `namespace_labels`, with how many of them wish it in each domain.
    pub(crate) fn about<'a>(
        &'a self,
        namespace: &'a str,
        namespace_labels: Option<&'a Labels>,
        labels: Option<&'a Labels>,
    ) -> impl Iterator<Item = (&'a Wished, &'a Arc<Vec<i64>>)> {
        let here = self.by_namespace.get(namespace).into_iter().flatten();
        let entries = here.chain(&self.elsewhere).filter_map(|number| self.entries.get(number));
        entries
            .filter(move |entry| entry.wished.term.matches(namespace, namespace_labels, labels))
            .map(|entry| (&entry.wished, &entry.by_domain))
    }
}
