// SPDX-License-Identifier: MIT OR Apache-2.0
//! M11, and M1 and M8 for the Contiguous bit.

use super::small::*;
use crate::*;
use cleave::aarch64::BbmLevel;
use cleave::tables::{Attributes, Cpu, Descriptor, Geometry, Level, PhysAddr, slot};

/// The group's descriptors, in order.
fn members(machine: &Machine) -> Vec<(PhysAddr, Descriptor)> {
    (GROUP..GROUP + 16).map(|index| (slot(L2, index), machine.peek(slot(L2, index)))).collect()
}

/// Stores every member of the group, `change`d, with `after` behind each.
fn change_each(machine: &Machine, change: fn(Descriptor) -> Descriptor, after: Step) {
    for (at, value) in members(machine) {
        machine.cpu(0).store(at, change(value));
        after(machine.cpu(0));
    }
}

const NOTHING: Step = |_| ();

#[test]
fn the_contiguous_bit_changes_live_from_level_1_on() {
    for (level, allowed) in
        [(BbmLevel::Zero, false), (BbmLevel::One, true), (BbmLevel::Two, true), (BbmLevel::Three, true)]
    {
        // Ordered as a whole, or one by one.
        for after in [NOTHING, DSB_ISHST] {
            let machine = machine(level);
            change_each(&machine, Descriptor::without_contiguous, after);
            invalidate(machine.cpu(0));
            machine.check_settled(0);
            if allowed { passes(&machine) } else { breaks(&machine, Rule::LiveSizeChange) }
        }
    }
    // Not together with permissions.
    let machine = machine(BbmLevel::One);
    change_each(&machine, |member| read_only(member.without_contiguous()), NOTHING);
    breaks(&machine, Rule::LiveSizeChange);
}

#[test]
fn at_level_1_a_contiguous_change_can_only_raise_a_conflict() {
    for (level, outcome) in [
        (BbmLevel::One, Outcome::Conflict(output(GROUP))),
        (BbmLevel::Two, Outcome::Conflict(output(GROUP))),
        (BbmLevel::Three, Outcome::Memory(output(GROUP))),
    ] {
        let machine = machine(level);
        change_each(&machine, Descriptor::without_contiguous, NOTHING);
        assert_eq!(machine.cpu(1).access(address(GROUP), Access::Load), outcome);
        passes(&machine);
    }
    let mixed = machine_of(Config::new(Geometry::K4_V48, &[BbmLevel::One, BbmLevel::Zero]));
    mixed.cpu(0).store(slot(L2, GROUP), mixed.peek(slot(L2, GROUP)).without_contiguous());
    mixed.cpu(1).access(address(GROUP), Access::Load);
    assert_eq!(broken(&mixed), [Rule::LiveSizeChange, Rule::MultiHit]);
}

#[test]
fn one_member_of_a_contiguous_group_does_not_change_alone() {
    let one = machine(BbmLevel::Zero);
    one.cpu(0).store(slot(L2, GROUP + 3), read_only(one.peek(slot(L2, GROUP + 3))));
    breaks(&one, Rule::ContiguousGroup);
    for level in [BbmLevel::One, BbmLevel::Three] {
        // Where the group may change live, it does so as a whole.
        let live = machine(level);
        change_each(&live, read_only, NOTHING);
        invalidate(live.cpu(0));
        live.check_settled(0);
        passes(&live);
        let one = machine(level);
        one.cpu(0).store(slot(L2, GROUP + 3), read_only(one.peek(slot(L2, GROUP + 3))));
        passes(&one);
        one.cpu(0).dsb(Dsb::Ishst);
        breaks(&one, Rule::ContiguousGroup);
        // The bit on some only is passing, or it is wrong.
        let some = machine(level);
        some.cpu(0).store(slot(L2, GROUP + 3), some.peek(slot(L2, GROUP + 3)).without_contiguous());
        invalidate(some.cpu(0));
        passes(&some);
        some.check_settled(0);
        breaks(&some, Rule::ContiguousGroup);
    }
}

#[test]
fn a_contiguous_group_is_emptied_and_filled_one_by_one() {
    for level in [BbmLevel::Zero, BbmLevel::Two] {
        let all = machine(level);
        let old = members(&all);
        change_each(&all, |_| Descriptor::EMPTY, DSB_ISHST);
        invalidate(all.cpu(0));
        for (at, value) in old {
            all.cpu(0).store(at, read_only(value));
            all.cpu(0).dsb(Dsb::Ishst);
        }
        all.cpu(0).isb();
        all.check_settled(0);
        passes(&all);
    }
}

#[test]
fn a_hole_in_a_contiguous_group_is_neither_used_nor_left() {
    for level in [BbmLevel::Zero, BbmLevel::Three] {
        let hole = || {
            let hole = machine(level);
            hole.cpu(0).store(slot(L2, GROUP + 15), Descriptor::EMPTY);
            invalidate(hole.cpu(0));
            passes(&hole);
            hole
        };
        let used = hole();
        used.cpu(1).access(address(GROUP + 14), Access::Load);
        passes(&used);
        used.cpu(1).access(address(GROUP + 15), Access::Load);
        breaks(&used, Rule::ContiguousGroup);
        let left = hole();
        left.check_settled(0);
        breaks(&left, Rule::ContiguousGroup);
        // With the rest gone too it is none.
        let gone = hole();
        change_each(&gone, |_| Descriptor::EMPTY, NOTHING);
        invalidate(gone.cpu(0));
        gone.check_settled(0);
        assert_eq!(gone.cpu(1).access(address(GROUP + 15), Access::Load), Outcome::Fault);
        passes(&gone);
    }
}

#[test]
fn software_bits_may_differ_in_a_contiguous_group() {
    let machine = machine(BbmLevel::Zero);
    let at = slot(L2, GROUP + 3);
    machine.cpu(0).store(at, Descriptor(machine.peek(at).0 | 1 << 55));
    invalidate(machine.cpu(0));
    machine.check_settled(0);
    passes(&machine);
}

#[test]
fn a_contiguous_group_is_whole_and_aligned_when_linked() {
    let first = Attributes::NORMAL.leaf(PhysAddr(0x4020_0000), Level::L3).with_contiguous();
    for (first, count, good) in [(first, 16, true), (first, 15, false), (Descriptor(first.0 + 0x1000), 16, false)] {
        let machine = machine(BbmLevel::Zero);
        let cpu = machine.cpu(0);
        cpu.store_run(NEW, Descriptor::EMPTY, 0, 512);
        cpu.store_run(slot(NEW, 16), first, 0x1000, count);
        cpu.dsb_ishst();
        cpu.store(slot(L2, 5), Descriptor::table(NEW));
        if good { passes(&machine) } else { breaks(&machine, Rule::ContiguousGroup) }
    }
}
