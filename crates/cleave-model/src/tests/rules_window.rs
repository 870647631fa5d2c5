// SPDX-License-Identifier: MIT OR Apache-2.0
//! M14, M15: CPUs that come and go, what is broken under them, and frames in the stop window.

use super::small::*;
use crate::*;
use cleave::aarch64::BbmLevel;
use cleave::tables::{Attributes, Descriptor, FrameSource, Geometry, Level, PhysAddr, PhysRange, TableMemory, slot};

/// A machine whose map is shared, and whose CPUs of `parked` are parked.
fn shared(parked: &[usize]) -> Machine {
    let machine = machine(BbmLevel::Zero);
    machine.share(address(0)..=address(31));
    parked.iter().for_each(|&cpu| machine.cpu(cpu).park());
    machine
}

#[test]
fn a_break_waits_until_every_online_cpu_is_parked() {
    for (parked, good) in [(&[0, 1][..], true), (&[0], false), (&[], false)] {
        let machine = shared(parked);
        machine.cpu(0).store(slot(ROOT, 0), Descriptor::EMPTY);
        if good { passes(&machine) } else { breaks(&machine, Rule::Rendezvous) }
    }
    // A guard page is no break.
    let machine = shared(&[]);
    machine.cpu(0).store(slot(L3, 3), page_leaf(3).made_invalid());
    passes(&machine);
}

#[test]
fn no_cpu_leaves_before_the_map_is_whole() {
    let run = |invalidated: bool, made: bool, leaving: usize| {
        let machine = shared(&[0, 1]);
        let cpu = machine.cpu(0);
        let old = machine.peek(slot(ROOT, 0));
        cpu.store(slot(ROOT, 0), Descriptor::EMPTY);
        if invalidated {
            invalidate(cpu);
        } else {
            cpu.dsb(Dsb::Ishst);
            cpu.tlbi(Tlbi::VMALLE1IS);
        }
        if made {
            cpu.store(slot(ROOT, 0), old);
            cpu.dsb(Dsb::Ishst);
            cpu.isb();
        }
        machine.cpu(leaving).leave();
        machine
    };
    for leaving in [0, 1] {
        passes(&run(true, true, leaving));
        breaks(&run(true, false, leaving), Rule::Rendezvous);
        breaks(&run(false, false, leaving), Rule::Rendezvous);
    }
}

#[test]
fn a_break_waits_for_a_cpu_that_is_starting() {
    // Two CPUs are parked and a third is somewhere in its entry code, with the map or with a root of its own.
    for (with_map, good) in [(false, true), (true, false)] {
        let machine = machine_of(Config::new(Geometry::K4_V48, &[BbmLevel::Zero; 3]));
        machine.share(address(0)..=address(31));
        if !with_map {
            machine.poke(NEW, Descriptor::EMPTY);
            machine.cpu(2).set_ttbr1(NEW);
            machine.cpu(2).isb();
            // What it had before is gone from its TLB.
            machine.cpu(2).tlbi(Tlbi::VMALLE1);
            machine.cpu(2).dsb(Dsb::Nsh);
        }
        machine.cpu(0).cpu_on(2);
        (0..2).for_each(|cpu| machine.cpu(cpu).park());
        machine.cpu(0).store(slot(ROOT, 0), Descriptor::EMPTY);
        if good { passes(&machine) } else { breaks(&machine, Rule::Rendezvous) }
    }
}

#[test]
fn no_frame_is_allocated_or_freed_in_the_stop_window() {
    let outside = shared(&[0]);
    let frame = outside.frames(0).allocate().unwrap();
    outside.frames(0).free(frame);
    passes(&outside);
    let inside = shared(&[0, 1]);
    inside.frames(0).allocate();
    breaks(&inside, Rule::Reservation);
    let inside = shared(&[]);
    let frame = inside.frames(0).allocate().unwrap();
    park_all(&inside);
    inside.frames(0).free(frame);
    breaks(&inside, Rule::Reservation);
}

