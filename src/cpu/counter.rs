// SPDX-License-Identifier: MIT OR Apache-2.0
//! The frequency of the counter: chosen once, by the boot CPU, and used on every CPU.
#![cfg(target_os = "none")]

use crate::devicetree::Tree;
use cleave::aarch64::timer;

/// Chooses the frequency: the device tree's, which is there where CNTFRQ_EL0 is wrong, or else what firmware left in
/// CNTFRQ_EL0 of this CPU.
pub(crate) fn choose_frequency(tree: &Tree<'static>) {
    let stated = tree.counter_frequency().unwrap_or_else(|error| {
        log::error!("timer: {error}");
        None
    });
    timer::set_frequency(stated.unwrap_or_else(timer::firmware_frequency));
    timer::set_event_rate();
}

/// Ends the run if no frequency is known. Every wait with a deadline would end at once, and every other CPU would be
/// reported as one that did not come.
///
/// # Panics
/// When there is no frequency.
pub(crate) fn require_frequency() {
    let known = timer::frequency() != 0;
    assert!(known, "firmware left CNTFRQ_EL0 at 0, and the device tree has no clock-frequency for the timer");
}
