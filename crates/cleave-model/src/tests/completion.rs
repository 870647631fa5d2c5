// SPDX-License-Identifier: MIT OR Apache-2.0
//! The verdict of a whole run: what is left at its end counts, and nothing hides behind what was found first.
//!
//! A verdict that looks only at what was stored and used fails the first three tests: in each of these runs no single
//! step breaks a rule, and a TLB may hold something old when it is over. One that shows only the first violation fails
//! the last.

use super::small::*;
use crate::*;
use cleave::aarch64::BbmLevel;
use cleave::tables::{Attributes, Descriptor, Geometry, Level, PhysAddr, VirtAddr, slot};

/// Judges a run of CPU 0 that unmaps a page: of these steps none is used after it.
fn unmapped(steps: &[Step]) -> Result<(), Box<Findings>> {
    let machine = machine(BbmLevel::Zero);
    machine.cpu(0).store(slot(L3, 3), Descriptor::EMPTY);
    steps.iter().for_each(|step| step(machine.cpu(0)));
    passes(&machine);
    assert_eq!(machine.is_settled(), machine.verdict().is_ok());
    machine.verdict()
}

#[test]
fn verdict_names_an_unmapped_page_that_may_be_cached() {
    const TLBI: Step = |cpu| cpu.tlbi(Tlbi::vaae1is(page(3)));
    const LOCAL: Step = |cpu| cpu.tlbi(Tlbi::vaae1is(page(3)).local());
    const OTHER: Step = |cpu| cpu.tlbi(Tlbi::vaae1is(page(4)));
    unmapped(&[DSB_ISHST, TLBI, DSB_ISH]).unwrap();
    let cases: [(&[Step], Rule, usize); 6] = [
        (&[], Rule::MakeWithoutTlbi, 0),
        (&[DSB_ISHST], Rule::MakeWithoutTlbi, 0),
        (&[TLBI, DSB_ISH], Rule::StoreBeforeTlbi, 0),
        (&[DSB_ISHST, OTHER, DSB_ISH], Rule::TlbiCoverage, 0),
        // The CPU that is named is the one that has it still.
        (&[DSB_ISHST, LOCAL, DSB_ISH], Rule::TlbiCoverage, 1),
        (&[DSB_ISHST, TLBI, DSB_ISHST], Rule::DsbAfterTlbi, 0),
    ];
    for (number, (steps, rule, cpu)) in cases.into_iter().enumerate() {
        let first = unmapped(steps).unwrap_err().first;
        let named = (first.rule, first.cpu, first.address, first.slot, first.old);
        assert_eq!(named, (rule, cpu, Some(page(3)), slot(L3, 3), page_leaf(3)), "case {number}: {first}");
    }
}

#[test]
fn a_verdict_in_mid_change_does_not_spoil_a_later_one() {
    let machine = machine(BbmLevel::Zero);
    machine.cpu(0).store(slot(L3, 3), Descriptor::EMPTY);
    assert!(machine.verdict().is_err());
    invalidate(machine.cpu(0));
    machine.verdict().unwrap();
}

#[test]
fn verdict_names_unfinished_groups_and_registers_without_a_tlbi() {
    let group = machine(BbmLevel::One);
    let clear = |index: usize| {
        let entry = slot(L2, GROUP + index);
        group.cpu(0).store(entry, Descriptor(group.peek(entry).0 & !(1 << 52)));
    };
    clear(0);
    invalidate(group.cpu(0));
    passes(&group);
    assert_eq!(group.verdict().unwrap_err().first.rule, Rule::ContiguousGroup);
    (1..16).for_each(clear);
    invalidate(group.cpu(0));
    group.verdict().unwrap();

    let register = machine(BbmLevel::Zero);
    let cpu = register.cpu(1);
    cpu.set_mair(0xff);
    cpu.isb();
    let found = register.verdict().unwrap_err();
    let of_end = found.others.iter().chain([&found.first]).find(|one| one.detail.contains("old value of TCR or MAIR"));
    assert_eq!(of_end.map(|one| (one.rule, one.cpu)), Some((Rule::CpuContexts, 1)), "{found}");
    cpu.tlbi(Tlbi::VMALLE1);
    cpu.dsb(Dsb::Nsh);
    let found = register.verdict().unwrap_err();
    assert!(!found.to_string().contains("old value of TCR or MAIR"), "{found}");
}

/// A root with one page of its own at 0, and one that has the same page by the same tables.
fn roots(machine: &Machine) -> [PhysAddr; 3] {
    let [first, same, none] = [0x30_0000, 0x31_0000, 0x32_0000].map(PhysAddr);
    for root in [first, same, none] {
        (0..512).for_each(|index| machine.poke(slot(root, index), Descriptor::EMPTY));
    }
    for root in [first, same] {
        machine.poke(root, Descriptor::table(L1));
    }
    [first, same, none]
}

