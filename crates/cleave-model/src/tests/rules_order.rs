// SPDX-License-Identifier: MIT OR Apache-2.0
//! M7, M8, M9, M10, M13: which stores are seen when, and by which CPU.

use super::small::*;
use crate::*;
use cleave::aarch64::BbmLevel;
use cleave::tables::{Attributes, Cpu, Descriptor, Geometry, Level, slot};

const FLAG: usize = 0x100;

/// CPU 1 fills a table and hands it over with `store`; CPU 0 takes it with `load`, and links it.
fn handed_over(fill_barrier: Option<Dsb>, store: Flag, load: Flag, link_barrier: Option<Dsb>) -> Machine {
    let machine = machine(BbmLevel::Zero);
    let (leader, filler) = (machine.cpu(0), machine.cpu(1));
    fill(filler, NEW, Attributes::NORMAL.leaf(output(5), Level::L2));
    fill_barrier.into_iter().for_each(|dsb| filler.dsb(dsb));
    filler.store_flag(FLAG, store);
    leader.load_flag(FLAG, load);
    leader.branch();
    link_barrier.into_iter().for_each(|dsb| leader.dsb(dsb));
    leader.store(slot(L2, 5), Descriptor::table(NEW));
    machine
}

#[test]
fn a_childs_contents_are_ordered_before_its_link() {
    for (barrier, good) in [(None, false), (Some(Dsb::Ishld), false), (Some(Dsb::Nsh), false), (Some(Dsb::Ishst), true)]
    {
        let machine = machine(BbmLevel::Zero);
        let cpu = machine.cpu(0);
        fill(cpu, NEW, Attributes::NORMAL.leaf(output(5), Level::L2));
        barrier.into_iter().for_each(|dsb| cpu.dsb(dsb));
        cpu.store(slot(L2, 5), Descriptor::table(NEW));
        if good { passes(&machine) } else { breaks(&machine, Rule::ChildBeforeParent) }
    }
}

#[test]
fn another_cpus_table_needs_its_dsb_or_release_and_acquire() {
    passes(&handed_over(None, Flag::Ordered, Flag::Ordered, None));
    passes(&handed_over(Some(Dsb::Ishst), Flag::Plain, Flag::Plain, None));
    breaks(&handed_over(None, Flag::Plain, Flag::Ordered, None), Rule::ChildBeforeParent);
    breaks(&handed_over(None, Flag::Ordered, Flag::Plain, None), Rule::ChildBeforeParent);
    // The leader's own barrier is no help.
    breaks(&handed_over(None, Flag::Plain, Flag::Plain, Some(Dsb::Ishst)), Rule::ChildBeforeParent);
}

#[test]
fn every_entry_of_a_linked_table_was_written() {
    let machine = machine(BbmLevel::Zero);
    let cpu = machine.cpu(0);
    cpu.store_run(NEW, Descriptor::EMPTY, 0, 511);
    cpu.dsb_ishst();
    cpu.store(slot(L2, 5), Descriptor::table(NEW));
    breaks(&machine, Rule::ChildBeforeParent);
}

/// Splits the block live on level `change`, then lets a CPU of level `user` use it before the TLBI.
fn used_between(user: BbmLevel) -> (Machine, Outcome) {
    let machine = machine_of(Config::new(Geometry::K4_V48, &[BbmLevel::Three, user]));
    let cpu = machine.cpu(0);
    fill(cpu, NEW, block());
    cpu.dsb_ishst();
    cpu.store(slot(L2, BLOCK), Descriptor::table(NEW));
    let outcome = machine.cpu(1).access(address(BLOCK), Access::Load);
    (machine, outcome)
}

#[test]
fn two_cached_sizes_conflict_as_the_level_says() {
    let (low, _) = used_between(BbmLevel::One);
    assert_eq!(broken(&low), [Rule::LiveSizeChange, Rule::MultiHit]);
    let (two, outcome) = used_between(BbmLevel::Two);
    passes(&two);
    assert_eq!(outcome, Outcome::Conflict(output(BLOCK)));
    // After the invalidation there is one size again.
    invalidate(two.cpu(0));
    assert_eq!(two.cpu(1).access(address(BLOCK), Access::Load), Outcome::Memory(output(BLOCK)));
    passes(&two);
    let (three, outcome) = used_between(BbmLevel::Three);
    passes(&three);
    assert_eq!(outcome, Outcome::Memory(output(BLOCK)));
}

