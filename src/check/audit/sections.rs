// SPDX-License-Identifier: MIT OR Apache-2.0
#![allow(unsafe_code, reason = "stores that must fault are made")]
//! The audit of the kernel's own pages, section by section and stack by stack, and of every CPU's registers.

use alloc::format;

use cleave::aarch64::syndrome::{Class, Status};
use cleave::aarch64::{interrupts, timer, translate};
use cleave::tables::VirtAddr;

use super::expected::Access;
use super::{Findings, registers};
use crate::cpu::smp;
use crate::irq::exceptions::{ProbeError, ProbeFailed, probe_read, probe_write};
use crate::mm::image::{self, Section};
use crate::mm::layout::{BLOCK_TOP, PAGE, Part, Spot, THREAD_BOTTOM};
use crate::mm::memory;
use crate::mm::views::Reader;

/// Audits the image's sections, the stacks of every CPU at work with the pages between them, and the registers.
pub(super) fn audit(findings: &mut Findings) {
    let sealed = Section::RoAfterInit.virt();
    for (section, right) in [
        (Section::Text, Access::CODE),
        (Section::Rodata, Access::CONSTANTS),
        (Section::RoAfterInit, Access::CONSTANTS),
        (Section::Data, Access::DATA),
        (Section::Bss, Access::DATA),
        (Section::Tables, Access::DATA),
    ] {
        let range = section.virt();
        for address in (range.start.0..range.end.0).step_by(PAGE as usize).map(VirtAddr) {
            let (found, output) = (access(address), translate::read(address));
            if found != right || output.address() != Some(image::physical(address)) {
                findings.sections += 1;
                findings.name(|| format!("{section:?} at {address} ({output}): {found} where {right} is right"));
            }
        }
    }
    for address in (sealed.start.0..sealed.end.0).step_by(PAGE as usize).map(VirtAddr) {
        for alias in [address, memory::linear(image::physical(address))] {
            if !refuses_a_store(alias) {
                findings.sections += 1;
                findings.name(|| format!("{:?} at {alias}: a store goes through", Section::RoAfterInit));
            }
        }
    }
    for cpu in smp::online() {
        let base = cpu.slot.range(Part::Thread).start.0 - THREAD_BOTTOM;
        for address in (base..base + BLOCK_TOP).step_by(PAGE as usize).map(VirtAddr) {
            let (right, below, part) = match cpu.slot.spot(address) {
                Some(Spot::In(part)) => (Access::DATA, "", part),
                Some(Spot::GuardOf(part)) => (Access::NONE, "the page below ", part),
                Some(Spot::Unused) | None => continue,
            };
            let found = access(address);
            if found != right {
                findings.sections += 1;
                let name = part.name();
                findings.name(|| {
                    format!("{below}the {name} of CPU {} at {address}: {found} where {right} is right", cpu.id)
                });
            }
        }
        for wrong in registers::wrong(&cpu.state.registers(), timer::frequency()) {
            findings.registers += 1;
            findings.name(|| format!("CPU {}: {wrong}", cpu.id));
        }
    }
}

/// Returns true when a store to `address`, which is read-only after init, takes a permission fault. The store is made: a TLB that
/// still holds the permissions of before lets it through, and the AT instructions need not tell of that.
fn refuses_a_store(address: VirtAddr) -> bool {
    // No interrupt's handler reads the word between load and store, should the store go through.
    let _masked = interrupts::mask_all();
    let mut word = [0; 8];
    if probe_read(address, &mut word).is_err() {
        return false;
    }
    // SAFETY: the word is what is there already, and no code writes there any more.
    let stored = unsafe { probe_write(address, &word) };
    let Err(ProbeFailed { error: ProbeError::Fault(syndrome), .. }) = stored else { return false };
    matches!(syndrome.class(), Class::DataAbort(abort) if matches!(abort.status, Status::Permission(_)))
}

/// Asks the MMU for a load and a store, and the tables for a fetch, which AT does not have.
fn access(address: VirtAddr) -> Access {
    let leaf = memory::tree(Reader).translate(address);
    Access {
        read: translate::read(address).address().is_some(),
        write: translate::write(address).address().is_some(),
        execute: leaf.is_some_and(|(leaf, _)| leaf.is_executable()),
    }
}
