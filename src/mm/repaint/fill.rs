// SPDX-License-Identifier: MIT OR Apache-2.0
#![allow(unsafe_code, reason = "views of tables are made by promises")]
//! The kernel's part in filling the replacement's tables, by the leader and every CPU that is free.

use core::sync::atomic::Ordering;

use cleave::aarch64::{hint, timer};
use cleave::deadline::Deadline;
use cleave::linear_map::{Share, UpperTables};
use cleave::tables::Cpu;

use super::{MANY, deadline};
use crate::cpu::percpu::{PerCpu, this_cpu};
use crate::cpu::smp;
use crate::mm::memory;
use crate::mm::views::View;

/// Resets every CPU's count of filled tables, before there are tables to fill.
pub(super) fn begin(built: &UpperTables) {
    for cpu in smp::online() {
        cpu.state.chunks.store(0, Ordering::Relaxed);
        cpu.state.filled.store(0, Ordering::Relaxed);
    }
    note_leader_filled(built.complete);
    if built.tables > MANY {
        log::info!("filling {} tables", built.tables);
    }
}

/// Stores the leader's own count of filled tables.
pub(super) fn note_leader_filled(tables: u64) {
    this_cpu().state.filled.store(tables, Ordering::Relaxed);
}

/// Waits for the others, no longer than for a rendezvous; this CPU's other work goes on meanwhile.
pub(super) fn wait_until(done: impl Fn() -> bool) {
    let mut deadline = Deadline::new(timer::count(), deadline());
    while !done() && !deadline.has_passed(timer::count()) {
        smp::work_once(this_cpu());
        hint::wait_for_event();
    }
}

/// Returns true while there are tables to fill that `cpu`, this one, may still help with.
pub(crate) fn wants_help(cpu: &PerCpu) -> bool {
    memory::map().wants_help(cpu.state.chunks.load(Ordering::Relaxed))
}

/// Fills tables on `cpu`, this one, if there are any to fill; `on` executes its barriers.
pub(crate) fn help(cpu: &PerCpu, on: &impl Cpu, share: Share) {
    let mut mine = cpu.state.chunks.load(Ordering::Relaxed);
    // SAFETY: filling happens while the map is whole, and stores to reserved tables that no walker reaches.
    let (memory, roots) = unsafe { (View::linear(), View::image()) };
    let tables = memory::map().fill(memory, roots, on, share, &mut mine);
    cpu.state.chunks.store(mine, Ordering::Relaxed);
    cpu.state.filled.fetch_add(tables, Ordering::Relaxed);
    if tables != 0 {
        hint::send_event();
    }
}
