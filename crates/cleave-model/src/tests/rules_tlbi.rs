// SPDX-License-Identifier: MIT OR Apache-2.0
//! M5 by the operand: level hints, ranges, and the ASID that table entries have.

use super::small::*;
use crate::*;
use cleave::aarch64::BbmLevel;
use cleave::tables::{Attributes, Descriptor, Geometry, Granule, Level, VaBits, VirtAddr, slot};

const K4: Geometry = Geometry::K4_V48;
const K16: Geometry = Geometry { granule: Granule::K16, va_bits: VaBits::V48 };
const K64: Geometry = Geometry { granule: Granule::K64, va_bits: VaBits::V48 };

/// Breaks the first `count` pages, invalidates, makes others in their place.
fn remade(count: usize, tlbis: &[Tlbi]) -> Machine {
    let machine = machine(BbmLevel::Zero);
    let cpu = machine.cpu(0);
    cpu.store_run(slot(L3, 0), Descriptor::EMPTY, 0, count);
    cpu.dsb(Dsb::Ishst);
    tlbis.iter().for_each(|&tlbi| cpu.tlbi(tlbi));
    cpu.dsb(Dsb::Ish);
    cpu.store_run(slot(L3, 0), page_leaf(100), 0x1000, count);
    machine
}

/// An operand of RVAE1 and its like, put together by hand from the Arm ARM's fields.
struct RangeOperand {
    granule: u64,
    scale: u64,
    number: u64,
    hint: u64,
    start: VirtAddr,
}

impl RangeOperand {
    const fn value(self, page_shift: u32) -> u64 {
        let start = (self.start.0 >> page_shift) & 0x1f_ffff_ffff;
        self.granule << 46 | self.scale << 44 | self.number << 39 | self.hint << 37 | start
    }

    fn tlbi(self, last: LastLevel) -> Tlbi {
        Tlbi::from_range_operand(self.value(12), last, K4)
    }
}

const fn pages(number: u64, scale: u64) -> RangeOperand {
    RangeOperand { granule: 1, scale, number, hint: 0, start: page(0) }
}

#[test]
fn a_level_hint_for_another_granule_covers_nothing() {
    let operand = |hint: u64| Tlbi::from_operand(page(0).0 >> 12 & 0xfff_ffff_ffff | hint << 44, LastLevel::Only, K4);
    // 4 KiB, level 3; no hint; 4 KiB, level 0, which is reserved and no hint.
    for hint in [0b0111, 0b0000, 0b0011, 0b0100] {
        passes(&remade(1, &[operand(hint)]));
    }
    // 4 KiB, level 2; 16 KiB and 64 KiB, level 3.
    for hint in [0b0110, 0b1011, 0b1111] {
        breaks(&remade(1, &[operand(hint)]), Rule::TlbiCoverage);
    }
}

#[test]
fn a_tlbi_range_operand_is_decoded_as_the_arm_arm_says() {
    let decoded = |operand: RangeOperand, geometry: Geometry| match Tlbi::from_range_operand(
        operand.value(geometry.page_shift()),
        LastLevel::Only,
        geometry,
    )
    .covers
    {
        Coverage::Range { start, bytes, hint, .. } => Some((start, bytes / geometry.page_size(), hint)),
        _ => None,
    };
    // (NUM + 1) << (5 * SCALE + 1) pages: from 2 to 2 Mi.
    assert_eq!(decoded(pages(0, 0), K4), Some((page(0), 2, None)));
    assert_eq!(decoded(pages(4, 1), K4), Some((page(0), 5 * 64, None)));
    assert_eq!(decoded(pages(31, 3), K4), Some((page(0), 32 << 16, None)));
    let hinted = |granule, hint, start| RangeOperand { granule, hint, start, ..pages(0, 0) };
    for (geometry, granule) in [(K4, 1), (K16, 2), (K64, 3)] {
        assert_eq!(decoded(hinted(granule, 3, page(0)), geometry), Some((page(0), 2, Some(Level::L3))));
        // Another granule names nothing, and none is reserved.
        assert_eq!(decoded(hinted((granule + 1) % 4, 0, page(0)), geometry), None);
    }
    // Where level 1 has no leaves that hint is none.
    assert_eq!(decoded(hinted(2, 1, page(0)), K16), Some((page(0), 2, None)));
    // A start that is not aligned to its hint: it is unknown what is invalidated.
    assert_eq!(decoded(hinted(1, 2, address(BLOCK)), K4), Some((address(BLOCK), 2, Some(Level::L2))));
    assert_eq!(decoded(hinted(1, 2, page(1)), K4), None);
    // The lower half stays there, and the upper bits are those of the last one in the field.
    assert_eq!(decoded(hinted(1, 0, VirtAddr(0x7000)), K4), Some((VirtAddr(0x7000), 2, None)));
}

