// SPDX-License-Identifier: MIT OR Apache-2.0
//! M10 and M4 where an invalidation is complete, or begins: what its own CPU and the others still have to do.

use super::small::*;
use crate::*;
use cleave::aarch64::BbmLevel;
use cleave::tables::{Attributes, Descriptor, Geometry, Level, Permissions, slot};

const FLAG: usize = 0x400;

fn config() -> Config {
    Config::new(Geometry::K4_V48, &[BbmLevel::Zero; 2])
}

/// A leaf for page 3 that may be executed.
fn text() -> Descriptor {
    let output = output(PAGES).offset(0x3000);
    Attributes::NORMAL.with_permissions(Permissions::ReadExecute).leaf(output, Level::L3)
}

/// Page 3 holds `old` and is broken on CPU 0, and gone from every TLB; no ISB yet.
fn broken_page(config: Config, old: Descriptor) -> Machine {
    let machine = machine_of(config);
    machine.poke(slot(L3, 3), old);
    let cpu = machine.cpu(0);
    cpu.store(slot(L3, 3), Descriptor::EMPTY);
    cpu.dsb(Dsb::Ishst);
    cpu.tlbi(Tlbi::VMALLE1IS);
    cpu.dsb(Dsb::Ish);
    machine
}

#[test]
fn check_settled_needs_an_isb_on_the_invalidating_cpu() {
    // What is gone for others may still be used by the issuer.
    let issuer = broken_page(config(), page_leaf(3));
    assert_eq!(issuer.cpu(1).access(page(3), Access::Load), Outcome::Fault);
    passes(&issuer);
    issuer.cpu(0).access(page(3), Access::Load);
    breaks(&issuer, Rule::ContextSynchronisation);
    let good = broken_page(config(), page_leaf(3));
    good.cpu(0).isb();
    assert_eq!(good.cpu(0).access(page(3), Access::Load), Outcome::Fault);
    passes(&good);
    // No barrier stands in for it, and an address that did not change does not need it.
    let barrier = broken_page(config(), page_leaf(3));
    barrier.cpu(0).dsb(Dsb::Sy);
    barrier.cpu(0).access(page(4), Access::Load);
    passes(&barrier);
    barrier.cpu(0).access(page(3), Access::Load);
    breaks(&barrier, Rule::ContextSynchronisation);
}

#[test]
fn with_ets2_a_dsb_is_enough_for_data() {
    let run = |old: Descriptor, access: Access| {
        let machine = broken_page(config().with_ets2(), old);
        machine.cpu(0).access(page(3), access);
        machine
    };
    for access in [Access::Load, Access::Store] {
        passes(&run(page_leaf(3), access));
    }
    breaks(&run(text(), Access::Load), Rule::ContextSynchronisation);
    breaks(&run(text(), Access::Fetch), Rule::ContextSynchronisation);
}

#[test]
fn a_fetch_needs_context_synchronisation_on_every_cpu() {
    let run = |behind: &[Step], access: Access, config: Config| {
        let machine = broken_page(config, text());
        machine.cpu(0).isb();
        machine.cpu(0).store_flag(FLAG, Flag::Ordered);
        let other = machine.cpu(1);
        other.load_flag(FLAG, Flag::Ordered);
        behind.iter().for_each(|step| step(other));
        other.access(page(3), access);
        machine
    };
    for config in [config, || config().with_ets2()] {
        passes(&run(&[BRANCH, ISB], Access::Fetch, config()));
        // Data needs nothing there.
        passes(&run(&[], Access::Load, config()));
        breaks(&run(&[], Access::Fetch, config()), Rule::ContextSynchronisation);
        breaks(&run(&[BRANCH], Access::Fetch, config()), Rule::ContextSynchronisation);
        // An ISB that may be executed before the flag was read.
        breaks(&run(&[ISB, BRANCH], Access::Fetch, config()), Rule::ContextSynchronisation);
    }
}

#[test]
fn a_flag_stored_before_the_dsb_does_not_convey_the_tlbi() {
    for (early, good) in [(false, true), (true, false)] {
        let machine = machine_of(config());
        machine.poke(slot(L3, 3), text());
        let (cpu, other) = (machine.cpu(0), machine.cpu(1));
        cpu.store(slot(L3, 3), Descriptor::EMPTY);
        cpu.dsb(Dsb::Ishst);
        cpu.tlbi(Tlbi::VMALLE1IS);
        if early {
            cpu.store_flag(FLAG, Flag::Ordered);
        }
        cpu.dsb(Dsb::Ish);
        if !early {
            cpu.store_flag(FLAG, Flag::Ordered);
        }
        other.load_flag(FLAG, Flag::Ordered);
        other.branch();
        other.isb();
        other.access(page(3), Access::Fetch);
        if good { passes(&machine) } else { breaks(&machine, Rule::ContextSynchronisation) }
    }
}

#[test]
fn a_make_needs_no_isb_behind_the_tlbi() {
    // The six steps of break-before-make; the ISB behind them is for the first use.
    let machine = broken_page(config(), page_leaf(3));
    let cpu = machine.cpu(0);
    cpu.store(slot(L3, 3), page_leaf(4));
    cpu.dsb(Dsb::Ishst);
    passes(&machine);
    cpu.isb();
    assert_eq!(cpu.access(page(3), Access::Store), Outcome::Memory(output(PAGES).offset(0x4000)));
    passes(&machine);
}

#[test]
fn a_tlbi_is_complete_on_its_own_cpu_only_after_an_isb() {
    for (isb, good) in [(true, true), (false, false)] {
        let machine = broken_page(config(), page_leaf(3));
        if isb {
            machine.cpu(0).isb();
        }
        machine.check_settled(0);
        if good {
            passes(&machine)
        } else {
            breaks(&machine, Rule::ContextSynchronisation)
        }
        assert!(machine.is_settled(), "no TLB holds anything either way");
    }
}

#[test]
fn a_fault_handler_that_retries_cannot_cure_a_stale_entry() {
    let machine = broken_page(config(), page_leaf(3));
    machine.cpu(0).access_retrying(page(3), Access::Load);
    breaks(&machine, Rule::ContextSynchronisation);
}

/// CPU 0 breaks a page and completes its store, CPU 1 hears of it and invalidates.
fn invalidated_by_another(store: Flag, behind: &[Step]) -> Machine {
    let machine = machine_of(config());
    let (first, second) = (machine.cpu(0), machine.cpu(1));
    first.store(slot(L3, 3), Descriptor::EMPTY);
    first.dsb(Dsb::Ishst);
    first.store_flag(FLAG, store);
    second.load_flag(FLAG, Flag::Ordered);
    behind.iter().for_each(|step| step(second));
    second.tlbi(Tlbi::VMALLE1IS);
    second.dsb(Dsb::Ish);
    second.store(slot(L3, 3), page_leaf(4));
    machine
}

#[test]
fn another_cpus_tlbi_needs_a_dsb_or_isb_behind_the_flag() {
    // As an interrupt does it: an exception is a context synchronisation event behind the news.
    for behind in [&[BRANCH, ISB][..], &[DSB_ISH]] {
        passes(&invalidated_by_another(Flag::Ordered, behind));
        passes(&invalidated_by_another(Flag::Plain, behind));
    }
    // An acquire orders loads and stores, not a TLBI; nor does a barrier for stores wait for the load.
    for behind in [&[][..], &[BRANCH], &[ISB], &[DSB_ISHST]] {
        breaks(&invalidated_by_another(Flag::Ordered, behind), Rule::StoreBeforeTlbi);
    }
}
