// SPDX-License-Identifier: MIT OR Apache-2.0
//! Churn: changes of the linear map from all CPUs at once, each undone by the CPU that made it.
//!
//! Every CPU changes random pages, groups and blocks of memory of its own, as far as it is free, and waits where another CPU
//! is changing the map. At the end everything is collapsed: leaves, tables and free frames must be those of the beginning.
#![cfg(target_os = "none")]

extern crate alloc;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use cleave::aarch64::hint;
use cleave::linear_map::{Change, ChangeError, Switch};
use cleave::tables::{FRAME_SIZE, FrameSource, Level, MapStats, PhysAddr, PhysRange};
use spin::Once;

use crate::check::{inject, watch};
use crate::cpu::lock::IrqLock;
use crate::cpu::percpu::{PerCpu, this_cpu};
use crate::cpu::smp;
use crate::irq::ipi::wake_others;
use crate::mm::dump;
use crate::mm::memory::{self, GEOMETRY};
use crate::mm::repaint::{Refusal, wait_for_map};

/// The memory of each CPU: two blocks, so that some changes reach over the boundary of a block.
const BYTES: u64 = 2 * GEOMETRY.size(Level::L2);

/// Between two comparisons of the counts with a walk, each CPU makes so many rounds of changes.
const ROUNDS: u64 = 16;

/// One CPU's part, written by that CPU while the churn lasts.
#[derive(Default)]
struct Worker {
    /// Calls that it has yet to make.
    left: AtomicU64,
    /// It is in the middle of a round, and must not begin another while it waits for the map.
    busy: AtomicBool,
    /// The first byte of its memory.
    start: AtomicU64,
    /// The state of its random numbers.
    lot: AtomicU64,
    rounds: AtomicU64,
    calls: AtomicU64,
    in_place: AtomicU64,
    stopped: AtomicU64,
    refused: AtomicU64,
    comparisons: AtomicU64,
}

/// The calls of one CPU.
pub(crate) struct Churned {
    /// Calls, those included that found nothing to change.
    pub(crate) calls: u64,
    /// Calls that changed the map in place.
    pub(crate) in_place: u64,
    /// Calls that stopped every CPU.
    pub(crate) stopped: u64,
    /// Calls that were refused, since the memory was in use.
    pub(crate) refused: u64,
    /// Comparisons of the counts with a walk, in between.
    pub(crate) comparisons: u64,
}

/// Each CPU's part, by its number; made by the first [`run`].
static WORKERS: Once<Vec<Worker>> = Once::new();

/// The first thing that went wrong.
static WRONG: IrqLock<Option<String>> = IrqLock::new("churn", None);

fn worker(cpu: &PerCpu) -> Option<&'static Worker> {
    WORKERS.get()?.get(cpu.id)
}

fn go_wrong(cpu: &PerCpu, text: String) {
    WRONG.lock().get_or_insert(format!("CPU {}: {text}", cpu.id));
}

/// Returns true while `cpu`, this one, has changes to make.
pub(crate) fn wants(cpu: &PerCpu) -> bool {
    worker(cpu).is_some_and(|worker| worker.left.load(Ordering::Relaxed) != 0 && !worker.busy.load(Ordering::Relaxed))
}

/// Makes a round of changes on `cpu`, this one.
pub(crate) fn step(cpu: &PerCpu) {
    let Some(worker) = worker(cpu) else { return };
    worker.busy.store(true, Ordering::Relaxed);
    let result = worker.round();
    if let Err(text) = result {
        go_wrong(cpu, text);
        worker.left.store(0, Ordering::Relaxed);
    }
    // Release: what the CPU counted comes before its end.
    worker.busy.store(false, Ordering::Release);
}

impl Worker {
    fn begin(&self, calls: u64, start: u64) {
        let counts = [&self.rounds, &self.calls, &self.in_place, &self.stopped, &self.refused, &self.comparisons];
        counts.iter().for_each(|count| count.store(0, Ordering::Relaxed));
        self.start.store(start, Ordering::Relaxed);
        // Release: the CPU that finds calls to make finds its memory.
        self.left.store(calls, Ordering::Release);
    }

    fn has_ended(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0 && !self.busy.load(Ordering::Acquire)
    }

    fn churned(&self) -> Churned {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Churned {
            calls: of(&self.calls),
            in_place: of(&self.in_place),
            stopped: of(&self.stopped),
            refused: of(&self.refused),
            comparisons: of(&self.comparisons),
        }
    }

    /// Returns a random number below `end`.
    fn random(&self, end: u64) -> u64 {
        let lot =
            self.lot.load(Ordering::Relaxed).wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        self.lot.store(lot, Ordering::Relaxed);
        (lot >> 33) % end
    }

    /// Returns some pages of the CPU's memory: single ones, whole contiguous groups, a block, or anything between.
    fn some_memory(&self) -> PhysRange {
        let group = GEOMETRY.page_size() * GEOMETRY.contiguous(Level::L3).unwrap_or(1) as u64;
        let unit = [FRAME_SIZE, FRAME_SIZE, group, GEOMETRY.size(Level::L2)][self.random(4) as usize];
        let (units, first) = (BYTES / unit, self.random(BYTES / unit));
        let count = 1 + self.random((units - first).min(40));
        let start = PhysAddr(self.start.load(Ordering::Relaxed) + first * unit);
        PhysRange::new(start, start.offset(count * unit))
    }

