// SPDX-License-Identifier: MIT OR Apache-2.0
//! The change of the linear map that is under way, for debuggers alone: nothing in the kernel reads it.
#![allow(unsafe_code, reason = "a name for debuggers, and no frame")]

use core::sync::atomic::{AtomicU64, Ordering};

use cleave::linear_map::Change;
use cleave::tables::{Level, PhysRange};

use crate::cpu::percpu::this_cpu;

/// The change as `cleave change` of gdb shows it (`scripts/gdb/commands.py`). Written by the holder of the map lock, never in the stop
/// window.
pub(super) struct UnderWay {
    /// 0 while there is none, 1 read-only, 2 writable, 3 unmap, 4 map, 5 split, 6 collapse, 7 scope.
    change: AtomicU64,
    /// The level of a split.
    level: AtomicU64,
    /// The CPU that makes it.
    cpu: AtomicU64,
    /// The number of ranges, and the first of them.
    ranges: AtomicU64,
    start: AtomicU64,
    end: AtomicU64,
    /// The steps that are done: 0 while tables are counted, 1 when they are reserved.
    step: AtomicU64,
    /// Tables that were reserved.
    tables: AtomicU64,
    /// Rendezvous that were tried.
    attempts: AtomicU64,
}

// Used: the optimiser would make a static of each field, for none is read.
#[used]
pub(super) static UNDER_WAY: UnderWay = UnderWay {
    change: AtomicU64::new(0),
    level: AtomicU64::new(0),
    cpu: AtomicU64::new(0),
    ranges: AtomicU64::new(0),
    start: AtomicU64::new(0),
    end: AtomicU64::new(0),
    step: AtomicU64::new(0),
    tables: AtomicU64::new(0),
    attempts: AtomicU64::new(0),
};

impl UnderWay {
    /// Records the begin of `change` in `ranges`, on this CPU.
    pub(super) fn begin(&self, change: Change, ranges: &[PhysRange]) {
        let (number, level) = match change {
            Change::ReadOnly => (1, Level::L3),
            Change::ReadWrite => (2, Level::L3),
            Change::Unmap => (3, Level::L3),
            Change::Map => (4, Level::L3),
            Change::Split(level) => (5, level),
            Change::Collapse => (6, Level::L3),
            Change::Scope(_) => (7, Level::L3),
        };
        let first = ranges.first().copied().unwrap_or_default();
        for (cell, value) in [
            (&self.level, level.number() as u64),
            (&self.cpu, this_cpu().id as u64),
            (&self.ranges, ranges.len() as u64),
            (&self.start, first.start.0),
            (&self.end, first.end.0),
            (&self.step, 0),
            (&self.tables, 0),
            (&self.attempts, 0),
            (&self.change, number),
        ] {
            cell.store(value, Ordering::Relaxed);
        }
    }

    /// Records that `tables` frames are reserved.
    pub(super) fn reserved(&self, tables: u64) {
        self.tables.store(tables, Ordering::Relaxed);
        self.step.store(1, Ordering::Relaxed);
        cleave_change();
    }

    /// Records that rendezvous number `attempt` is about to be called.
    pub(super) fn gathers(&self, attempt: u32) {
        self.attempts.store(attempt.into(), Ordering::Relaxed);
    }

    /// Records the end of the change.
    pub(super) fn end(&self) {
        self.change.store(0, Ordering::Relaxed);
    }
}

/// Marks, for debuggers (`cleave break change`), that the tables of a change or of a repaint are reserved and nothing has
/// changed yet.
// SAFETY: no other function has this name; returning is all it does.
#[unsafe(no_mangle)]
#[unsafe(naked)]
extern "C" fn cleave_change() {
    core::arch::naked_asm!("ret")
}
