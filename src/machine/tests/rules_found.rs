//! M3, M5, M6, M7, M9, M10: what the oracle found the machine to be wrong in, by hand.

use super::small::*;
use crate::linear_map::BbmLevel;
use crate::machine::*;
use crate::paging::{Attributes, Descriptor, Geometry, Level, PhysAddr, slot};

/// An entry with an empty table, and a full table to put in its place.
const ENTRY: usize = 5;
const FULL: PhysAddr = PhysAddr(NEW.0 + 0x1000);

fn with_empty_table() -> Machine {
    let machine = machine(BbmLevel::Zero);
    (0..512).for_each(|index| machine.poke(slot(NEW, index), Descriptor::EMPTY));
    machine.poke(slot(L2, ENTRY), Descriptor::table(NEW));
    fill(machine.cpu(0), FULL, Attributes::NORMAL.leaf(output(ENTRY), Level::L2));
    machine.cpu(0).dsb(Dsb::Ishst);
    machine
}

/// CPU 0 tells, CPU 1 knows.
fn hand_over(machine: &Machine) {
    machine.cpu(0).store_flag(1, Flag::Ordered);
    machine.cpu(1).load_flag(1, Flag::Ordered);
    machine.cpu(1).branch();
    machine.cpu(1).isb();
}

#[test]
fn m9_a_table_that_is_gone_may_still_be_walked_and_fault() {
    for (invalidated, good) in [(true, true), (false, false)] {
        let machine = with_empty_table();
        let cpu = machine.cpu(0);
        cpu.store(slot(L2, ENTRY), Descriptor::table(FULL));
        if invalidated {
            invalidate(cpu);
        } else {
            cpu.dsb(Dsb::Ishst);
        }
        hand_over(&machine);
        machine.cpu(1).access(address(ENTRY), Access::Load);
        if good { passes(&machine) } else { breaks(&machine, Rule::M9) }
    }
}

#[test]
fn m10_a_fault_by_the_table_of_before_is_stale_as_well() {
    for (told, good) in [(true, true), (false, false)] {
        let machine = with_empty_table();
        machine.cpu(0).store(slot(L2, ENTRY), Descriptor::table(FULL));
        invalidate(machine.cpu(0));
        if told {
            hand_over(&machine);
        }
        machine.cpu(1).access(address(ENTRY), Access::Load);
        if good { passes(&machine) } else { breaks(&machine, Rule::M10) }
    }
}

#[test]
fn m10_a_second_store_does_not_hide_the_first() {
    for (told, good) in [(true, true), (false, false)] {
        let machine = machine(BbmLevel::Zero);
        let (cpu, leaf) = (machine.cpu(0), Attributes::NORMAL.leaf(output(ENTRY), Level::L2));
        cpu.store(slot(L2, ENTRY), leaf);
        if told {
            cpu.dsb(Dsb::Ishst);
            hand_over(&machine);
        }
        cpu.store(slot(L2, ENTRY), read_only(leaf));
        machine.cpu(1).access(address(ENTRY), Access::Load);
        if good { passes(&machine) } else { breaks(&machine, Rule::M10) }
    }
}

#[test]
fn m10_where_nothing_is_mapped_no_fault_is_stale() {
    for (page, good) in [(Descriptor::EMPTY, true), (page_leaf(0), false)] {
        let machine = machine(BbmLevel::Zero);
        let cpu = machine.cpu(0);
        cpu.store_run(NEW, Descriptor::EMPTY, 0, 512);
        cpu.store(NEW, page);
        cpu.dsb(Dsb::Ishst);
        cpu.store(slot(L2, ENTRY), Descriptor::table(NEW));
        cpu.access(address(ENTRY), Access::Load);
        if good { passes(&machine) } else { breaks(&machine, Rule::M10) }
    }
}

#[test]
fn m5_a_hint_speaks_of_a_leaf_and_not_of_a_table_of_that_level() {
    for (level, good) in [(Level::L3, true), (Level::L2, false)] {
        let machine = machine(BbmLevel::Zero);
        let cpu = machine.cpu(0);
        (1..512).for_each(|index| machine.poke(slot(L3, index), Descriptor::EMPTY));
        cpu.store(slot(L2, PAGES), Descriptor::EMPTY);
        cpu.dsb(Dsb::Ishst);
        cpu.tlbi(Tlbi::vaae1is(page(0)).at_level(level));
        cpu.dsb(Dsb::Ish);
        cpu.store(slot(L2, PAGES), Attributes::NORMAL.leaf(output(PAGES), Level::L2));
        if good { passes(&machine) } else { breaks(&machine, Rule::M5) }
    }
}