    /// Makes some changes and undoes them.
    fn round(&self) -> Result<(), String> {
        use Change::{Collapse, Map, ReadOnly, ReadWrite, Split, Unmap};
        let some = self.some_memory();
        let changes: &[Change] = match self.random(6) {
            0 => &[ReadOnly, ReadWrite],
            1 => &[Unmap, Map],
            2 => &[Unmap, ReadOnly, Map, ReadWrite],
            3 => &[ReadOnly, Split(Level::L3), Unmap, ReadWrite, Map, Collapse],
            4 => &[Split(Level::L3), Collapse],
            _ => &[Split(Level::L2), Collapse],
        };
        for (index, &change) in changes.iter().enumerate() {
            self.calls.fetch_add(1, Ordering::Relaxed);
            self.left.store(self.left.load(Ordering::Relaxed).saturating_sub(1), Ordering::Relaxed);
            match watch::change_when_free(change, &[some]) {
                Ok((done, _)) => match done.switch {
                    Switch::Nothing => {}
                    Switch::InPlace => drop(self.in_place.fetch_add(1, Ordering::Relaxed)),
                    Switch::Stop => drop(self.stopped.fetch_add(1, Ordering::Relaxed)),
                },
                // A table of another change is there. Once the first change is made, the memory is out of the allocator.
                Err(Refusal::Change(ChangeError::InUse(_)) | Refusal::TooManyHeld) if index == 0 => {
                    self.refused.fetch_add(1, Ordering::Relaxed);
                    break;
                }
                Err(refusal) => return Err(format!("{change:?} of {some}: {refusal}")),
            }
        }
        if self.rounds.fetch_add(1, Ordering::Relaxed).is_multiple_of(ROUNDS) {
            compare()?;
            self.comparisons.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Compares the counts of the map with a walk, and returns them with the number of free frames.
fn compare() -> Result<(MapStats, u64), String> {
    let held = wait_for_map().map_err(|error| format!("{error}"))?;
    let (kept, found) = (memory::map().counts().stats, dump::linear_stats(&held));
    if kept == found {
        Ok((kept, memory::frames().available()))
    } else {
        Err(format!("{kept:?} is kept, and a walk finds {found:?}"))
    }
}

fn collapse_everything() -> Result<(), String> {
    let collapsed = watch::change_when_free(Change::Collapse, memory::layout().regions());
    collapsed.map(|_| ()).map_err(|refusal| format!("collapse of everything: {refusal}"))
}

/// Returns the memory for a churn on all CPUs: the end of the largest region. Parts of it may be in use.
///
/// # Errors
/// When no region is large enough.
pub(crate) fn memory() -> Result<PhysRange, String> {
    let bytes = u64::from(smp::online_count()) * BYTES;
    let regions = memory::layout().regions().iter().map(|region| region.shrink_to(GEOMETRY.size(Level::L2)));
    let largest = regions.max_by_key(|region| region.bytes()).filter(|region| region.bytes() >= bytes);
    let end = largest.ok_or_else(|| format!("it takes {} KiB of memory in one piece", bytes >> 10))?.end;
    Ok(PhysRange::new(PhysAddr(end.0 - bytes), end))
}

/// Makes at least `calls` changes of `memory` on all CPUs together, and returns what each CPU did, in their order. The map is
/// collapsed before and after.
///
/// # Errors
/// What went wrong: a change that was refused, counts that a walk contradicts, or leaves, tables or frames that are not those of
/// the beginning.
pub(crate) fn run(memory: PhysRange, calls: u64) -> Result<Vec<(usize, Churned)>, String> {
    let me = this_cpu();
    let workers = WORKERS.call_once(|| smp::cpus().iter().map(|_| Worker::default()).collect());
    collapse_everything()?;
    let before = compare()?;
    let cpus = u64::from(smp::online_count());
    *WRONG.lock() = None;
    for (cpu, start) in smp::online().zip((memory.start.0..).step_by(BYTES as usize)) {
        let worker = &workers[cpu.id];
        worker.lot.store(worker.lot.load(Ordering::Relaxed).wrapping_add(cpu.id as u64), Ordering::Relaxed);
        worker.begin(calls.div_ceil(cpus), start);
    }
    wake_others();
    while !smp::online().all(|cpu| workers[cpu.id].has_ended()) {
        if !smp::work_once(me) {
            hint::wait_for_event();
        }
    }
    if let Some(text) = WRONG.lock().take() {
        return Err(text);
    }
    inject::leak_frame();
    collapse_everything()?;
    let after = compare()?;
    if after != before {
        return Err(format!("{before:?} before, leaves, tables and free frames, and {after:?} after"));
    }
    Ok(smp::online().map(|cpu| (cpu.id, workers[cpu.id].churned())).collect())
}