#[test]
fn only_a_reserved_frame_becomes_a_table() {
    for (set_aside, good) in [(true, true), (false, false)] {
        let machine = shared(&[]);
        let cpu = machine.cpu(0);
        let table = if set_aside { machine.frames(0).allocate().unwrap() } else { FRAMES };
        // As if a stray pointer had written it before: filled, and not allocated.
        for index in 0..512 {
            machine.poke(slot(table, index), Descriptor::EMPTY);
        }
        park_all(&machine);
        cpu.store(slot(L2, 5), Descriptor::table(table));
        if good { passes(&machine) } else { breaks(&machine, Rule::Reservation) }
    }
}

/// Makes a leaf invalid, with all that belongs to it, and valid as `again`; the map is shared and no CPU is parked.
fn transiently_invalid(
    at: PhysAddr,
    parked: &[usize],
    again: impl FnOnce(&Machine, Descriptor) -> Descriptor,
) -> Machine {
    let machine = shared(parked);
    let (cpu, old) = (machine.cpu(0), machine.peek(at));
    cpu.store(at, old.made_invalid());
    invalidate(cpu);
    passes(&machine);
    let new = again(&machine, old);
    cpu.store(at, new);
    invalidate(cpu);
    machine
}

/// A table of the pages of the block, the first of them `first`.
fn pages_of(machine: &Machine, leaf: Descriptor, first: fn(Descriptor) -> Descriptor) -> Descriptor {
    fill(machine.cpu(0), NEW, leaf);
    machine.cpu(0).store(NEW, first(machine.peek(NEW)));
    machine.cpu(0).dsb(Dsb::Ishst);
    Descriptor::table(NEW)
}

#[test]
fn an_invalid_leaf_made_again_as_another_was_a_break() {
    let (block, page) = (slot(L2, BLOCK), slot(L3, 3));
    // What was taken away for a while, to come back in pages or elsewhere.
    breaks(&transiently_invalid(block, &[], |machine, old| pages_of(machine, old, |page| page)), Rule::Rendezvous);
    breaks(&transiently_invalid(page, &[], |_, old| Descriptor(old.0 + 0x1000)), Rule::Rendezvous);
    breaks(&transiently_invalid(page, &[0], |_, old| Descriptor(old.0 + 0x1000)), Rule::Rendezvous);
    // It is named with the CPU that was not parked.
    let violation = transiently_invalid(page, &[0], |_, old| Descriptor(old.0 + 0x1000)).so_far().unwrap_err().first;
    assert_eq!((violation.cpu, violation.old, violation.new), (1, page_leaf(3), page_leaf(4)));
    // A guard that ends, with other permissions too, and one of which only a part ends.
    passes(&transiently_invalid(page, &[], |_, old| old));
    passes(&transiently_invalid(page, &[], |_, old| read_only(old)));
    passes(&transiently_invalid(block, &[], |machine, old| {
        pages_of(machine, old.made_invalid(), |page| Descriptor(page.0 | 1))
    }));
    // While all are parked it may be broken in any way.
    passes(&transiently_invalid(block, &[0, 1], |machine, old| pages_of(machine, old, |page| page)));
    // A detour over the empty descriptor is none.
    let detour = transiently_invalid(page, &[], |machine, old| {
        machine.cpu(0).store(page, Descriptor::EMPTY);
        Descriptor(old.0 + 0x1000)
    });
    breaks(&detour, Rule::Rendezvous);
}

#[test]
fn an_invalid_table_entry_is_a_break_and_no_guard() {
    for (parked, good) in [(&[][..], false), (&[0, 1], true)] {
        let machine = shared(parked);
        machine.cpu(0).store(slot(L2, PAGES), machine.peek(slot(L2, PAGES)).made_invalid());
        if good { passes(&machine) } else { breaks(&machine, Rule::Rendezvous) }
    }
}

