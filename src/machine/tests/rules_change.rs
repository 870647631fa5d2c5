//! M1, M2, M3, M11: what may be stored where a walker may look.

use super::small::*;
use crate::linear_map::BbmLevel;
use crate::machine::*;
use crate::paging::{Attributes, Cpu, Descriptor, Level, MemoryType, PhysAddr, Scope, slot};

/// Splits the block live, in one store, its child complete.
fn split_live(machine: &Machine, leaf: Descriptor) {
    let cpu = machine.cpu(0);
    fill(cpu, NEW, leaf);
    cpu.dsb_ishst();
    cpu.store(slot(L2, BLOCK), Descriptor::table(NEW));
}

/// Break, invalidate, make.
fn split_broken(machine: &Machine, leaf: Descriptor) {
    let cpu = machine.cpu(0);
    fill(cpu, NEW, leaf);
    cpu.store(slot(L2, BLOCK), Descriptor::EMPTY);
    invalidate(cpu);
    cpu.store(slot(L2, BLOCK), Descriptor::table(NEW));
    cpu.dsb_ishst();
    Cpu::isb(&cpu);
}

#[test]
fn m1_a_live_change_of_size_needs_level_2_everywhere() {
    for level in [BbmLevel::Zero, BbmLevel::One] {
        let machine = machine(level);
        split_live(&machine, block());
        breaks(&machine, Rule::M1);
    }
    // One low CPU that can reach it is enough, ...
    let config = |levels: &[BbmLevel]| Config::new(crate::paging::Geometry::K4_V48, levels);
    let mixed = machine_of(config(&[BbmLevel::Three, BbmLevel::One]));
    split_live(&mixed, block());
    breaks(&mixed, Rule::M1);
    // ... and breaking first is right at any level.
    for level in [BbmLevel::Zero, BbmLevel::One, BbmLevel::Two, BbmLevel::Three] {
        let machine = machine(level);
        split_broken(&machine, block());
        passes(&machine);
    }
    for level in [BbmLevel::Two, BbmLevel::Three] {
        let machine = machine(level);
        split_live(&machine, block());
        passes(&machine);
    }
}

#[test]
fn m1_size_and_permission_change_in_two_steps() {
    let machine = machine(BbmLevel::Two);
    split_live(&machine, read_only(block()));
    breaks(&machine, Rule::M1);

    // In two stores, but with the block possibly still cached: the same thing to a TLB.
    let hasty = super::small::machine(BbmLevel::Two);
    split_live(&hasty, block());
    let first = hasty.peek(slot(NEW, 0));
    hasty.cpu(0).store(slot(NEW, 0), read_only(first));
    breaks(&hasty, Rule::M1);

    let patient = super::small::machine(BbmLevel::Two);
    split_live(&patient, block());
    invalidate(patient.cpu(0));
    patient.cpu(0).store(slot(NEW, 0), read_only(first));
    invalidate(patient.cpu(0));
    patient.check_settled(0);
    passes(&patient);
}

#[test]
fn m1_pages_to_a_block_is_a_change_of_size_as_well() {
    for (level, allowed) in [(BbmLevel::One, false), (BbmLevel::Two, true)] {
        let machine = machine(level);
        machine.cpu(0).store(slot(L2, PAGES), Attributes::NORMAL.leaf(output(PAGES), Level::L2));
        if allowed { passes(&machine) } else { breaks(&machine, Rule::M1) }
    }
    // A page that was read-only would become writable on the way.
    let machine = machine(BbmLevel::Two);
    machine.poke(slot(L3, 7), read_only(page_leaf(7)));
    machine.cpu(0).store(slot(L2, PAGES), Attributes::NORMAL.leaf(output(PAGES), Level::L2));
    breaks(&machine, Rule::M1);
}

#[test]
fn m1_clearing_the_contiguous_bit_live_needs_level_2() {
    for (level, allowed) in [(BbmLevel::Zero, false), (BbmLevel::Two, true)] {
        let machine = machine(level);
        let cpu = machine.cpu(0);
        for index in GROUP..GROUP + 16 {
            cpu.store(slot(L2, index), machine.peek(slot(L2, index)).without_contiguous());
        }
        invalidate(cpu);
        if allowed { passes(&machine) } else { breaks(&machine, Rule::M1) }
    }
}

#[test]
fn m2_a_live_entry_keeps_its_target_at_every_level() {
    let device = Attributes { memory: MemoryType::Device, ..Attributes::NORMAL };
    let local = Attributes { scope: Scope::AddressSpace, ..Attributes::NORMAL };
    let outer = Descriptor(page_leaf(3).0 & !(0b11 << 8) | 0b10 << 8);
    let changes = [
        page_leaf(4),
        device.leaf(output(PAGES).offset(0x3000), Level::L3),
        local.leaf(output(PAGES).offset(0x3000), Level::L3),
        outer,
    ];
    for level in [BbmLevel::Zero, BbmLevel::Two, BbmLevel::Three] {
        for change in changes {
            let bad = machine(level);
            bad.cpu(0).store(slot(L3, 3), change);
            breaks(&bad, Rule::M2);
            let good = machine(level);
            good.cpu(0).store(slot(L3, 3), Descriptor::EMPTY);
            invalidate(good.cpu(0));
            good.cpu(0).store(slot(L3, 3), change);
            passes(&good);
        }
        // Permissions alone may change in place.
        let machine = machine(level);
        machine.cpu(0).store(slot(L3, 3), read_only(page_leaf(3)));
        invalidate(machine.cpu(0));
        machine.check_settled(0);
        passes(&machine);
    }
}

