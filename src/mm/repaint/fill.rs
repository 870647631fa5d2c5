// SPDX-License-Identifier: MIT OR Apache-2.0
//! Filling the shadow's tables with every CPU at hand.

use core::sync::atomic::Ordering;

use cleave::aarch64::{hint, timer};
use cleave::deadline::Deadline;
use cleave::linear_map::{Fill, ShadowMap, Share, Skeleton};

use super::{MANY, deadline, roots};
use crate::check::inject;
use crate::check::stress;
use crate::cpu::percpu::{PerCpu, this_cpu};
use crate::cpu::smp;
use crate::mm::memory;
use crate::mm::views::{ThisCpu, View};

pub(super) static FILL: Fill = Fill::new();

/// There will be tables to fill: sets every CPU's account of them back.
pub(super) fn begin(built: &Skeleton) {
    for cpu in smp::online() {
        cpu.state.chunks.store(0, Ordering::Relaxed);
        cpu.state.filled.store(0, Ordering::Relaxed);
    }
    note_leader_filled(built.complete);
    if built.tables > MANY {
        log::info!("filling {} tables", built.tables);
    }
}

/// The leader's own account.
pub(super) fn note_leader_filled(tables: u64) {
    this_cpu().state.filled.store(tables, Ordering::Relaxed);
}

/// Waits for the others, no longer than for a rendezvous; the load goes on meanwhile.
pub(super) fn wait_until(done: impl Fn() -> bool) {
    let mut deadline = Deadline::new(timer::count(), deadline());
    while !done() && !deadline.has_passed(timer::count()) {
        stress::step(this_cpu());
        hint::wait_for_event();
    }
}

/// True while there are tables to fill that this CPU may still help with.
pub(crate) fn wants_help() -> bool {
    FILL.is_open() && FILL.share_left(this_cpu().state.chunks.load(Ordering::Relaxed))
}

/// Fills tables, if there is anything to fill.
pub(crate) fn help(cpu: &PerCpu) {
    if FILL.is_open() {
        work(cpu, Share::Fair);
    }
}

pub(super) fn work(cpu: &PerCpu, share: Share) {
    let (live, shadow) = (roots().live, roots().shadow);
    let map = ShadowMap { layout: memory::layout(), memory: View::LINEAR, roots: View::image(), live, shadow };
    let mut mine = cpu.state.chunks.load(Ordering::Relaxed);
    let tables = match inject::stalls(cpu.id) {
        None => FILL.work(&map, &ThisCpu, share, &mut mine),
        Some(ticks) => FILL.work(&map, &inject::Stalling::new(ticks), share, &mut mine),
    };
    cpu.state.chunks.store(mine, Ordering::Relaxed);
    cpu.state.filled.fetch_add(tables, Ordering::Relaxed);
    if tables != 0 {
        hint::send_event();
    }
}
