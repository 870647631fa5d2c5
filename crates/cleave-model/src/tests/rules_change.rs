// SPDX-License-Identifier: MIT OR Apache-2.0
//! M1, M2, M3: what may be stored where a walker may look.

use super::small::*;
use crate::*;
use cleave::aarch64::BbmLevel;
use cleave::tables::{Attributes, Cpu, Descriptor, Level, MemoryType, Scope, slot};

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
fn a_live_change_of_size_needs_level_2_on_every_cpu() {
    for level in [BbmLevel::Zero, BbmLevel::One] {
        let machine = machine(level);
        split_live(&machine, block());
        breaks(&machine, Rule::LiveSizeChange);
    }
    // One low CPU that can reach it is enough, ...
    let config = |levels: &[BbmLevel]| Config::new(cleave::tables::Geometry::K4_V48, levels);
    let mixed = machine_of(config(&[BbmLevel::Three, BbmLevel::One]));
    split_live(&mixed, block());
    breaks(&mixed, Rule::LiveSizeChange);
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
fn size_and_permissions_do_not_change_in_one_step() {
    let machine = machine(BbmLevel::Two);
    split_live(&machine, read_only(block()));
    breaks(&machine, Rule::LiveSizeChange);

    // In two stores, but with the block possibly still cached: the same thing to a TLB.
    let hasty = super::small::machine(BbmLevel::Two);
    split_live(&hasty, block());
    let first = hasty.peek(slot(NEW, 0));
    hasty.cpu(0).store(slot(NEW, 0), read_only(first));
    breaks(&hasty, Rule::LiveSizeChange);

    let patient = super::small::machine(BbmLevel::Two);
    split_live(&patient, block());
    invalidate(patient.cpu(0));
    patient.cpu(0).store(slot(NEW, 0), read_only(first));
    invalidate(patient.cpu(0));
    patient.check_settled(0);
    passes(&patient);

    // Pages made one block, and its permissions changed before the pages are gone.
    for (invalidated, good) in [(true, true), (false, false)] {
        let machine = super::small::machine(BbmLevel::Two);
        let (cpu, whole) = (machine.cpu(0), Attributes::NORMAL.leaf(output(PAGES), Level::L2));
        cpu.store(slot(L2, PAGES), whole);
        if invalidated {
            invalidate(cpu);
        }
        cpu.store(slot(L2, PAGES), read_only(whole));
        if good { passes(&machine) } else { breaks(&machine, Rule::LiveSizeChange) }
    }

    // The other way about: permissions first, then the size.
    for (invalidated, good) in [(true, true), (false, false)] {
        let machine = super::small::machine(BbmLevel::Two);
        machine.cpu(0).store(slot(L2, BLOCK), read_only(block()));
        if invalidated {
            invalidate(machine.cpu(0));
        }
        split_live(&machine, read_only(block()));
        if good { passes(&machine) } else { breaks(&machine, Rule::LiveSizeChange) }
    }
}

#[test]
fn a_live_collapse_to_a_block_needs_level_2_as_well() {
    for (level, allowed) in [(BbmLevel::One, false), (BbmLevel::Two, true)] {
        let machine = machine(level);
        machine.cpu(0).store(slot(L2, PAGES), Attributes::NORMAL.leaf(output(PAGES), Level::L2));
        if allowed { passes(&machine) } else { breaks(&machine, Rule::LiveSizeChange) }
    }
    // A page that was read-only would become writable on the way.
    let machine = machine(BbmLevel::Two);
    machine.poke(slot(L3, 7), read_only(page_leaf(7)));
    machine.cpu(0).store(slot(L2, PAGES), Attributes::NORMAL.leaf(output(PAGES), Level::L2));
    breaks(&machine, Rule::LiveSizeChange);
}

#[test]
fn a_live_entry_keeps_its_output_address_and_type() {
    let device = Attributes { memory: MemoryType::Device, ..Attributes::NORMAL };
    let outer = Descriptor(page_leaf(3).0 & !(0b11 << 8) | 0b10 << 8);
    let changes = [page_leaf(4), device.leaf(output(PAGES).offset(0x3000), Level::L3), outer];
    for level in [BbmLevel::Zero, BbmLevel::Two, BbmLevel::Three] {
        for change in changes {
            let bad = machine(level);
            bad.cpu(0).store(slot(L3, 3), change);
            breaks(&bad, Rule::LiveTargetChange);
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
fn a_live_entry_may_stop_but_not_start_being_global() {
    let local = Attributes { scope: Scope::AddressSpace, ..Attributes::NORMAL };
    let local = local.leaf(output(PAGES).offset(0x3000), Level::L3);
    for (before, after, good) in [(page_leaf(3), local, true), (local, page_leaf(3), false)] {
        let machine = machine(BbmLevel::Zero);
        machine.poke(slot(L3, 3), before);
        machine.cpu(0).store(slot(L3, 3), after);
        invalidate(machine.cpu(0));
        machine.check_settled(0);
        if good { passes(&machine) } else { breaks(&machine, Rule::LiveTargetChange) }
    }
}

#[test]
fn software_bits_change_without_a_tlbi() {
    let software = |value: Descriptor| Descriptor(value.0 | 0b1001 << 55);
    let machine = machine(BbmLevel::Zero);
    let cpu = machine.cpu(0);
    for at in [slot(L3, 3), slot(L2, BLOCK), slot(L2, PAGES)] {
        cpu.store(at, software(machine.peek(at)));
    }
    machine.check_settled(0);
    passes(&machine);
    // In a table descriptor the leaf's attributes are among them, and its restrictions are not.
    cpu.store(slot(L2, PAGES), Descriptor(machine.peek(slot(L2, PAGES)).0 | 1 << 54));
    assert!(machine.is_settled());
    cpu.store(slot(L2, PAGES), Descriptor(machine.peek(slot(L2, PAGES)).0 | 1 << 60));
    assert!(!machine.is_settled());
    passes(&machine);
}

#[test]
fn a_live_table_is_replaced_only_by_one_of_equal_contents() {
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
    breaks(&other, Rule::LiveTargetChange);
}

#[test]
fn a_broken_entry_is_made_again_only_after_a_tlbi() {
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
    breaks(&remake(false), Rule::MakeWithoutTlbi);
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
fn a_page_below_a_broken_block_needs_the_block_invalidated() {
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
    breaks(&machine, Rule::MakeWithoutTlbi);
}
