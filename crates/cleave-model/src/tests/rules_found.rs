// SPDX-License-Identifier: MIT OR Apache-2.0
//! M3, M5, M6, M7, M9, M10, M12: what the oracle found the machine to be wrong in, by hand. Each test failed before.

use super::small::*;
use crate::*;
use cleave::aarch64::BbmLevel;
use cleave::tables::{Attributes, Descriptor, Geometry, Level, PhysAddr, slot};

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
fn an_unlinked_table_may_still_be_walked_and_fault() {
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
        if good { passes(&machine) } else { breaks(&machine, Rule::AmbiguousTranslation) }
    }
}

#[test]
fn a_fault_by_a_replaced_table_is_stale_as_well() {
    for (told, good) in [(true, true), (false, false)] {
        let machine = with_empty_table();
        machine.cpu(0).store(slot(L2, ENTRY), Descriptor::table(FULL));
        invalidate(machine.cpu(0));
        if told {
            hand_over(&machine);
        }
        machine.cpu(1).access(address(ENTRY), Access::Load);
        if good { passes(&machine) } else { breaks(&machine, Rule::ContextSynchronisation) }
    }
}

#[test]
fn a_stale_fault_may_come_from_an_overwritten_table() {
    for (told, good) in [(true, true), (false, false)] {
        let machine = with_empty_table();
        let cpu = machine.cpu(0);
        cpu.store(slot(L2, ENTRY), Descriptor::table(FULL));
        invalidate(cpu);
        cpu.store_run(NEW, machine.peek(FULL), 0x1000, 512);
        if told {
            hand_over(&machine);
        }
        machine.cpu(1).access(address(ENTRY), Access::Load);
        if good { passes(&machine) } else { breaks(&machine, Rule::ContextSynchronisation) }
    }
}

#[test]
fn a_second_store_does_not_hide_that_an_entry_is_fresh() {
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
        if good { passes(&machine) } else { breaks(&machine, Rule::ContextSynchronisation) }
    }
}

#[test]
fn a_fault_on_an_unmapped_address_is_never_stale() {
    for (page, good) in [(Descriptor::EMPTY, true), (page_leaf(0), false)] {
        let machine = machine(BbmLevel::Zero);
        let cpu = machine.cpu(0);
        cpu.store_run(NEW, Descriptor::EMPTY, 0, 512);
        cpu.store(NEW, page);
        cpu.dsb(Dsb::Ishst);
        cpu.store(slot(L2, ENTRY), Descriptor::table(NEW));
        cpu.access(address(ENTRY), Access::Load);
        if good { passes(&machine) } else { breaks(&machine, Rule::ContextSynchronisation) }
    }
}

#[test]
fn a_level_hint_covers_no_table_entry_of_that_level() {
    for (level, good) in [(Level::L3, true), (Level::L2, false)] {
        let machine = machine(BbmLevel::Zero);
        let cpu = machine.cpu(0);
        cpu.store(slot(L2, PAGES), Descriptor::EMPTY);
        cpu.dsb(Dsb::Ishst);
        cpu.tlbi(Tlbi::vaae1is(page(0)).at_level(level));
        cpu.dsb(Dsb::Ish);
        // The table that was there is used for something else.
        cpu.store(slot(L3, 3), Descriptor::EMPTY);
        if good { passes(&machine) } else { breaks(&machine, Rule::FrameReuse) }
    }
}

#[test]
fn a_table_linked_again_unchanged_needs_no_tlbi() {
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
        if good { passes(&machine) } else { breaks(&machine, Rule::TlbiCoverage) }
    }
}

