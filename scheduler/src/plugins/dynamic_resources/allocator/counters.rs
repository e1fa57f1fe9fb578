//! What the devices of pools share and use up.

use std::collections::HashMap;

use k8s_openapi::api::resource::v1::Device;

use super::super::{
    pools::{Counters, Pool, amount, devices},
    uses::{Uses, id},
};

/// What is left of the counters of each pool, by where the pool stands.
#[derive(Default)]
pub(super) struct Left(HashMap<usize, Counters>);

impl Left {
    /// Takes what the device uses; false when there is too little, and then
    /// nothing is taken.
    pub(super) fn take(&mut self, at: usize, pool: &Pool, device: &Device, uses: &Uses) -> bool {
        let left = self.0.entry(at).or_insert_with(|| unused(pool, uses));
        reckon(left, device, true);
        // Others may have used up more than there is: then nothing goes any more.
        if left.values().flat_map(|set| set.values()).all(|amount| amount.sign() >= 0) {
            return true;
        }
        reckon(left, device, false);
        false
    }

    /// Gives back what the device uses.
    pub(super) fn give_back(&mut self, at: usize, device: &Device) {
        if let Some(left) = self.0.get_mut(&at) {
            reckon(left, device, false);
        }
    }
}

/// What devices that are in use leave of a pool's counters.
fn unused(pool: &Pool, uses: &Uses) -> Counters {
    let mut left = pool.counters.clone();
    for device in pool.slices.iter().chain(&pool.others).flat_map(|slice| devices(slice)) {
        let consumes = device.consumes_counters.as_ref().is_some_and(|it| !it.is_empty());
        if consumes && uses.of(&id(&pool.id.driver, &pool.id.pool, &device.name)).any() {
            reckon(&mut left, device, true);
        }
    }
    left
}

fn reckon(left: &mut Counters, device: &Device, take: bool) {
    for consumed in device.consumes_counters.iter().flatten() {
        let Some(set) = left.get_mut(&consumed.counter_set) else { continue };
        for (name, counter) in &consumed.counters {
            if let Some(has) = set.get_mut(name) {
                let amount = amount(counter);
                *has = if take { has.minus(&amount) } else { has.plus(&amount) };
            }
        }
    }
}
