// SPDX-License-Identifier: MIT OR Apache-2.0
//! The audit of the kernel's own pages, section by section and stack by stack, and of every CPU's registers.

use alloc::format;

use cleave::aarch64::{timer, translate};
use cleave::tables::VirtAddr;

use super::expected::Access;
use super::{Findings, registers};
use crate::cpu::smp;
use crate::mm::image::{self, Section};
use crate::mm::layout::{BLOCK_TOP, PAGE, Part, Spot, THREAD_BOTTOM};
use crate::mm::memory;
use crate::mm::views::Reader;

/// Audits the image's sections, the stacks of every CPU at work with the pages between them, and the registers.
pub(super) fn audit(findings: &mut Findings) {
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

/// Asks the MMU for a load and a store, and the tables for a fetch, which AT does not have.
fn access(address: VirtAddr) -> Access {
    let leaf = memory::tree(Reader).translate(address);
    Access {
        read: translate::read(address).address().is_some(),
        write: translate::write(address).address().is_some(),
        execute: leaf.is_some_and(|(leaf, _)| leaf.is_executable()),
    }
}
