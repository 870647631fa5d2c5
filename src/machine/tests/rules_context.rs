//! M14, M15, M17, M18: CPUs that come and go, frames in the window, registers.

use super::small::*;
use crate::linear_map::BbmLevel;
use crate::machine::*;
use crate::paging::{Attributes, Cpu, Descriptor, FrameSource, Geometry, Level, slot};

/// A machine whose map is shared, and whose CPUs `parked` stand still.
fn shared(parked: &[usize]) -> Machine {
    let machine = machine(BbmLevel::Zero);
    machine.share(address(0)..=address(31));
    parked.iter().for_each(|&cpu| machine.cpu(cpu).park());
    machine
}

#[test]
fn m14_an_edit_waits_for_everyone() {
    for (parked, good) in [(&[0, 1][..], true), (&[0], false), (&[], false)] {
        let machine = shared(parked);
        machine.cpu(0).store(slot(ROOT, 0), Descriptor::EMPTY);
        if good { passes(&machine) } else { breaks(&machine, Rule::M14) }
    }
    // A guard page is no break.
    let machine = shared(&[]);
    machine.cpu(0).store(slot(L3, 3), page_leaf(3).made_invalid());
    passes(&machine);
}

#[test]
fn m14_nobody_goes_before_the_map_is_whole() {
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
        breaks(&run(true, false, leaving), Rule::M14);
        breaks(&run(false, false, leaving), Rule::M14);
    }
}

#[test]
fn m14_a_cpu_on_its_way_in_is_accounted_for() {
    // Two CPUs stand still and a third is somewhere in its entry code, with the map or with a root of its own.
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
        if good { passes(&machine) } else { breaks(&machine, Rule::M14) }
    }
}

#[test]
fn m15_nothing_is_allocated_or_freed_in_the_window() {
    let outside = shared(&[0]);
    let frame = outside.frames(0).allocate().unwrap();
    outside.frames(0).free(frame);
    passes(&outside);
    let inside = shared(&[0, 1]);
    inside.frames(0).allocate();
    breaks(&inside, Rule::M15);
    let inside = shared(&[]);
    let frame = inside.frames(0).allocate().unwrap();
    park_all(&inside);
    inside.frames(0).free(frame);
    breaks(&inside, Rule::M15);
}

#[test]
fn m15_only_what_was_set_aside_becomes_a_table() {
    for (set_aside, good) in [(true, true), (false, false)] {
        let machine = shared(&[]);
        let cpu = machine.cpu(0);
        let table = if set_aside { machine.frames(0).allocate().unwrap() } else { FRAMES };
        // As if a stray pointer had written it before: filled, and nobody's.
        for index in 0..512 {
            machine.poke(slot(table, index), Descriptor::EMPTY);
        }
        park_all(&machine);
        cpu.store(slot(L2, 5), Descriptor::table(table));
        if good { passes(&machine) } else { breaks(&machine, Rule::M15) }
    }
}

#[test]
fn m17_registers_are_alike_where_tables_are_shared() {
    let writes: [fn(OnCpu<'_>); 3] = [|cpu| cpu.set_tcr(0x10), |cpu| cpu.set_mair(0xff), |cpu| cpu.set_vmid(3)];
    for write in writes {
        let machine = machine(BbmLevel::Zero);
        write(machine.cpu(1));
        machine.cpu(1).isb();
        breaks(&machine, Rule::M17);
        let alone = machine_of(Config::new(Geometry::K4_V48, &[BbmLevel::Zero]));
        write(alone.cpu(0));
        alone.cpu(0).isb();
        passes(&alone);
    }
}

#[test]
fn m17_the_tlb_is_emptied_before_the_mmu_is_turned_on() {
    for (tlbi, after, good) in [
        (Some(Tlbi::VMALLE1), Dsb::Nsh, true),
        (Some(Tlbi::VMALLE1), Dsb::Nshst, false),
        (Some(Tlbi::vaae1is(address(0))), Dsb::Ish, false),
        (None, Dsb::Sy, false),
    ] {
        let machine = Machine::new(Config::new(Geometry::K4_V48, &[BbmLevel::Zero]));
        let cpu = machine.cpu(0);
        tlbi.into_iter().for_each(|tlbi| cpu.tlbi(tlbi));
        cpu.dsb(after);
        cpu.isb();
        cpu.mmu_on();
        cpu.isb();
        if good { passes(&machine) } else { breaks(&machine, Rule::M17) }
    }
}

#[test]
fn m17_a_cpu_gets_the_linear_map_when_it_is_admitted() {
    for (admitted, good) in [(true, true), (false, false)] {
        let machine = machine(BbmLevel::Zero);
        machine.share(address(0)..=address(31));
        machine.poke(NEW, Descriptor::EMPTY);
        machine.cpu(0).cpu_on(1);
        let cpu = machine.cpu(1);
        // The holding root has no linear map.
        cpu.set_ttbr1(NEW);
        cpu.isb();
        passes(&machine);
        if admitted {
            cpu.admitted();
        }
        cpu.set_ttbr1(ROOT);
        if good { passes(&machine) } else { breaks(&machine, Rule::M17) }
    }
}

#[test]
fn m18_the_hardware_never_writes_descriptors() {
    let leaf = Attributes::NORMAL.leaf(output(5), Level::L2);
    for (leaf, good) in [(leaf, true), (without_af(leaf), false), (without_af(leaf).made_invalid(), true)] {
        let machine = machine(BbmLevel::Zero);
        machine.cpu(0).store(slot(L2, 5), leaf);
        if good { passes(&machine) } else { breaks(&machine, Rule::M18) }
    }
    // In a table that is linked as a whole, too.
    let linked = machine(BbmLevel::Zero);
    fill(linked.cpu(0), NEW, without_af(leaf));
    linked.cpu(0).dsb_ishst();
    linked.cpu(0).store(slot(L2, 5), Descriptor::table(NEW));
    breaks(&linked, Rule::M18);
    for (tcr, good) in [(1 << 39, false), (1 << 40, false), (1 << 38, true)] {
        let machine = machine_of(Config::new(Geometry::K4_V48, &[BbmLevel::Zero]));
        machine.cpu(0).set_tcr(tcr);
        machine.cpu(0).isb();
        if good { passes(&machine) } else { breaks(&machine, Rule::M18) }
    }
}