#[test]
fn m3_a_table_that_is_linked_again_as_it_was_brings_nothing_new() {
    for (again, good) in [(Descriptor::table(L3), true), (Descriptor::table(NEW), false)] {
        let machine = machine(BbmLevel::Zero);
        let cpu = machine.cpu(0);
        fill(cpu, NEW, Attributes::NORMAL.leaf(output(ENTRY), Level::L2));
        cpu.store(slot(L2, PAGES), Descriptor::EMPTY);
        cpu.dsb(Dsb::Ishst);
        // One page of 512.
        cpu.tlbi(Tlbi::vaae1is(page(3)));
        cpu.dsb(Dsb::Ish);
        cpu.store(slot(L2, PAGES), again);
        if good { passes(&machine) } else { breaks(&machine, Rule::M5) }
    }
}

#[test]
fn m6_a_second_tlbi_takes_nothing_from_the_first() {
    for (first, good) in [(Tlbi::VMALLE1IS, true), (Tlbi::vaae1is(page(4)), false)] {
        let machine = machine(BbmLevel::Zero);
        let cpu = machine.cpu(0);
        cpu.store(slot(L2, PAGES), Descriptor::EMPTY);
        cpu.dsb(Dsb::Ishst);
        cpu.tlbi(first);
        cpu.tlbi(Tlbi::vaale1is(page(3)));
        cpu.dsb(Dsb::Ish);
        assert_eq!(machine.is_settled(), good);
    }
}

#[test]
fn m5_what_was_found_through_a_second_link_is_cached_there() {
    for (tlbi, good) in [(Tlbi::VMALLE1IS, true), (Tlbi::vaae1is(page(3)), false)] {
        let machine = machine(BbmLevel::Zero);
        machine.poke(slot(L2, ENTRY), Descriptor::table(L3));
        let cpu = machine.cpu(0);
        cpu.store(slot(L2, ENTRY), Descriptor::EMPTY);
        cpu.store(slot(L3, 3), read_only(page_leaf(3)));
        cpu.dsb(Dsb::Ishst);
        cpu.tlbi(tlbi);
        cpu.dsb(Dsb::Ish);
        // As it was, but for the page that is read-only now.
        cpu.store(slot(L2, ENTRY), Descriptor::table(L3));
        if good { passes(&machine) } else { breaks(&machine, Rule::M5) }
    }
}

/// A root with one block of a GiB where the tree is.
fn write_root(cpu: OnCpu<'_>) {
    cpu.store_run(NEW, Descriptor::EMPTY, 0, 512);
    cpu.store_run(FULL, Descriptor::EMPTY, 0, 512);
    cpu.store(NEW, Descriptor::table(FULL));
    cpu.store(FULL, Attributes::NORMAL.leaf(PhysAddr(0x8000_0000), Level::L1));
}

#[test]
fn m7_a_root_is_whole_before_a_register_names_it() {
    for (barrier, good) in [(Some(Dsb::Ishst), true), (Some(Dsb::Ishld), false), (None, false)] {
        let machine = machine_of(Config::new(Geometry::K4_V48, &[BbmLevel::Zero]));
        let cpu = machine.cpu(0);
        write_root(cpu);
        barrier.into_iter().for_each(|dsb| cpu.dsb(dsb));
        cpu.set_ttbr1(NEW);
        if good { passes(&machine) } else { breaks(&machine, Rule::M7) }
    }
}

#[test]
fn m9_a_root_that_was_in_a_register_for_a_moment_was_walked() {
    for (isb_between, invalidated, good) in [(false, false, false), (true, false, false), (false, true, true)] {
        let machine = machine_of(Config::new(Geometry::K4_V48, &[BbmLevel::Zero]));
        let cpu = machine.cpu(0);
        write_root(cpu);
        cpu.dsb(Dsb::Ishst);
        cpu.set_ttbr1(NEW);
        if isb_between {
            cpu.isb();
        }
        cpu.set_ttbr1(ROOT);
        cpu.isb();
        if invalidated {
            invalidate(cpu);
        }
        cpu.access(address(BLOCK), Access::Load);
        if good { passes(&machine) } else { breaks(&machine, Rule::M9) }
    }
}
