// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changes of the kernel's own code: the one exception to the rule that no memory is both writable and executable.
//!
//! For the moment of one store the page of code has a writable alias, which is never executable, on one CPU alone, through TTBR0
//! ([`crate::mm::temporary_page`]). It is in no TLB any more before the call returns.
#![cfg(target_os = "none")]
#![allow(unsafe_code, reason = "code is stored")]

use core::cell::Cell;
use core::fmt;

use cleave::aarch64::instruction::{self, Instruction};
use cleave::aarch64::interrupts;
use cleave::rendezvous::Refused;
use cleave::tables::{PhysAddr, VirtAddr};

use crate::mm::image;
use crate::mm::layout::PAGE;
use crate::mm::repaint::empty_rendezvous;
use crate::mm::temporary_page;

/// The state of the other CPUs during a patch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Others {
    /// They run, and may be at the instruction.
    Run,
    /// They stand still in a rendezvous.
    Stop,
}

/// The reason that code was not changed. It is as before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PatchError {
    /// No instruction of the text that may change is there.
    NotText(VirtAddr),
    /// This instruction may not change, or be changed to, while other CPUs run.
    NotLive(Instruction),
    /// Another instruction is there.
    Unexpected(Instruction),
    /// The CPUs were not gathered.
    Refused(Refused),
}

impl fmt::Display for PatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotText(address) => write!(f, "{address} is no instruction of the kernel's that may change"),
            Self::NotLive(instruction) => write!(f, "{instruction} may not change while other CPUs run"),
            Self::Unexpected(found) => write!(f, "{found} is there"),
            Self::Refused(refused) => refused.fmt(f),
        }
    }
}

/// Makes the instruction at `address`, which is `old`, `new`. When it returns, every online CPU executes the new one.
///
/// While others run, both instructions must be of the few that may change then. Such a CPU executes the old one or the new one
/// until its context is synchronised, which a rendezvous does: each CPU has an ISB between its release and its leaving, and the
/// leader waits for all to leave.
///
/// # Errors
/// [`PatchError`]. If other CPUs run and one of them does not come, the old instruction is stored again: until that CPU takes its
/// next exception it may execute either.
///
/// # Safety
/// The code is right with either instruction, and stopped CPUs do not stand at it.
pub(crate) unsafe fn patch(
    address: VirtAddr,
    old: Instruction,
    new: Instruction,
    others: Others,
) -> Result<(), PatchError> {
    if !image::patchable_text().contains(&address) || !address.is_aligned(4) {
        return Err(PatchError::NotText(address));
    }
    match others {
        Others::Run => {
            if let Some(other) = [old, new].into_iter().find(|instruction| !instruction.may_change_live()) {
                return Err(PatchError::NotLive(other));
            }
            // The rendezvous below would refuse, when the store is made.
            if interrupts::are_masked() {
                return Err(PatchError::Refused(Refused::InterruptsMasked));
            }
            temporary_page::with(page(address), |page| replace(page, address, old, new))?;
            empty_rendezvous(|_| ()).map(drop).map_err(|refused| {
                // It was there a moment ago, and nothing else changes it.
                let _ = temporary_page::with(page(address), |page| replace(page, address, new, old));
                PatchError::Refused(refused)
            })
        }
        Others::Stop => {
            let replaced = Cell::new(Ok(()));
            empty_rendezvous(|parked| {
                let work = |page| replace(page, address, old, new);
                replaced.set(temporary_page::with_parked(parked, page(address), work));
            })
            .map_err(PatchError::Refused)?;
            replaced.get()
        }
    }
}

/// Returns the page of memory that an instruction is in.
fn page(address: VirtAddr) -> PhysAddr {
    image::physical(address).align_down(PAGE)
}

/// Stores `new` in place of `old`: the instruction at `address`, whose page is mapped at `page` as well, writable.
fn replace(page: VirtAddr, address: VirtAddr, old: Instruction, new: Instruction) -> Result<(), PatchError> {
    let written = page.offset(address.0 % PAGE);
    // SAFETY: aligned, and mapped for as long as this runs.
    let found = unsafe { instruction::load(written) };
    if found != old {
        return Err(PatchError::Unexpected(found));
    }
    // SAFETY: one word of the kernel's text by both addresses, of one memory type; `patch` has seen that other CPUs stand still or
    // that both instructions may change, and the rest is its caller's promise.
    unsafe { instruction::store(written, address, new) };
    Ok(())
}