#[test]
fn m2_a_table_may_move_only_if_what_it_maps_stays() {
    let copy = |machine: &Machine| {
        let cpu = machine.cpu(0);
        for index in 0..512 {
            cpu.store(slot(NEW, index), machine.peek(slot(L3, index)));
        }
    };
    let same = machine(BbmLevel::Zero);
    copy(&same);
    let cpu = same.cpu(0);
    cpu.dsb_ishst();
    cpu.store(slot(L2, PAGES), Descriptor::table(NEW));
    passes(&same);
    let other = machine(BbmLevel::Zero);
    copy(&other);
    let cpu = other.cpu(0);
    cpu.store(slot(NEW, 9), page_leaf(10));
    cpu.dsb_ishst();
    cpu.store(slot(L2, PAGES), Descriptor::table(NEW));
    breaks(&other, Rule::M2);
}

#[test]
fn m3_nothing_is_remade_before_the_old_is_gone() {
    let remake = |invalidated: bool| {
        let machine = machine(BbmLevel::Zero);
        let cpu = machine.cpu(0);
        cpu.store(slot(L3, 3), Descriptor::EMPTY);
        if invalidated {
            invalidate(cpu);
        } else {
            // Every barrier there is, but no TLBI.
            cpu.dsb(Dsb::Sy);
            cpu.isb();
        }
        cpu.store(slot(L3, 3), page_leaf(4));
        machine
    };
    breaks(&remake(false), Rule::M3);
    passes(&remake(true));
    // What was never valid needs no invalidation, ...
    let fresh = machine(BbmLevel::Zero);
    fresh.cpu(0).store(slot(L2, 5), Attributes::NORMAL.leaf(output(5), Level::L2));
    passes(&fresh);
    // ... nor does the very value that may still be cached.
    let same = machine(BbmLevel::Zero);
    same.cpu(0).store(slot(L3, 3), page_leaf(3).made_invalid());
    same.cpu(0).store(slot(L3, 3), page_leaf(3));
    passes(&same);
}

#[test]
fn m3_a_page_below_a_broken_block_is_a_remake_of_it() {
    let machine = machine(BbmLevel::Zero);
    let cpu = machine.cpu(0);
    cpu.store_run(NEW, Descriptor::EMPTY, 0, 512);
    cpu.store(slot(L2, BLOCK), Descriptor::EMPTY);
    invalidate(cpu);
    cpu.store(slot(L2, BLOCK), Descriptor::table(NEW));
    passes(&machine);
    // A second page where a first one is broken and not gone.
    cpu.store(slot(NEW, 0), block().split_child(Level::L3));
    cpu.store(slot(NEW, 0), Descriptor::EMPTY);
    cpu.store(slot(L2, BLOCK), Descriptor::EMPTY);
    cpu.store(slot(L2, BLOCK), block());
    breaks(&machine, Rule::M3);
}

#[test]
fn m11_a_group_changes_as_a_whole() {
    let one = machine(BbmLevel::Zero);
    one.cpu(0).store(slot(L2, GROUP + 3), read_only(one.peek(slot(L2, GROUP + 3))));
    breaks(&one, Rule::M11);
    // A hole is one as soon as it is ordered, at every level.
    for level in [BbmLevel::Zero, BbmLevel::Three] {
        let hole = machine(level);
        hole.cpu(0).store(slot(L2, GROUP + 15), Descriptor::EMPTY);
        passes(&hole);
        hole.cpu(0).dsb(Dsb::Ishst);
        breaks(&hole, Rule::M11);
    }
    // All sixteen broken, invalidated and made again.
    let all = machine(BbmLevel::Zero);
    let cpu = all.cpu(0);
    let old: Vec<_> = (GROUP..GROUP + 16).map(|index| all.peek(slot(L2, index))).collect();
    cpu.store_run(slot(L2, GROUP), Descriptor::EMPTY, 0, 16);
    invalidate(cpu);
    for (index, old) in old.into_iter().enumerate() {
        cpu.store(slot(L2, GROUP + index), read_only(old));
    }
    cpu.dsb(Dsb::Ishst);
    passes(&all);
    // Level 2 may do it live.
    let live = machine(BbmLevel::Two);
    for index in GROUP..GROUP + 16 {
        live.cpu(0).store(slot(L2, index), read_only(live.peek(slot(L2, index))));
    }
    invalidate(live.cpu(0));
    passes(&live);
}

#[test]
fn m11_a_group_that_is_linked_is_whole_and_aligned() {
    let first = Attributes::NORMAL.leaf(PhysAddr(0x4020_0000), Level::L3).with_contiguous();
    for (first, count, good) in [(first, 16, true), (first, 15, false), (Descriptor(first.0 + 0x1000), 16, false)] {
        let machine = machine(BbmLevel::Zero);
        let cpu = machine.cpu(0);
        cpu.store_run(NEW, Descriptor::EMPTY, 0, 512);
        cpu.store_run(slot(NEW, 16), first, 0x1000, count);
        cpu.dsb_ishst();
        cpu.store(slot(L2, 5), Descriptor::table(NEW));
        if good { passes(&machine) } else { breaks(&machine, Rule::M11) }
    }
}
