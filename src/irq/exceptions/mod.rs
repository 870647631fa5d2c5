// SPDX-License-Identifier: MIT OR Apache-2.0
//! Exception handling: interrupts go to the handler that was set, TLB conflicts and errors that leave the state whole
//! are survived, and everything else is reported and ends the run.
//!
//! Nothing here takes a lock, allocates or touches the linear map: a fault may come from the middle of any of them, and
//! from inside the stop window. `boot/vectors.S` says on which stack each exception arrives.
#![cfg(target_os = "none")]
#![allow(unsafe_code, reason = "the vectors are part of this module")]

mod backtrace;
pub(crate) mod errors;
mod expected;
mod frame;

use core::arch::global_asm;
use core::mem::offset_of;
use core::sync::atomic::Ordering;

use cleave::aarch64::syndrome::Status;
use cleave::aarch64::{barrier, tlb};
use spin::Once;

use crate::boot::{self, Parked};
use crate::cpu::percpu::{self, PerCpu};
use crate::irq::ipi;
use crate::mm::layout::{EMERGENCY_TOP, LINEAR_BASE, LINEAR_BYTES};

pub(crate) use backtrace::{Backtrace, MOST_FRAMES, backtrace, backtrace_here};
pub(crate) use expected::{faulting_load, faulting_read};
pub(crate) use frame::{Frame, Origin};

global_asm!(
    include_str!("../../../boot/vectors.S"),
    FRAME_SIZE = const size_of::<Frame>(),
    FRAME_SP = const offset_of!(Frame, sp),
    FRAME_ELR = const offset_of!(Frame, elr),
    FRAME_ESR = const offset_of!(Frame, esr),
    FRAME_RECORD = const offset_of!(Frame, record),
    PER_CPU_EMERGENCY_TOP = const offset_of!(PerCpu, emergency_top),
    EMERGENCY_TOP = const EMERGENCY_TOP,
    REASON_NESTED = const Parked::Nested as u32,
    HANDLE_EXCEPTION = sym handle_exception,
    HANDLE_NESTED = sym handle_nested,
    HANDLE_IRQ = sym handle_irq,
);

/// The most TLB conflicts in a row at one instruction, for one address, that are survived. The handler invalidates this CPU's
/// whole TLB, so the same access meets another only if a walk caches conflicting entries again; a third is a bug.
const CONFLICTS_IN_A_ROW: u64 = 2;

/// Reports an exception that ends the run, and ends it.
type Fatal = fn(&Frame, Origin) -> !;

static FATAL: Once<Fatal> = Once::new();

/// Sets what reports an exception that ends the run. The first call counts; before it the CPU is parked.
pub(crate) fn install(fatal: Fatal) {
    FATAL.call_once(|| fatal);
}

fn end(frame: &Frame, origin: Origin) -> ! {
    match FATAL.get() {
        Some(fatal) => fatal(frame, origin),
        None => boot::park(Parked::Panicked),
    }
}

/// Handles an interrupt of a thread.
extern "C" fn handle_irq() {
    if let Some(cpu) = percpu::try_this_cpu() {
        cpu.interrupts.fetch_add(1, Ordering::Relaxed);
    }
    ipi::handle_irq();
}

/// Handles any other exception of a thread. Returns to retry the instruction.
extern "C" fn handle_exception(frame: &mut Frame, vector: u64) {
    let goes_on = match vector {
        0 => survives_tlb_conflict(frame) || expected::skips(frame),
        3 => errors::survives(frame),
        _ => false,
    };
    if goes_on {
        return;
    }
    end(frame, Origin::Thread(vector));
}

/// Handles an exception of a handler, on the emergency stack. Returns to retry the instruction.
extern "C" fn handle_nested(frame: &mut Frame, vector: u64) {
    // A handler may touch the linear map too, and meet a conflict there as any thread may.
    let goes_on = match vector {
        4 => survives_tlb_conflict(frame) || expected::skips(frame),
        7 => errors::survives(frame),
        _ => false,
    };
    if goes_on {
        return;
    }
    end(frame, Origin::Handler(vector));
}

/// Recovers from a TLB conflict abort on the linear map (DDI 0487, D8, "TLB conflicts": the cure is to invalidate
/// the entries that match). False when this is another fault, or one that must not go on.
///
/// The FAR is a hint: with two entries matching, which address missed is not certain. Text, stacks, this function and
/// the root table are outside the linear map, whose entries are the only ones that ever change size.
fn survives_tlb_conflict(frame: &Frame) -> bool {
    let conflict = frame.syndrome().as_abort().is_some_and(|abort| abort.status == Status::TlbConflict);
    let in_linear_map = frame.far.wrapping_sub(LINEAR_BASE) < LINEAR_BYTES;
    if !conflict || !in_linear_map {
        return false;
    }
    let Some(cpu) = percpu::try_this_cpu() else { return false };
    if cpu.conflicts.count(frame.elr, frame.far) > CONFLICTS_IN_A_ROW {
        return false;
    }
    // Every entry of this CPU goes, of any size; no table changed, so no store has to be ordered before it.
    tlb::vmalle1();
    // It is complete on this CPU before...
    barrier::dsb_nsh();
    // ...the retry, which the ERET would synchronise as well.
    barrier::isb();
    true
}
