// SPDX-License-Identifier: MIT OR Apache-2.0
//! M16: what goes around the data cache, and what goes through it.

use super::small::*;
use crate::*;
use cleave::aarch64::BbmLevel;
use cleave::tables::{Attributes, Descriptor, Geometry, Level, PhysAddr, TableMemory, slot};

const AT: PhysAddr = PhysAddr(0x8000);

#[test]
fn uncached_stores_need_maintenance_before_and_after() {
    let run = |before: bool, after: bool, dsb: bool| {
        let machine = Machine::new(Config::new(Geometry::K4_V48, &[BbmLevel::Zero]));
        let cpu = machine.cpu(0);
        let maintain = || {
            cpu.maintain_cache(AT, Maintenance::Invalidate);
            if dsb {
                cpu.dsb(Dsb::Sy);
            }
        };
        if before {
            maintain();
        }
        cpu.store_uncached(AT);
        if after {
            maintain();
        }
        cpu.load_cached(AT);
        machine
    };
    passes(&run(true, true, true));
    breaks(&run(false, true, true), Rule::CacheMaintenance);
    breaks(&run(true, false, true), Rule::CacheMaintenance);
    breaks(&run(true, true, false), Rule::CacheMaintenance);
}

#[test]
fn a_load_with_the_mmu_off_needs_cached_data_cleaned() {
    for (maintenance, dsb, good) in
        [(Some(Maintenance::Clean), true, true), (Some(Maintenance::Clean), false, false), (None, true, false)]
    {
        let machine = machine(BbmLevel::Zero);
        machine.cpu(0).store_cached(AT);
        maintenance.into_iter().for_each(|what| machine.cpu(0).maintain_cache(AT, what));
        // Only the CPU that maintains it completes it.
        machine.cpu(if dsb { 0 } else { 1 }).dsb(Dsb::Sy);
        machine.cpu(1).load_uncached(AT);
        if good { passes(&machine) } else { breaks(&machine, Rule::CacheMaintenance) }
    }
}

#[test]
fn cache_maintenance_completes_with_a_full_dsb() {
    for (dsb, good) in [(Dsb::Sy, true), (Dsb::Ish, true), (Dsb::Ishst, false), (Dsb::Ld, false)] {
        let machine = machine(BbmLevel::Zero);
        machine.cpu(0).store_cached(AT);
        machine.cpu(0).maintain_cache(AT, Maintenance::Clean);
        machine.cpu(0).dsb(dsb);
        machine.cpu(1).load_uncached(AT);
        if good { passes(&machine) } else { breaks(&machine, Rule::CacheMaintenance) }
    }
    // It says nothing of a store behind it.
    for (late, good) in [(false, true), (true, false)] {
        let machine = machine(BbmLevel::Zero);
        machine.cpu(0).store_cached(AT);
        machine.cpu(0).maintain_cache(AT, Maintenance::Clean);
        if late {
            machine.cpu(0).store_cached(AT.offset(8));
        }
        machine.cpu(0).dsb(Dsb::Sy);
        machine.cpu(1).load_uncached(AT);
        if good { passes(&machine) } else { breaks(&machine, Rule::CacheMaintenance) }
    }
}

/// A line written through the cache, maintained, then used with the MMU off and at last through the cache again.
fn handed_over(maintenance: &[Maintenance]) -> Machine {
    let machine = machine(BbmLevel::Zero);
    let (cached, uncached) = (machine.cpu(0), machine.cpu(1));
    cached.store_cached(AT);
    maintenance.iter().for_each(|&what| cached.maintain_cache(AT, what));
    cached.dsb(Dsb::Sy);
    uncached.load_uncached(AT);
    uncached.store_uncached(AT);
    machine
}

#[test]
fn cache_clean_writes_back_and_cache_invalidate_drops() {
    use Maintenance::{Clean, CleanInvalidate, Invalidate};
    for good in [&[Clean][..], &[CleanInvalidate], &[Clean, Invalidate]] {
        passes(&handed_over(good));
    }
    // What was only in the cache is lost, and cleaning comes too late.
    for bad in [&[][..], &[Invalidate], &[Invalidate, Clean]] {
        breaks(&handed_over(bad), Rule::CacheMaintenance);
    }
    // On the way back a line has to go, and cleaning alone keeps it.
    for (maintenance, good) in
        [(Some(Invalidate), true), (Some(CleanInvalidate), true), (Some(Clean), false), (None, false)]
    {
        let uses: [Step; 2] = [|cpu| cpu.load_cached(AT), |cpu| cpu.store_cached(AT)];
        for access in uses {
            let machine = handed_over(&[Clean]);
            maintenance.into_iter().for_each(|what| machine.cpu(1).maintain_cache(AT, what));
            machine.cpu(1).dsb(Dsb::Sy);
            access(machine.cpu(0));
            if good { passes(&machine) } else { breaks(&machine, Rule::CacheMaintenance) }
        }
    }
}

