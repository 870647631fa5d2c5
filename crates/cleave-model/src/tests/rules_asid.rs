// SPDX-License-Identifier: MIT OR Apache-2.0
//! M5, M9, M12 with processes: what is tagged with an ASID, and what is not.

use super::small::*;
use crate::*;
use cleave::aarch64::BbmLevel;
use cleave::tables::{Attributes, Descriptor, Geometry, Level, PhysAddr, Scope, VirtAddr, slot};

/// A process: a root, its tables and one page at 0x3000.
fn process(machine: &Machine, at: u64, output: u64, scope: Scope) -> PhysAddr {
    let tables = [0, 1, 2, 3].map(|level| PhysAddr(at + level * 0x1000));
    for table in tables {
        (0..512).for_each(|index| machine.poke(slot(table, index), Descriptor::EMPTY));
    }
    for pair in tables.windows(2) {
        machine.poke(pair[0], Descriptor::table(pair[1]));
    }
    let page = Attributes { scope, ..Attributes::NORMAL }.leaf(PhysAddr(output), Level::L3);
    machine.poke(slot(tables[3], 3), page);
    tables[0]
}

const ADDRESS: VirtAddr = VirtAddr(0x3000);

/// Switches from one process to another, with `between`, and uses the second.
fn switched(scope: Scope, asids: [u16; 2], between: &[Tlbi]) -> (Machine, Outcome) {
    let machine = machine_of(Config::new(Geometry::K4_V48, &[BbmLevel::Zero]));
    let first = process(&machine, 0x30_0000, 0x5000_0000, scope);
    let second = process(&machine, 0x40_0000, 0x6000_0000, scope);
    let cpu = machine.cpu(0);
    cpu.set_process(first, asids[0]);
    cpu.isb();
    cpu.access(ADDRESS, Access::Load);
    cpu.set_process(second, asids[1]);
    cpu.isb();
    for &tlbi in between {
        cpu.tlbi(tlbi);
        cpu.dsb(Dsb::Ish);
        cpu.isb();
    }
    let outcome = cpu.access(ADDRESS, Access::Load);
    (machine, outcome)
}

#[test]
fn a_process_switch_with_another_asid_needs_no_tlbi() {
    let (machine, outcome) = switched(Scope::AddressSpace, [1, 2], &[]);
    passes(&machine);
    assert_eq!(outcome, Outcome::Memory(PhysAddr(0x6000_0000)));
    breaks(&switched(Scope::AddressSpace, [1, 1], &[]).0, Rule::AmbiguousTranslation);
    breaks(&switched(Scope::Global, [1, 2], &[]).0, Rule::AmbiguousTranslation);
}

#[test]
fn aside1_covers_non_global_entries_of_one_asid() {
    passes(&switched(Scope::AddressSpace, [1, 1], &[Tlbi::aside1is(1)]).0);
    breaks(&switched(Scope::AddressSpace, [1, 1], &[Tlbi::aside1is(2)]).0, Rule::AmbiguousTranslation);
    breaks(&switched(Scope::Global, [1, 1], &[Tlbi::aside1is(1)]).0, Rule::AmbiguousTranslation);
    passes(&switched(Scope::Global, [1, 1], &[Tlbi::VMALLE1IS]).0);
}

#[test]
fn a_non_global_page_is_invalidated_under_its_own_asid() {
    for (asid, good) in [(1, true), (2, false)] {
        let machine = machine_of(Config::new(Geometry::K4_V48, &[BbmLevel::Zero]));
        let root = process(&machine, 0x30_0000, 0x5000_0000, Scope::AddressSpace);
        let (cpu, at) = (machine.cpu(0), slot(PhysAddr(0x30_3000), 3));
        cpu.set_process(root, 1);
        cpu.isb();
        let page = machine.peek(at);
        cpu.store(at, Descriptor::EMPTY);
        cpu.dsb(Dsb::Ishst);
        cpu.tlbi(Tlbi::from_operand(ADDRESS.0 >> 12 | asid << 48, LastLevel::Only, Geometry::K4_V48));
        cpu.dsb(Dsb::Ish);
        cpu.store(at, Descriptor(page.0 + 0x1000));
        if good { passes(&machine) } else { breaks(&machine, Rule::TlbiCoverage) }
    }
}