#[test]
fn a_second_tlbi_does_not_undo_the_first() {
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
fn an_entry_reached_by_two_links_is_cached_at_both_addresses() {
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
        if good { passes(&machine) } else { breaks(&machine, Rule::TlbiCoverage) }
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
fn a_root_is_filled_before_a_ttbr_names_it() {
    for (barrier, good) in [(Some(Dsb::Ishst), true), (Some(Dsb::Ishld), false), (None, false)] {
        let machine = machine_of(Config::new(Geometry::K4_V48, &[BbmLevel::Zero]));
        let cpu = machine.cpu(0);
        write_root(cpu);
        barrier.into_iter().for_each(|dsb| cpu.dsb(dsb));
        cpu.set_ttbr1(NEW);
        if good { passes(&machine) } else { breaks(&machine, Rule::ChildBeforeParent) }
    }
}

#[test]
fn a_root_replaced_before_the_isb_may_have_been_walked() {
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
        if good { passes(&machine) } else { breaks(&machine, Rule::AmbiguousTranslation) }
    }
}

#[test]
fn a_branch_orders_a_ttbr_write_and_an_acquire_does_not() {
    for (branch, good) in [(true, true), (false, false)] {
        let machine = machine(BbmLevel::Zero);
        write_root(machine.cpu(0));
        machine.cpu(0).store_flag(1, Flag::Ordered);
        let cpu = machine.cpu(1);
        cpu.load_flag(1, Flag::Ordered);
        if branch {
            cpu.branch();
        }
        cpu.set_ttbr1(NEW);
        if good { passes(&machine) } else { breaks(&machine, Rule::ChildBeforeParent) }
    }
}

#[test]
fn entries_of_a_replaced_root_are_judged_at_their_use() {
    for (broken_before, good) in [(false, true), (true, false)] {
        let machine = machine_of(Config::new(Geometry::K4_V48, &[BbmLevel::Zero]));
        let (cpu, leaf) = (machine.cpu(0), Attributes::NORMAL.leaf(output(ENTRY), Level::L2));
        // The same map under another root, and an invalidation of one page.
        cpu.store_run(NEW, Descriptor::EMPTY, 0, 512);
        cpu.store(NEW, machine.peek(ROOT));
        cpu.dsb(Dsb::Ishst);
        cpu.set_ttbr1(NEW);
        cpu.isb();
        cpu.tlbi(Tlbi::vaae1is(page(3)));
        if broken_before {
            cpu.store(slot(L2, ENTRY), read_only(leaf));
            cpu.store(slot(L2, ENTRY), Descriptor::EMPTY);
        }
        cpu.store(slot(L2, ENTRY), leaf);
        if good { passes(&machine) } else { breaks(&machine, Rule::MakeWithoutTlbi) }
    }
}

#[test]
fn a_cpu_without_the_table_entry_cannot_walk_the_leaf_again() {
    for (tlbi, good) in [(Tlbi::vaae1is(page(1)), true), (Tlbi::vaale1is(page(1)), false)] {
        let machine = machine_of(Config::new(Geometry::K4_V48, &[BbmLevel::Zero; 2]));
        (2..512).for_each(|index| machine.poke(slot(L3, index), Descriptor::EMPTY));
        let cpu = machine.cpu(0);
        cpu.store(slot(L2, PAGES), Descriptor::EMPTY);
        cpu.dsb(Dsb::Ishst);
        cpu.tlbi(tlbi.local());
        cpu.dsb(Dsb::Nsh);
        cpu.tlbi(Tlbi::vaale1is(page(0)).local());
        cpu.dsb(Dsb::Nsh);
        cpu.isb();
        // What CPU 1 holds is of no concern to CPU 0.
        cpu.access(page(0), Access::Load);
        if good { passes(&machine) } else { breaks(&machine, Rule::AmbiguousTranslation) }
    }
}

#[test]
fn a_store_to_a_neighbour_makes_no_entry_fresh_again() {
    for (told, good) in [(true, true), (false, false)] {
        let machine = machine_of(Config::new(Geometry::K4_V48, &[BbmLevel::Zero; 2]).with_ets2());
        let (cpu, leaf) = (machine.cpu(0), Attributes::NORMAL.leaf(output(ENTRY), Level::L2));
        cpu.store(slot(L2, ENTRY), leaf);
        if told {
            hand_over(&machine);
        }
        cpu.store(slot(L2, ENTRY + 1), Descriptor(leaf.0 + 0x20_0000));
        machine.cpu(1).access(address(ENTRY), Access::Load);
        if good { passes(&machine) } else { breaks(&machine, Rule::ContextSynchronisation) }
    }
}

#[test]
fn entries_stored_into_an_unlinked_table_may_be_cached() {
    for (tlbi, good) in [(Tlbi::VMALLE1IS, true), (Tlbi::vaae1is(address(ENTRY)), false)] {
        let machine = machine(BbmLevel::Zero);
        machine.poke(slot(L2, ENTRY), Descriptor::table(L3));
        machine.poke(slot(L3, 3), Descriptor::EMPTY);
        let cpu = machine.cpu(0);
        cpu.store(slot(L2, ENTRY), Descriptor::EMPTY);
        // Too early to count.
        cpu.tlbi(Tlbi::vaae1is(address(ENTRY)));
        cpu.store(slot(L3, 3), page_leaf(3));
        cpu.dsb(Dsb::Ish);
        // The link goes now, and one page.
        cpu.tlbi(tlbi);
        cpu.dsb(Dsb::Ish);
        cpu.isb();
        cpu.access(address(ENTRY).offset(0x3000), Access::Load);
        if good { passes(&machine) } else { breaks(&machine, Rule::AmbiguousTranslation) }
    }
}

#[test]
fn an_unordered_change_is_cached_under_a_new_root_as_well() {
    for (completed, good) in [(true, true), (false, false)] {
        let machine = machine(BbmLevel::Zero);
        machine.poke(NEW, Descriptor::table(L1));
        (1..512).for_each(|index| machine.poke(slot(NEW, index), Descriptor::EMPTY));
        (0..512).for_each(|index| machine.poke(slot(FULL, index), Descriptor::EMPTY));
        let (first, second) = (machine.cpu(0), machine.cpu(1));
        // Another map, and nothing left of the first.
        second.set_ttbr1(FULL);
        second.isb();
        invalidate(second);
        first.store(slot(L3, 3), read_only(page_leaf(3)));
        if completed {
            first.dsb(Dsb::Ishst);
        }
        second.set_ttbr1(NEW);
        second.isb();
        second.access(page(3), Access::Store);
        if good { passes(&machine) } else { breaks(&machine, Rule::AmbiguousTranslation) }
    }
}

#[test]
fn stale_entries_of_an_unlinked_table_remain_usable_until_isb() {
    for (isb, good) in [(true, true), (false, false)] {
        let machine = machine(BbmLevel::Zero);
        let cpu = machine.cpu(0);
        cpu.store(slot(L2, PAGES), Descriptor::EMPTY);
        cpu.dsb(Dsb::Ishst);
        cpu.tlbi(Tlbi::VMALLE1IS);
        cpu.dsb(Dsb::Ish);
        cpu.store(slot(L3, 3), Descriptor::EMPTY);
        if isb {
            cpu.isb();
        }
        cpu.access(page(3), Access::Load);
        if good { passes(&machine) } else { breaks(&machine, Rule::ContextSynchronisation) }
    }
}
