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

use cleave::aarch64::syndrome::{Access, Status};
use cleave::aarch64::{barrier, tlb, translate};
use cleave::tables::VirtAddr;
use spin::Once;

use crate::boot::{self, Parked};
use crate::cpu::percpu::{self, PerCpu};
use crate::irq::ipi;
use crate::mm::init_data::ro_after_init;
use crate::mm::layout::{EMERGENCY_TOP, LINEAR_BASE, LINEAR_BYTES};

pub(crate) use backtrace::{Backtrace, MOST_FRAMES, backtrace, backtrace_here};
pub(crate) use expected::{ProbeError, ProbeFailed, faulting_load, faulting_read, probe_read, probe_write};
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

/// Reports an exception that ends the run, and ends it.
type Fatal = fn(&Frame, Origin) -> !;

/// Calls out of the handlers. Installed from above: nothing here depends on it.
pub(crate) struct Hooks {
    /// Reports an exception that ends the run, and ends it.
    pub(crate) fatal: Fatal,
    /// An access to the linear map was aborted; nothing has been decided yet. Fault injection may change the syndrome.
    pub(crate) linear_abort: fn(&mut Frame),
}

ro_after_init! {
    static HOOKS: Once<Hooks> = Once::new();
}

/// Installs the hooks. The first call counts; before it an exception parks the CPU.
pub(crate) fn install(hooks: Hooks) {
    HOOKS.call_once(|| hooks);
}

fn end(frame: &Frame, origin: Origin) -> ! {
    match HOOKS.get() {
        Some(hooks) => (hooks.fatal)(frame, origin),
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
        0 => retries(frame) || expected::skips(frame),
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
    // A handler may touch the linear map too, and meet there what any thread may.
    let goes_on = match vector {
        4 => retries(frame) || expected::skips(frame),
        7 => errors::survives(frame),
        _ => false,
    };
    if goes_on {
        return;
    }
    end(frame, Origin::Handler(vector));
}

/// Returns true when the access of `frame` to the linear map may be made again.
fn retries(frame: &mut Frame) -> bool {
    if frame.far.wrapping_sub(LINEAR_BASE) >= LINEAR_BYTES {
        return false;
    }
    if let Some(hooks) = HOOKS.get() {
        (hooks.linear_abort)(frame);
    }
    survives_tlb_conflict(frame) || is_stale_fault(frame)
}

/// Returns true when a fault of a walk is a stale one: the address translates by now.
///
/// A change in place may give a table back while a walk of this CPU is in it. The invalidation waits for accesses that use an
/// old translation; no rule says that it waits for a walk that ends in a fault. Before FEAT_ETS2 a walk may also fault on an
/// entry that was made valid before the access (DDI 0487, D8, "Ordering and completion of TLB maintenance instructions"). No
/// TLB holds what faults, so a new walk decides.
fn is_stale_fault(frame: &Frame) -> bool {
    let Some(abort) = frame.syndrome().as_abort() else { return false };
    // What stands in a table that was given back may be anything, so the walk may end in any fault of its own.
    let of_the_walk = matches!(abort.status, Status::Translation(_) | Status::AccessFlag(_) | Status::AddressSize(_));
    // Code never runs in the linear map. From its arrival to its release a CPU has no business there at all: the map may be
    // whole again by now, and the access is a defect all the same.
    if !of_the_walk || abort.access == Access::Fetch || in_rendezvous() {
        return false;
    }
    // Its walk begins behind the exception's context synchronisation.
    let now = translate::read(VirtAddr(frame.far));
    let Some(cpu) = percpu::try_this_cpu().filter(|_| now.address().is_some()) else { return false };
    cpu.stale_faults.may_retry(frame.elr, frame.far)
}

/// Returns true between this CPU's arrival in a rendezvous and its release.
fn in_rendezvous() -> bool {
    percpu::try_this_cpu().is_some_and(|cpu| cpu.in_rendezvous.load(Ordering::Relaxed))
}

/// Recovers from a TLB conflict abort on the linear map (DDI 0487, D8, "TLB conflicts": the cure is to invalidate
/// the entries that match). False when this is another fault, or one that must not go on.
///
/// The FAR is a hint: with two entries matching, which address missed is not certain. Text, stacks, this function and
/// the root table are outside the linear map, whose entries are the only ones that ever change size.
fn survives_tlb_conflict(frame: &Frame) -> bool {
    let conflict = frame.syndrome().as_abort().is_some_and(|abort| abort.status == Status::TlbConflict);
    if !conflict {
        return false;
    }
    let Some(cpu) = percpu::try_this_cpu() else { return false };
    if !cpu.conflicts.may_retry(frame.elr, frame.far) {
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
