//! Scaling: a change of the wanted number is spread over all sets in
//! proportion, so that a roll-out under way keeps its balance.

use super::{
    revision::{DESIRED, MOST},
    work::{Set, Sizes, Work},
};

/// True when the wanted number has changed since the sets were last sized.
pub(super) fn is_scaling(work: &Work) -> bool {
    let wanted = work.wanted();
    work.sets()
        .filter(|set| set.is_active())
        .filter_map(|set| noted(set, DESIRED))
        .any(|desired| desired != wanted)
}

/// A size that a set carries as an annotation.
fn noted(set: &Set, annotation: &str) -> Option<i32> {
    let number: u32 = set.annotation(annotation)?.parse().ok()?;
    i32::try_from(number).ok()
}

/// Brings the sets to the wanted number.
pub(super) fn scale(work: &mut Work) {
    let (wanted, sizes) = (work.wanted(), work.sizes());
    let active = work.sets().filter(|set| set.is_active()).count();
    if active <= 1 {
        if let Some(set) = only_or_latest(work, active)
            && set.replicas() != wanted
        {
            Work::resize(set, wanted, sizes);
        }
    } else if is_saturated(work) {
        for set in work.old.iter_mut().filter(|set| set.is_active()) {
            Work::resize(set, 0, sizes);
        }
    } else if work.is_rolling() {
        proportionally(work);
    }
}

/// The only active set; where none is active the new one, or else the youngest.
fn only_or_latest(work: &mut Work, active: usize) -> Option<&mut Set> {
    if active == 1 {
        return work.sets_mut().find(|set| set.is_active());
    }
    work.new.as_mut().or(work.old.last_mut())
}

/// True when the new set has all wanted pods, and all are available.
fn is_saturated(work: &Work) -> bool {
    let wanted = work.wanted();
    work.new.as_ref().is_some_and(|set| {
        set.replicas() == wanted && noted(set, DESIRED) == Some(wanted) && set.available() == wanted
    })
}

fn proportionally(work: &mut Work) {
    let (sizes, status_replicas) = (work.sizes(), super::status::replicas(&work.deployment));
    let allowed = if sizes.desired > 0 { sizes.most } else { 0 };
    let to_add = allowed.saturating_sub(work.total(Set::replicas));
    let mut active: Vec<&mut Set> = work.sets_mut().filter(|set| set.is_active()).collect();
    // Large sets first; of equal ones the young grow and the old shrink.
    active.sort_by(|a, b| {
        let age = if to_add > 0 { b.by_age(a) } else { a.by_age(b) };
        b.replicas().cmp(&a.replicas()).then(age)
    });
    let mut added = 0;
    let mut targets = Vec::with_capacity(active.len());
    for set in &active {
        let share = share(set, sizes, status_replicas, to_add, added);
        added += share;
        targets.push(set.replicas().saturating_add(share));
    }
    // What rounding left over goes to the largest.
    if let Some(first) = targets.first_mut().filter(|_| to_add != 0) {
        *first = first.saturating_add(to_add - added).max(0);
    }
    for (set, target) in active.into_iter().zip(targets) {
        Work::resize(set, target, sizes);
    }
}

/// How many of the `to_add` pods, of which `added` are given out, `set` gets.
fn share(set: &Set, sizes: Sizes, status_replicas: i32, to_add: i32, added: i32) -> i32 {
    if to_add == 0 || to_add == added {
        return 0;
    }
    let left = to_add - added;
    let fraction = fraction(set, sizes, status_replicas);
    if to_add > 0 { fraction.min(left) } else { fraction.max(left) }
}

fn fraction(set: &Set, sizes: Sizes, status_replicas: i32) -> i32 {
    let size = set.replicas();
    if sizes.desired == 0 {
        return -size;
    }
    let before = noted(set, MOST).filter(|most| *most != 0).unwrap_or(status_replicas);
    if before == 0 {
        return 0;
    }
    let scaled = f64::from(size) * f64::from(sizes.most) / f64::from(before);
    // Within i32: both factors are, and the cast saturates.
    (scaled.round() as i32).saturating_sub(size)
}