#[test]
fn no_access_depends_on_which_entries_are_cached() {
    let store_after = |invalidated: bool, access| {
        let machine = machine(BbmLevel::Zero);
        let cpu = machine.cpu(0);
        cpu.store(slot(L3, 3), read_only(page_leaf(3)));
        if invalidated {
            invalidate(cpu);
        }
        let outcome = machine.cpu(1).access(page(3), access);
        (machine, outcome)
    };
    breaks(&store_after(false, Access::Store).0, Rule::AmbiguousTranslation);
    // A load may go either way and finds the same.
    passes(&store_after(false, Access::Load).0);
    let (machine, outcome) = store_after(true, Access::Store);
    passes(&machine);
    assert_eq!(outcome, Outcome::Fault);
    // An unmapped page that may still be cached.
    let unmapped = super::small::machine(BbmLevel::Zero);
    unmapped.cpu(0).store(slot(L3, 3), Descriptor::EMPTY);
    unmapped.cpu(1).access(page(3), Access::Load);
    breaks(&unmapped, Rule::AmbiguousTranslation);
}

#[test]
fn a_fresh_entry_is_used_only_after_context_synchronisation() {
    let fresh = |config: Config, barrier: Option<Dsb>, isb: bool| {
        let machine = machine_of(config);
        let cpu = machine.cpu(0);
        cpu.store(slot(L2, 5), Attributes::NORMAL.leaf(output(5), Level::L2));
        barrier.into_iter().for_each(|dsb| cpu.dsb(dsb));
        if isb {
            cpu.isb();
        }
        cpu.access(address(5), Access::Load);
        machine
    };
    let config = || Config::new(Geometry::K4_V48, &[BbmLevel::Zero; 2]);
    passes(&fresh(config(), Some(Dsb::Ishst), true));
    breaks(&fresh(config(), None, true), Rule::ContextSynchronisation);
    breaks(&fresh(config(), Some(Dsb::Ishst), false), Rule::ContextSynchronisation);
    // FEAT_ETS2 orders faults as accesses are.
    passes(&fresh(config().with_ets2(), None, false));
}

#[test]
fn a_fault_handler_that_retries_may_take_a_stale_fault() {
    let machine = machine(BbmLevel::Zero);
    machine.cpu(0).store(slot(L2, 5), Attributes::NORMAL.leaf(output(5), Level::L2));
    machine.cpu(0).dsb(Dsb::Ishst);
    assert_eq!(machine.cpu(1).access_retrying(address(5), Access::Load), (Outcome::Memory(output(5)), true));
    passes(&machine);
    machine.cpu(1).access(address(5), Access::Load);
    breaks(&machine, Rule::ContextSynchronisation);
}

