// SPDX-License-Identifier: MIT OR Apache-2.0
//! Deadlines of the waits for other CPUs.
#![cfg(target_os = "none")]

use cleave::aarch64::timer;

use crate::options;

/// Returns how long `cpus` CPUs have to come to a rendezvous, in ticks: `rendezvous.deadline`, or a second and 50 ms a CPU.
pub(crate) fn deadline(cpus: u64) -> u64 {
    ticks(options::current().deadline.unwrap_or_else(|| usual(cpus)))
}

/// Returns how long other waits for `cpus` CPUs may take, in ticks: as long as the rendezvous, but not shorter than usual.
pub(crate) fn patience(cpus: u64) -> u64 {
    ticks(options::current().deadline.unwrap_or(0).max(usual(cpus)))
}

fn ticks(milliseconds: u64) -> u64 {
    milliseconds.saturating_mul(timer::frequency()) / 1000
}

/// Returns the usual wait for `cpus` CPUs, in milliseconds.
const fn usual(cpus: u64) -> u64 {
    1000 + 50 * cpus
}