#[test]
fn a_tlbi_range_covers_every_page_in_it_and_none_behind() {
    for last in [LastLevel::Only, LastLevel::AllLevels] {
        passes(&remade(2, &[pages(0, 0).tlbi(last)]));
        breaks(&remade(3, &[pages(0, 0).tlbi(last)]), Rule::TlbiCoverage);
        passes(&remade(3, &[pages(1, 0).tlbi(last)]));
        passes(&remade(64, &[pages(0, 1).tlbi(last)]));
        breaks(&remade(65, &[pages(0, 1).tlbi(last)]), Rule::TlbiCoverage);
    }
    // The rest one by one, as a kernel does with an odd number of pages.
    passes(&remade(65, &[pages(0, 1).tlbi(LastLevel::Only), Tlbi::vaale1is(page(64))]));
    let local = pages(31, 0).tlbi(LastLevel::Only).local();
    breaks(&remade(2, &[local]), Rule::TlbiCoverage);
    let wrong_hint = RangeOperand { hint: 2, ..pages(31, 0) };
    breaks(&remade(2, &[wrong_hint.tlbi(LastLevel::Only)]), Rule::TlbiCoverage);
    let wrong_granule = RangeOperand { granule: 2, ..pages(31, 0) };
    breaks(&remade(2, &[wrong_granule.tlbi(LastLevel::AllLevels)]), Rule::TlbiCoverage);
}

#[test]
fn a_tlbi_range_covers_tables_inside_it_at_all_levels_only() {
    let unlink = |tlbi: Tlbi| {
        let machine = machine(BbmLevel::Zero);
        let cpu = machine.cpu(0);
        cpu.store(slot(L2, PAGES), Descriptor::EMPTY);
        cpu.dsb(Dsb::Ishst);
        cpu.tlbi(tlbi);
        cpu.dsb(Dsb::Ish);
        cpu.store(slot(L2, PAGES), Attributes::NORMAL.leaf(output(PAGES), Level::L2));
        machine
    };
    // 512 pages and 448.
    passes(&unlink(pages(7, 1).tlbi(LastLevel::AllLevels)));
    breaks(&unlink(pages(7, 1).tlbi(LastLevel::Only)), Rule::TlbiCoverage);
    breaks(&unlink(pages(6, 1).tlbi(LastLevel::AllLevels)), Rule::TlbiCoverage);
}

#[test]
fn a_tlbi_range_at_the_top_does_not_wrap_around() {
    let top = RangeOperand { start: VirtAddr(0u64.wrapping_sub(0x1000)), ..pages(31, 3) };
    breaks(&remade(1, &[top.tlbi(LastLevel::AllLevels)]), Rule::TlbiCoverage);
}

fn operand(address: VirtAddr, asid: u64) -> Tlbi {
    Tlbi::from_operand(address.0 >> 12 & 0xfff_ffff_ffff | asid << 48, LastLevel::AllLevels, K4)
}

/// Unlinks a page table of the kernel's half, whose leaves are global, while both CPUs run under ASID 5.
fn unlinked_under_asid_5(tlbi: fn(VirtAddr) -> Tlbi) -> Machine {
    let machine = machine(BbmLevel::Zero);
    machine.poke(NEW, Descriptor::EMPTY);
    for cpu in [machine.cpu(0), machine.cpu(1)] {
        cpu.set_process(NEW, 5);
        cpu.isb();
    }
    let cpu = machine.cpu(0);
    cpu.store(slot(L2, PAGES), Descriptor::EMPTY);
    cpu.dsb(Dsb::Ishst);
    for index in 0..512 {
        cpu.tlbi(tlbi(page(index)));
    }
    cpu.dsb(Dsb::Ish);
    cpu.isb();
    cpu.store(slot(L2, PAGES), Attributes::NORMAL.leaf(output(PAGES), Level::L2));
    machine
}

#[test]
fn a_table_entry_has_its_asid_even_above_global_leaves() {
    passes(&unlinked_under_asid_5(Tlbi::vaae1is));
    passes(&unlinked_under_asid_5(|address| operand(address, 5)));
    breaks(&unlinked_under_asid_5(|address| operand(address, 0)), Rule::TlbiCoverage);
    passes(&unlinked_under_asid_5(|address| operand(address, 0).for_every_asid()));
}
