// SPDX-License-Identifier: MIT OR Apache-2.0
//! The per-CPU block: the state of one CPU, at the address in its TPIDR_EL1.
//!
//! A block lies in its CPU's slot ([`crate::mm::layout::Slot`]), is written once by the CPU that starts its owner,
//! and is shared from then on: what changes in it is atomic. The vectors read one field of it
//! (`boot/vectors.S`), by an offset the compiler gives them.
#![cfg(target_os = "none")]
#![allow(unsafe_code, reason = "TPIDR_EL1 becomes a reference")]

use core::sync::atomic::{AtomicBool, AtomicU64};

use crate::cpu::registers::TPIDR_EL1;
use crate::cpu::retries::Retries;
use cleave::tables::VirtAddr;
use tock_registers::interfaces::{Readable, Writeable};

use crate::cpu::state::CpuState;
use crate::mm::layout::{Part, Slot};

/// The per-CPU block.
#[repr(C, align(64))]
pub(crate) struct PerCpu {
    /// Initial SP of the emergency stack: what the vectors read.
    pub(crate) emergency_top: u64,
    /// The logical number: the boot CPU is 0, the others as the device tree lists them.
    pub(crate) id: usize,
    /// The affinity fields of MPIDR_EL1.
    pub(crate) mpidr: u64,
    /// The slot of its stacks and of this block.
    pub(crate) slot: Slot,
    /// True between its arrival in a rendezvous and its release ([`crate::cpu::ban`]).
    pub(crate) in_rendezvous: AtomicBool,
    /// Interrupts taken.
    pub(crate) interrupts: AtomicU64,
    /// TLB conflict aborts survived.
    pub(crate) conflicts: Retries,
    /// Stale translation faults survived.
    pub(crate) stale_faults: Retries,
    /// The state that bring-up, lock, rendezvous and repaint keep for each CPU.
    pub(crate) state: CpuState,
}

impl PerCpu {
    /// Returns the block of CPU `id`, whose stacks lie in `slot`.
    pub(crate) const fn new(id: usize, mpidr: u64, slot: Slot) -> Self {
        Self {
            emergency_top: slot.top(Part::Emergency).0,
            id,
            mpidr,
            slot,
            in_rendezvous: AtomicBool::new(false),
            interrupts: AtomicU64::new(0),
            conflicts: Retries::new(),
            stale_faults: Retries::new(),
            state: CpuState::new(),
        }
    }

    /// Puts the block into its slot and returns where: what goes into the owner's TPIDR_EL1.
    ///
    /// # Safety
    /// The slot's block page is mapped read-write, no CPU runs on this slot yet, and the mapping stays for ever.
    pub(crate) unsafe fn install(self) -> VirtAddr {
        let address = self.slot.block();
        // SAFETY: a whole page of the slot, mapped and unused by the caller's promise; PerCpu fits (asserted below) and
        // a page boundary satisfies its alignment.
        unsafe { (address.0 as *mut Self).write(self) };
        address
    }
}

// The last 64 bytes of the page are the record a secondary starts from.
const _: () = assert!(size_of::<PerCpu>() as u64 <= crate::mm::layout::PAGE - 64, "the block is one page");

/// Makes `block` this CPU's own. The boot CPU calls it once; a secondary comes with its block set.
///
/// # Safety
/// `block` came from [`PerCpu::install`] for this CPU.
pub(crate) unsafe fn set_this_cpu(block: VirtAddr) {
    // No barrier: reads of TPIDR_EL1 by the same CPU follow its write in program order (DDI 0487,
    // "Synchronization requirements for AArch64 System registers").
    TPIDR_EL1.set(block.0);
}

/// Returns this CPU's block; `None` on the boot CPU before it has one.
#[inline]
pub(crate) fn try_this_cpu() -> Option<&'static PerCpu> {
    let block = TPIDR_EL1.get() as *const PerCpu;
    // SAFETY: zero from boot on (boot/el1.S), and after that only what `install` returned, either set by
    // `set_this_cpu` or by boot/secondary.S; such a block is initialised, stays mapped and is only ever shared.
    unsafe { block.as_ref() }
}

/// Returns this CPU's block.
///
/// # Panics
/// On the boot CPU before it has one.
#[inline]
#[track_caller]
pub(crate) fn this_cpu() -> &'static PerCpu {
    try_this_cpu().expect("no per-CPU block yet")
}