/// A boot CPU writes a table with its MMU off and turns it on; `stride` is that of its maintenance before and after.
fn booted(line: u64, stride: usize, after: u64) -> Machine {
    let config = Config::new(Geometry::K4_V48, &[BbmLevel::Zero]).with_cache_line(line);
    let machine = Machine::new(config);
    let cpu = machine.cpu(0);
    let invalidate = |bytes: u64| {
        (0..bytes).step_by(stride).for_each(|at| cpu.maintain_cache(ROOT.offset(at), Maintenance::Invalidate));
        cpu.dsb(Dsb::Sy);
    };
    invalidate(0x1000);
    machine.view(0, Through::Physical).store_run(ROOT, Descriptor::EMPTY, 0, 512);
    invalidate(after);
    cpu.tlbi(Tlbi::VMALLE1);
    cpu.dsb(Dsb::Nsh);
    cpu.set_ttbr1(ROOT);
    cpu.isb();
    cpu.mmu_on();
    cpu.isb();
    machine
}

#[test]
fn cache_maintenance_is_needed_for_every_line() {
    for line in [16, 32, 64, 128] {
        passes(&booted(line, line as usize, 0x1000));
        // A loop for smaller lines does no harm, one for larger ones leaves some out.
        passes(&booted(line, line as usize / 2, 0x1000));
        breaks(&booted(line, line as usize * 2, 0x1000), Rule::CacheMaintenance);
        // Nor may it stop too soon.
        breaks(&booted(line, line as usize, 0x1000 - line), Rule::CacheMaintenance);
    }
}

#[test]
fn a_walk_after_uncached_stores_needs_cache_maintenance() {
    // Some of a table was written around the cache before it is linked.
    for (maintained, good) in [(true, true), (false, false)] {
        let machine = machine(BbmLevel::Zero);
        let walker = machine.cpu(0);
        for index in 0..512 {
            machine.poke(slot(NEW, index), Descriptor::EMPTY);
        }
        let last = slot(NEW, 511);
        walker.maintain_cache(last, Maintenance::Invalidate);
        walker.dsb(Dsb::Sy);
        walker.store_uncached(last);
        if maintained {
            walker.maintain_cache(last, Maintenance::Invalidate);
            walker.dsb(Dsb::Sy);
        }
        walker.store(slot(L2, 5), Descriptor::table(NEW));
        if good { passes(&machine) } else { breaks(&machine, Rule::CacheMaintenance) }
    }
    // One slot on the way of an access is enough.
    for (around, good) in [(slot(L2, PAGES), false), (slot(L2, GROUP), true)] {
        let machine = machine(BbmLevel::Zero);
        let cpu = machine.cpu(0);
        cpu.maintain_cache(around, Maintenance::Invalidate);
        cpu.dsb(Dsb::Sy);
        cpu.store_uncached(around);
        cpu.access(page(3), Access::Load);
        if good { passes(&machine) } else { breaks(&machine, Rule::CacheMaintenance) }
    }
}

#[test]
fn a_non_cacheable_walk_needs_cached_stores_cleaned() {
    // TCR.IRGN1: write-back, or non-cacheable.
    for (tcr, cleaned, good) in [(1 << 24 | 1 << 8, false, true), (1 << 8, true, true), (1 << 8, false, false)] {
        let machine = machine_of(Config::new(Geometry::K4_V48, &[BbmLevel::Zero]));
        let cpu = machine.cpu(0);
        cpu.set_tcr(tcr);
        cpu.isb();
        cpu.tlbi(Tlbi::VMALLE1);
        cpu.dsb(Dsb::Nsh);
        cpu.isb();
        let at = slot(L2, 5);
        cpu.store(at, Attributes::NORMAL.leaf(output(5), Level::L2));
        if cleaned {
            cpu.maintain_cache(at, Maintenance::Clean);
            cpu.dsb(Dsb::Sy);
        }
        cpu.dsb(Dsb::Ishst);
        cpu.isb();
        cpu.access(address(5), Access::Load);
        if good { passes(&machine) } else { breaks(&machine, Rule::CacheMaintenance) }
    }
}

#[test]
fn a_cpu_with_its_mmu_off_needs_tables_cleaned_before_it_reads() {
    // The boot CPU's tables, through the physical view of a secondary on its way in.
    for (cleaned, good) in [(true, true), (false, false)] {
        let machine = Machine::new(Config::new(Geometry::K4_V48, &[BbmLevel::Zero; 2]));
        machine.boot(0, ROOT);
        let cpu = machine.cpu(0);
        cpu.store_cached(ROOT);
        if cleaned {
            cpu.maintain_cache(ROOT, Maintenance::CleanInvalidate);
            cpu.dsb(Dsb::Sy);
        }
        machine.view(1, Through::Physical).load(ROOT);
        if good { passes(&machine) } else { breaks(&machine, Rule::CacheMaintenance) }
    }
}