#[test]
fn verdict_names_an_old_root_where_the_new_one_differs() {
    let left_for = |asids: [u16; 2], local: bool, pick: fn([PhysAddr; 3]) -> [PhysAddr; 3]| {
        let machine = machine(BbmLevel::Zero);
        let roots = pick(roots(&machine));
        if local {
            (0..512).for_each(|index| machine.poke(slot(L3, index), Descriptor(page_leaf(index).0 | 1 << 11)));
            (0..512).skip(1).for_each(|index| machine.poke(slot(L2, index), Descriptor::EMPTY));
        }
        let cpu = machine.cpu(0);
        for (root, asid) in roots.into_iter().zip([asids[0], asids[1], asids[0]]) {
            cpu.set_process(root, asid);
            cpu.isb();
        }
        machine.verdict().map_err(|findings| findings.first.rule)
    };
    // To another root and back, and the one between has nothing of its own.
    assert_eq!(left_for([1, 1], false, |[first, same, _]| [first, same, first]), Ok(()));
    assert_eq!(left_for([1, 1], false, |[first, _, none]| [first, none, first]), Ok(()));
    // To one that has less.
    assert_eq!(left_for([1, 1], false, |[first, same, none]| [first, same, none]), Err(Rule::MakeWithoutTlbi));
    // Under another ASID an entry that is not global belongs to another process.
    assert_eq!(left_for([1, 2], true, |[first, _, none]| [none, first, none]), Ok(()));
    assert_eq!(left_for([1, 1], true, |[first, _, none]| [none, first, none]), Err(Rule::MakeWithoutTlbi));
    assert_eq!(left_for([1, 2], false, |[first, _, none]| [none, first, none]), Err(Rule::MakeWithoutTlbi));
}

#[test]
fn set_up_by_stores_is_named_and_hides_no_defect() {
    let words = |table: PhysAddr| -> Vec<u64> {
        (0..512).map(|index| machine(BbmLevel::Zero).peek(slot(table, index)).0).collect()
    };
    let tables = [ROOT, L1, L2, L3].map(|table| (table, words(table)));
    let config = || Config::new(Geometry::K4_V48, &[BbmLevel::Zero; 2]);
    let defect = |machine: &Machine| {
        let cpu = machine.cpu(0);
        cpu.store(slot(L3, 3), Descriptor::EMPTY);
        cpu.dsb(Dsb::Ishst);
        cpu.store(slot(L3, 3), page_leaf(4));
        invalidate(cpu);
    };

    let stored = Machine::new(config());
    for (table, words) in &tables {
        for (index, &word) in words.iter().enumerate() {
            stored.cpu(0).store(slot(*table, index), Descriptor(word));
        }
    }
    stored.boot_all(ROOT);
    defect(&stored);
    let found = stored.verdict().unwrap_err();
    assert_eq!((found.first.rule, found.first.times), (Rule::CacheMaintenance, 4 * 64), "each line once: {found}");
    assert_eq!(found.others.iter().map(|other| other.rule).collect::<Vec<_>>(), [Rule::MakeWithoutTlbi], "{found}");
    let text = found.to_string();
    for part in ["`poke` or `adopt`", "(256 times)", "M3 remake on CPU 0 at 0xffff000000003000"] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }

    let adopted = Machine::new(config());
    let image: Vec<(PhysAddr, &[u64])> = tables.iter().map(|(table, words)| (*table, &words[..])).collect();
    adopted.adopt(&image, ROOT);
    adopted.verdict().unwrap();
    assert_eq!(adopted.cpu(1).access(page(3), Access::Load), Outcome::Memory(output(PAGES).offset(0x3000)));
    defect(&adopted);
    assert_eq!(adopted.take_violations().iter().map(|one| one.rule).collect::<Vec<_>>(), [Rule::MakeWithoutTlbi]);
    adopted.verdict().unwrap();
}

#[test]
fn a_repeated_violation_is_counted_and_kept_once() {
    let machine = machine(BbmLevel::Zero);
    for _ in 0..20 {
        machine.cpu(0).store(slot(L2, BLOCK), Attributes::NORMAL.leaf(output(BLOCK + 1), Level::L2));
        machine.cpu(0).store(slot(L2, BLOCK), block());
    }
    machine.cpu(1).access(VirtAddr(BASE + (1 << 39)), Access::Load);
    let kinds = machine.violations();
    assert_eq!(kinds.iter().filter(|kind| kind.rule == Rule::LiveTargetChange).count(), 1);
    assert_eq!(kinds[0].times, 40);
}