#[test]
fn a_register_write_needs_an_isb_before_its_use() {
    let writes: [fn(OnCpu<'_>); 4] =
        [|cpu| cpu.set_ttbr0(Some(NEW)), |cpu| cpu.set_ttbr1(NEW), |cpu| cpu.set_tcr(0x10), |cpu| cpu.set_mair(0xff)];
    for (number, write) in writes.into_iter().enumerate() {
        for isb in [false, true] {
            let machine = machine_of(Config::new(Geometry::K4_V48, &[BbmLevel::Zero]));
            let cpu = machine.cpu(0);
            // What the new root maps: the same.
            cpu.store_run(NEW, Descriptor::EMPTY, 0, 512);
            cpu.store(NEW, machine.peek(ROOT));
            cpu.dsb(Dsb::Ishst);
            write(cpu);
            if isb {
                cpu.isb();
                // What was walked under the old value of TCR or MAIR goes too.
                cpu.tlbi(Tlbi::VMALLE1);
                cpu.dsb(Dsb::Nsh);
                cpu.isb();
            }
            let address = if number == 0 { cleave::tables::VirtAddr(0) } else { address(BLOCK) };
            cpu.access(address, Access::Load);
            if isb { passes(&machine) } else { breaks(&machine, Rule::ContextSynchronisation) }
        }
    }
}

#[test]
fn code_that_changes_a_root_is_mapped_alike_under_both() {
    // The new root maps the code alike, not at all, or elsewhere.
    let elsewhere = Attributes::NORMAL.leaf(output(9), Level::L1);
    for (level_1, good) in [(Some(L1), true), (None, false), (Some(NEW.offset(0x1000)), false)] {
        for access in [Access::Fetch, Access::Load] {
            let machine = machine_of(Config::new(Geometry::K4_V48, &[BbmLevel::Zero]));
            let cpu = machine.cpu(0);
            cpu.store_run(NEW, Descriptor::EMPTY, 0, 512);
            cpu.store_run(NEW.offset(0x1000), Descriptor(elsewhere.0 & !0x3fff_ffff | elsewhere.0 & 0xfff), 0, 512);
            level_1.into_iter().for_each(|table| cpu.store(NEW, Descriptor::table(table)));
            cpu.dsb(Dsb::Ishst);
            cpu.set_ttbr1(NEW);
            cpu.access(address(BLOCK), access);
            if good && access == Access::Fetch {
                passes(&machine)
            } else {
                breaks(&machine, Rule::ContextSynchronisation)
            }
        }
    }
}

#[test]
fn no_access_goes_through_a_broken_entry() {
    for access in [Access::Load, Access::Store, Access::Fetch] {
        let machine = machine(BbmLevel::Zero);
        machine.share(address(0)..=address(31));
        for cpu in [0, 1] {
            machine.cpu(cpu).park();
        }
        let cpu = machine.cpu(0);
        cpu.store(slot(ROOT, 0), Descriptor::EMPTY);
        invalidate(cpu);
        passes(&machine);
        cpu.access(address(BLOCK), access);
        breaks(&machine, Rule::BrokenEntryAccess);
    }
}

#[test]
fn a_guard_page_is_no_broken_entry() {
    let machine = machine(BbmLevel::Zero);
    machine.share(address(0)..=address(31));
    machine.cpu(0).store(slot(L3, 3), page_leaf(3).made_invalid());
    invalidate(machine.cpu(0));
    assert_eq!(machine.cpu(1).access(page(3), Access::Store), Outcome::Fault);
    passes(&machine);
    // While all CPUs are parked no access there is right.
    park_all(&machine);
    machine.cpu(1).access(page(3), Access::Store);
    breaks(&machine, Rule::BrokenEntryAccess);
}

#[test]
fn no_table_is_reached_through_a_broken_entry() {
    let machine = machine(BbmLevel::Zero);
    machine.share(address(0)..=address(31));
    // Where memory is in this map: the page table itself is not mapped anywhere.
    let distance = address(0).0.wrapping_sub(output(0).0);
    let mapped = machine.view(0, Through::Distance(distance));
    cleave::tables::TableMemory::store(&mapped, output(0), Descriptor(1));
    passes(&machine);
    park_all(&machine);
    machine.cpu(0).store(slot(ROOT, 0), Descriptor::EMPTY);
    invalidate(machine.cpu(0));
    cleave::tables::TableMemory::load(&mapped, output(0));
    breaks(&machine, Rule::BrokenEntryAccess);
}

#[test]
fn a_violation_prints_rule_place_values_and_events() {
    let machine = machine(BbmLevel::Zero);
    for _ in 0..30 {
        machine.cpu(1).isb();
    }
    machine.cpu(0).store(slot(L3, 3), page_leaf(4));
    let violation = machine.so_far().unwrap_err().first;
    assert_eq!((violation.rule, violation.cpu, violation.address), (Rule::LiveTargetChange, 0, Some(page(3))));
    assert_eq!((violation.slot, violation.old, violation.new), (slot(L3, 3), page_leaf(3), page_leaf(4)));
    assert_eq!(violation.events.len(), EVENTS_KEPT);
    assert_eq!(violation.events.last().map(|event| event.cpu), Some(0));
    let text = violation.to_string();
    for part in [
        "M2 target on CPU 0",
        "0xffff000000003000",
        "0x130018",
        "0x0060000040003703",
        "break-before-make",
        "[0x130018] :=",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
}
