// SPDX-License-Identifier: MIT OR Apache-2.0
//! Injected faults of the linear map that are over when the access is made again.
#![cfg(target_os = "none")]

use core::sync::atomic::{AtomicU64, Ordering};

use cleave::linear_map::Change;
use cleave::tables::{FRAME_SIZE, FrameSource, PhysAddr, PhysRange};

use crate::check::watch;
use crate::cpu::percpu::this_cpu;
use crate::irq::exceptions::{Frame, faulting_load};
use crate::mm::memory;

/// The fault to take.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transient {
    /// A translation fault on a page that is mapped by the time the MMU is asked (`stale.fault`).
    Translation,
    /// A TLB conflict abort: no emulator raises one, so the syndrome of the fault is made up (`conflict.fault`).
    Conflict,
}

/// The page that [`on_abort`] maps, or zero; with [`CONFLICT`] in it for a conflict.
static TAKEN_AWAY: AtomicU64 = AtomicU64::new(0);
const CONFLICT: u64 = 1;

/// ESR_EL1.DFSC and its value for a TLB conflict abort (DDI 0487, ESR_EL1).
const STATUS: u64 = 0x3f;
const TLB_CONFLICT: u64 = 0x30;

/// Unmaps a free page and loads from it; [`on_abort`] maps the page again. Returns true when the load was made again, once.
pub(crate) fn take(fault: Transient) -> bool {
    let frame = {
        let mut frames = memory::frames();
        let frame = frames.allocate().unwrap_or_else(|| panic!("fault: no frame is left"));
        frames.free(frame);
        frame
    };
    let cpu = this_cpu();
    let (counter, name, mark) = match fault {
        Transient::Translation => (&cpu.stale_faults, "stale translation faults", 0),
        Transient::Conflict => (&cpu.conflicts, "TLB conflicts", CONFLICT),
    };
    let before = counter.total.load(Ordering::Relaxed);
    watch::change(Change::Unmap, &[page(frame)]).unwrap_or_else(|refusal| panic!("fault: {refusal}"));
    TAKEN_AWAY.store(frame.0 | mark, Ordering::Relaxed);
    let loaded = faulting_load(memory::linear(frame)).is_some();
    let retried = counter.total.load(Ordering::Relaxed) - before;
    log::info!("{name} retried: {retried}");
    loaded && retried == 1
}

/// Maps the page that [`take`] has taken away, once, and makes up the syndrome where that is asked for.
pub(crate) fn on_abort(fault: &mut Frame) {
    let taken = TAKEN_AWAY.swap(0, Ordering::Relaxed);
    if taken != 0 {
        let mapped = watch::change(Change::Map, &[page(PhysAddr(taken & !CONFLICT))]);
        mapped.unwrap_or_else(|refusal| panic!("fault: {refusal}"));
        if taken & CONFLICT != 0 {
            fault.esr = fault.esr & !STATUS | TLB_CONFLICT;
        }
    }
}

fn page(frame: PhysAddr) -> PhysRange {
    PhysRange::new(frame, frame.offset(FRAME_SIZE))
}