/// Links a filled frame in the stop window: `before` allocates any frame, `reserved` one that is reserved.
fn linked_in_window(choose: fn(before: PhysAddr, reserved: PhysAddr) -> PhysAddr) -> Machine {
    let machine = shared(&[]);
    let before = machine.frames(0).allocate().unwrap();
    let reserved = machine.set_aside(|| machine.frames(0).allocate()).unwrap();
    for frame in [before, reserved] {
        (0..512).for_each(|index| machine.poke(slot(frame, index), Descriptor::EMPTY));
    }
    park_all(&machine);
    machine.cpu(0).store(slot(L2, 5), Descriptor::table(choose(before, reserved)));
    machine
}

#[test]
fn a_table_linked_in_the_stop_window_was_reserved() {
    passes(&linked_in_window(|_, reserved| reserved));
    breaks(&linked_in_window(|before, _| before), Rule::Reservation);
    // A table of before the stop window goes on being one, ...
    passes(&linked_in_window(|_, _| L3));
    // ... and a frame that was given back is not set aside any more.
    let machine = shared(&[]);
    let frame = machine.set_aside(|| machine.frames(0).allocate()).unwrap();
    machine.frames(0).free(frame);
    assert_eq!(machine.frames(0).allocate(), Some(frame));
    (0..512).for_each(|index| machine.poke(slot(frame, index), Descriptor::EMPTY));
    park_all(&machine);
    machine.cpu(0).store(slot(L2, 5), Descriptor::table(frame));
    breaks(&machine, Rule::Reservation);
}

#[test]
fn a_reservation_is_for_one_stop_window() {
    let machine = linked_in_window(|_, reserved| reserved);
    // The second one was not reserved.
    (0..2).for_each(|cpu| machine.cpu(cpu).leave());
    let frame = machine.frames(0).allocate().unwrap();
    (0..512).for_each(|index| machine.poke(slot(frame, index), Descriptor::EMPTY));
    park_all(&machine);
    machine.cpu(0).store(slot(L2, 6), Descriptor::table(frame));
    passes(&machine);
}

#[test]
fn a_frame_that_holds_data_becomes_no_table() {
    for (in_window, rule) in [(true, Rule::Reservation), (false, Rule::FrameReuse)] {
        let machine = shared(&[]);
        let frame = machine.frames(0).allocate().unwrap();
        (0..512).for_each(|index| machine.poke(slot(frame, index), Descriptor::EMPTY));
        machine.hold_data(PhysRange::new(frame, frame.offset(0x1000)));
        if in_window {
            park_all(&machine);
        }
        machine.cpu(0).store(slot(L2, 5), Descriptor::table(frame));
        breaks(&machine, rule);
        // Nor is it written as one, until it is given back.
        let machine = shared(&[]);
        let frame = machine.frames(0).allocate().unwrap();
        machine.hold_data(PhysRange::new(frame, frame.offset(0x1000)));
        machine.frames(0).free(frame);
        assert_eq!(machine.frames(0).allocate(), Some(frame));
        machine.cpu(0).store(frame, Descriptor::EMPTY);
        passes(&machine);
        machine.hold_data(PhysRange::new(frame, frame.offset(0x1000)));
        machine.cpu(0).store(frame, Attributes::NORMAL.leaf(output(5), Level::L2));
        breaks(&machine, Rule::FrameReuse);
    }
}

/// Code that looks for the way to a leaf reads tables, as a walker does.
#[test]
fn a_frame_that_was_given_back_is_not_read_as_a_table() {
    for given_back in [false, true] {
        let machine = shared(&[]);
        let frame = machine.frames(0).allocate().unwrap();
        if given_back {
            machine.frames(0).free(frame);
        }
        machine.view(1, Through::Physical).load(slot(frame, 3));
        if given_back { breaks(&machine, Rule::FrameReuse) } else { passes(&machine) }
    }
}
