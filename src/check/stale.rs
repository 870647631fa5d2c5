// SPDX-License-Identifier: MIT OR Apache-2.0
//! The injected stale translation fault: a page that is mapped again while a load of it is taking the fault.
#![cfg(target_os = "none")]

use core::sync::atomic::{AtomicU64, Ordering};

use cleave::linear_map::Change;
use cleave::tables::{FRAME_SIZE, FrameSource, PhysAddr, PhysRange};

use crate::check::watch;
use crate::cpu::percpu::this_cpu;
use crate::irq::exceptions::faulting_load;
use crate::mm::memory;

/// The page that [`map_again`] maps, or zero.
static TAKEN_AWAY: AtomicU64 = AtomicU64::new(0);

/// Unmaps a free page and loads from it; the page is mapped again before the handler asks the MMU, so that the fault is a stale
/// one (`stale.fault`). Returns true when it was retried.
pub(crate) fn take_stale_fault() -> bool {
    let frame = {
        let mut frames = memory::frames();
        let frame = frames.allocate().unwrap_or_else(|| panic!("fault: no frame is left"));
        frames.free(frame);
        frame
    };
    let before = this_cpu().stale_faults.total.load(Ordering::Relaxed);
    watch::change(Change::Unmap, &[page(frame)]).unwrap_or_else(|refusal| panic!("fault: {refusal}"));
    TAKEN_AWAY.store(frame.0, Ordering::Relaxed);
    let loaded = faulting_load(memory::linear(frame)).is_some();
    let retried = this_cpu().stale_faults.total.load(Ordering::Relaxed) - before;
    log::info!("stale translation faults retried: {retried}");
    loaded && retried == 1
}

/// Maps the page that [`take_stale_fault`] has taken away, once.
pub(crate) fn map_again() {
    let frame = TAKEN_AWAY.swap(0, Ordering::Relaxed);
    if frame != 0 {
        let mapped = watch::change(Change::Map, &[page(PhysAddr(frame))]);
        mapped.unwrap_or_else(|refusal| panic!("fault: {refusal}"));
    }
}

fn page(frame: PhysAddr) -> PhysRange {
    PhysRange::new(frame, frame.offset(FRAME_SIZE))
}
