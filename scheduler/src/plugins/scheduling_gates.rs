//! A pod with scheduling gates waits until they are gone.

use crate::{
    plugin::{CycleState, Happening, Plugin, Reads, Rejection},
    pod::PodInfo,
};

pub(super) struct SchedulingGates;

impl Plugin for SchedulingGates {
    fn name(&self) -> &'static str {
        "SchedulingGates"
    }

    fn helped_by(&self, happening: Happening) -> bool {
        happening == Happening::PodChanged
    }

    fn filter_reads(&self, _: &CycleState, _: &PodInfo) -> Reads {
        Reads::Nothing
    }

    fn score_reads(&self, _: &CycleState, _: &PodInfo) -> Reads {
        Reads::Nothing
    }

    fn pre_enqueue(&self, pod: &PodInfo) -> Result<(), Rejection> {
        let gates = pod.spec().and_then(|spec| spec.scheduling_gates.as_deref()).unwrap_or_default();
        if gates.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = gates.iter().map(|gate| gate.name.as_str()).collect();
        Err(Rejection::unresolvable(format!("waiting for scheduling gates: [{}]", names.join(" "))))
    }
}
