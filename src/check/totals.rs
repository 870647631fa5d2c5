// SPDX-License-Identifier: MIT OR Apache-2.0
//! The counts of the stress test.

use alloc::vec::Vec;

/// Lines one CPU checked before the call to the rendezvous, between the call and its arrival, and after the release; or,
/// where there was none, after the attempt was given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lines {
    /// Before.
    pub(crate) before: u64,
    /// In between.
    pub(crate) during: u64,
    /// After.
    pub(crate) after: u64,
}

/// The totals of the stress test.
#[derive(Clone, Debug, Default)]
pub(crate) struct Totals {
    /// CPUs that carried it.
    pub(crate) cpus: u64,
    /// Lines checked in all.
    pub(crate) lines: u64,
    /// Lines that did not hold what was written.
    pub(crate) mismatches: u64,
    /// TLB conflict aborts that were survived; any other fault ends the run in a panic.
    pub(crate) faults: u64,
    /// Lines checked by each online CPU, in the order of the device tree.
    pub(crate) per_cpu: Vec<Lines>,
}

impl Totals {
    /// Returns the number of bytes read and compared.
    pub(crate) const fn bytes(&self) -> u64 {
        self.lines * 64
    }
}
