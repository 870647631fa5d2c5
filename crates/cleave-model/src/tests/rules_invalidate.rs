// SPDX-License-Identifier: MIT OR Apache-2.0
//! M4, M5, M6, M12: getting rid of an old translation.

use super::small::*;
use crate::*;
use cleave::aarch64::BbmLevel;
use cleave::tables::{Cpu, Descriptor, FrameSource, Geometry, Level, PhysAddr, VirtAddr, slot};

/// Breaks page 3, does `between`, makes it anew.
fn remake(machine: &Machine, between: impl FnOnce(OnCpu<'_>)) {
    let cpu = machine.cpu(0);
    cpu.store(slot(L3, 3), Descriptor::EMPTY);
    between(cpu);
    cpu.store(slot(L3, 3), page_leaf(4));
}

fn remade(between: impl FnOnce(OnCpu<'_>)) -> Machine {
    let machine = machine(BbmLevel::Zero);
    remake(&machine, between);
    machine
}

fn with_barriers(before: Dsb, tlbi: Tlbi, after: Dsb) -> Machine {
    remade(|cpu| {
        cpu.dsb(before);
        cpu.tlbi(tlbi);
        cpu.dsb(after);
        cpu.isb();
    })
}

#[test]
fn a_dsb_orders_the_store_before_the_tlbi() {
    for before in [Dsb::Ishld, Dsb::Ld, Dsb::Nsh, Dsb::Nshst] {
        breaks(&with_barriers(before, Tlbi::VMALLE1IS, Dsb::Ish), Rule::StoreBeforeTlbi);
    }
    for before in [Dsb::Ishst, Dsb::Ish, Dsb::St, Dsb::Sy] {
        passes(&with_barriers(before, Tlbi::VMALLE1IS, Dsb::Ish));
    }
    let none = remade(|cpu| {
        cpu.tlbi(Tlbi::VMALLE1IS);
        cpu.dsb(Dsb::Ish);
        cpu.isb();
    });
    breaks(&none, Rule::StoreBeforeTlbi);
    // A barrier of another CPU orders nothing of this one's.
    let elsewhere = remade(|cpu| {
        cpu.machine().cpu(1).dsb(Dsb::Ishst);
        cpu.tlbi(Tlbi::VMALLE1IS);
        cpu.dsb(Dsb::Ish);
    });
    breaks(&elsewhere, Rule::StoreBeforeTlbi);
}

#[test]
fn a_tlbi_needs_the_right_scope_and_address() {
    let covering =
        [Tlbi::VMALLE1IS, Tlbi::vaae1is(page(3)), Tlbi::vaale1is(page(3)), Tlbi::vaae1is(page(3)).at_level(Level::L3)];
    for tlbi in covering {
        passes(&with_barriers(Dsb::Ishst, tlbi, Dsb::Ish));
        breaks(&with_barriers(Dsb::Ishst, tlbi.local(), Dsb::Ish), Rule::TlbiCoverage);
    }
    let missing = [
        Tlbi::vaae1is(page(4)),
        Tlbi::vaae1is(VirtAddr(page(3).0 & 0xffff_ffff_ffff)),
        Tlbi::vaale1is(page(3)).at_level(Level::L2),
        Tlbi::aside1is(0),
    ];
    for tlbi in missing {
        breaks(&with_barriers(Dsb::Ishst, tlbi, Dsb::Ish), Rule::TlbiCoverage);
    }
}

#[test]
fn a_last_level_tlbi_does_not_cover_a_table_entry() {
    let unlink = |tlbis: &[Tlbi]| {
        let machine = machine(BbmLevel::Zero);
        let cpu = machine.cpu(0);
        cpu.store(slot(L2, PAGES), Descriptor::EMPTY);
        cpu.dsb(Dsb::Ishst);
        for &tlbi in tlbis {
            cpu.tlbi(tlbi);
        }
        cpu.dsb(Dsb::Ish);
        cpu.isb();
        cpu.store(slot(L2, PAGES), cleave::tables::Attributes::NORMAL.leaf(output(PAGES), Level::L2));
        machine
    };
    let every_page = |tlbi: fn(VirtAddr) -> Tlbi| (0..512).map(|index| tlbi(page(index))).collect::<Vec<_>>();
    breaks(&unlink(&every_page(Tlbi::vaale1is)), Rule::TlbiCoverage);
    passes(&unlink(&every_page(Tlbi::vaae1is)));
    // One address takes the table entry, and one page of the 512 below it.
    breaks(&unlink(&[Tlbi::vaae1is(page(3))]), Rule::TlbiCoverage);
    passes(&unlink(&[Tlbi::VMALLE1IS]));
}

#[test]
fn a_broadcast_does_not_reach_another_vmid() {
    for (vmid, good) in [(0, true), (7, false)] {
        let machine = machine(BbmLevel::Zero);
        let other = machine.cpu(1);
        other.set_vmid(vmid);
        other.isb();
        // That the VMIDs differ is a violation of its own; what comes of it is the one asked for here.
        assert_eq!(broken(&machine), if good { vec![] } else { vec![Rule::CpuContexts] });
        remake(&machine, invalidate);
        assert_eq!(broken(&machine), if good { vec![] } else { vec![Rule::CpuContexts, Rule::TlbiCoverage] });
    }
}

#[test]
fn the_tlbi_operand_holds_address_bits_55_to_12_alone() {
    let k4 = Geometry::K4_V48;
    let address = page(3);
    let good = (address.0 >> 12) & 0xfff_ffff_ffff;
    let operand = |operand| Tlbi::from_operand(operand, LastLevel::Only, k4);
    passes(&with_barriers(Dsb::Ishst, operand(good), Dsb::Ish));
    // The upper bits of a TTBR1 address, spilled into the ASID and the level hint: one for the 64 KiB granule.
    assert_eq!(operand(address.0 >> 12).covers, Coverage::Nothing);
    breaks(&with_barriers(Dsb::Ishst, operand(address.0 >> 12), Dsb::Ish), Rule::TlbiCoverage);
}

#[test]
fn a_broadcast_tlbi_is_complete_only_after_a_full_dsb() {
    for after in [Dsb::Ishst, Dsb::Ishld, Dsb::St, Dsb::Ld, Dsb::Nsh, Dsb::Nshst] {
        breaks(&with_barriers(Dsb::Ishst, Tlbi::VMALLE1IS, after), Rule::DsbAfterTlbi);
    }
    for after in [Dsb::Ish, Dsb::Sy] {
        passes(&with_barriers(Dsb::Ishst, Tlbi::VMALLE1IS, after));
    }
}

#[test]
fn only_the_cpu_that_issued_the_tlbi_completes_it() {
    let elsewhere = remade(|cpu| {
        cpu.dsb(Dsb::Ishst);
        cpu.tlbi(Tlbi::VMALLE1IS);
        cpu.machine().cpu(1).dsb(Dsb::Ish);
    });
    breaks(&elsewhere, Rule::DsbAfterTlbi);
}

#[test]
fn a_local_tlbi_is_complete_with_dsb_nsh() {
    for (after, good) in [(Dsb::Nsh, true), (Dsb::Ish, true), (Dsb::Nshst, false)] {
        // A machine of one CPU, so that a local one is enough.
        let machine = machine_of(Config::new(Geometry::K4_V48, &[BbmLevel::Zero]));
        remake(&machine, |cpu| {
            cpu.dsb(Dsb::Ishst);
            cpu.tlbi(Tlbi::VMALLE1);
            cpu.dsb(after);
        });
        if good { passes(&machine) } else { breaks(&machine, Rule::DsbAfterTlbi) }
    }
}

#[test]
fn cores_with_the_repeat_erratum_need_two_tlbis() {
    let run = |twice: cleave::tables::TlbiRepeat| {
        let machine = machine_of(Config::new(Geometry::K4_V48, &[BbmLevel::Zero; 2]).with_repeat_erratum());
        remake(&machine, |cpu| cleave::tables::invalidate_everywhere(&cpu, twice));
        machine
    };
    breaks(&run(cleave::tables::TlbiRepeat::Once), Rule::DsbAfterTlbi);
    passes(&run(cleave::tables::TlbiRepeat::Twice));
    // The second without its barrier is as good as none.
    let machine = machine_of(Config::new(Geometry::K4_V48, &[BbmLevel::Zero; 2]).with_repeat_erratum());
    remake(&machine, |cpu| {
        invalidate(cpu);
        cpu.repeat_tlbi_workaround();
    });
    breaks(&machine, Rule::DsbAfterTlbi);
}

/// Fails when the model judges another instruction than the device executes: TLBI VALE1IS, XZR.
#[test]
fn the_second_invalidation_is_vale1is_with_operand_zero() {
    let machine = machine_of(Config::new(Geometry::K4_V48, &[BbmLevel::Zero; 2]).with_repeat_erratum());
    remake(&machine, |cpu| {
        invalidate(cpu);
        cpu.repeat_tlbi_workaround();
    });
    let violation = machine.verdict().unwrap_err();
    let second = violation.first.events.iter().rev().find_map(|event| match event.action {
        Action::Tlbi(tlbi) => Some(tlbi),
        _ => None,
    });
    assert_eq!(second, Some(Tlbi::from_operand(0, LastLevel::Only, Geometry::K4_V48)));
}

#[test]
fn a_table_is_freed_only_when_no_cpu_can_walk_it() {
    let retire = |before_free: fn(OnCpu<'_>)| {
        let machine = machine(BbmLevel::Zero);
        let cpu = machine.cpu(0);
        let mut frames = machine.frames(0);
        let table = frames.allocate().unwrap();
        fill(cpu, table, block());
        cpu.store(slot(L2, BLOCK), Descriptor::EMPTY);
        invalidate(cpu);
        cpu.store(slot(L2, BLOCK), Descriptor::table(table));
        cpu.dsb(Dsb::Ishst);
        cpu.store(slot(L2, BLOCK), Descriptor::EMPTY);
        before_free(cpu);
        (machine, table)
    };
    let (good, table) = retire(invalidate);
    good.frames(0).free(table);
    passes(&good);
    let (bad, table) = retire(|cpu| {
        cpu.dsb(Dsb::Ishst);
        cpu.tlbi(Tlbi::VMALLE1IS);
    });
    bad.frames(0).free(table);
    breaks(&bad, Rule::FrameReuse);
    // Nor is it written before that.
    let (bad, table) = retire(|cpu| cpu.dsb(Dsb::Ishst));
    bad.cpu(0).store(table, Descriptor(0x1234));
    breaks(&bad, Rule::FrameReuse);
    let (good, table) = retire(invalidate);
    good.cpu(0).store(table, Descriptor(0x1234));
    passes(&good);
    // And not once it is allocated again.
    good.frames(0).free(table);
    good.cpu(0).store(PhysAddr(table.0 + 8), Descriptor(0x1234));
    breaks(&good, Rule::FrameReuse);
}

type Unmap = fn(&Machine, OnCpu<'_>);

#[test]
fn a_page_is_freed_only_when_no_tlb_maps_it() {
    let run = |unmap: Unmap| {
        let machine = machine(BbmLevel::Zero);
        let cpu = machine.cpu(0);
        let frame = machine.frames(0).allocate().unwrap();
        machine.poke(slot(L3, 3), cleave::tables::Attributes::NORMAL.leaf(frame, Level::L3));
        unmap(&machine, cpu);
        machine.frames(0).free(frame);
        machine
    };
    passes(&run(|_, cpu| {
        cpu.store(slot(L3, 3), Descriptor::EMPTY);
        invalidate(cpu);
    }));
    let hasty: [Unmap; 3] = [
        |_, cpu| cpu.store(slot(L3, 3), Descriptor::EMPTY),
        |_, cpu| {
            cpu.store(slot(L3, 3), Descriptor::EMPTY);
            cpu.dsb(Dsb::Ishst);
            cpu.tlbi(Tlbi::vaae1is(page(3)));
        },
        // By the table entry above it.
        |_, cpu| cpu.store(slot(L2, PAGES), Descriptor::EMPTY),
    ];
    hasty.into_iter().for_each(|unmap| breaks(&run(unmap), Rule::FrameReuse));
    // A mapping of it that remains, or comes back in another size, is no mistake here.
    passes(&run(|machine, cpu| cpu.store(slot(L3, 3), read_only(machine.peek(slot(L3, 3))))));
}
