// SPDX-License-Identifier: MIT OR Apache-2.0
//! M17, M18, and M10 for registers: what translation depends on.

use super::small::*;
use crate::*;
use cleave::aarch64::BbmLevel;
use cleave::tables::{Attributes, Cpu, Descriptor, Geometry, Level, slot};

#[test]
fn cpus_that_share_tables_agree_on_tcr_mair_and_vmid() {
    let writes: [fn(OnCpu<'_>); 3] = [|cpu| cpu.set_tcr(0x10), |cpu| cpu.set_mair(0xff), |cpu| cpu.set_vmid(3)];
    for write in writes {
        let machine = machine(BbmLevel::Zero);
        write(machine.cpu(1));
        machine.cpu(1).isb();
        breaks(&machine, Rule::CpuContexts);
        let alone = machine_of(Config::new(Geometry::K4_V48, &[BbmLevel::Zero]));
        write(alone.cpu(0));
        alone.cpu(0).isb();
        passes(&alone);
    }
}

#[test]
fn a_change_of_tcr_or_mair_needs_a_tlbi_on_that_cpu() {
    let nothing: Step = |_| ();
    let local: Step = |cpu| {
        cpu.tlbi(Tlbi::VMALLE1);
        cpu.dsb(Dsb::Nsh);
        cpu.isb();
    };
    let incomplete: Step = |cpu| {
        cpu.tlbi(Tlbi::VMALLE1);
        cpu.isb();
    };
    let one_page: Step = |cpu| {
        cpu.tlbi(Tlbi::vaae1is(page(3)));
        cpu.dsb(Dsb::Ish);
        cpu.isb();
    };
    let writes: [Step; 2] = [|cpu| cpu.set_tcr(0x10), |cpu| cpu.set_mair(0xff)];
    for write in writes {
        for (before, after, good) in [
            (nothing, local, true),
            (nothing, invalidate as Step, true),
            (nothing, nothing, false),
            (nothing, incomplete, false),
            (nothing, one_page, false),
            // What is walked between it and the write is there again.
            (local, nothing, false),
        ] {
            let machine = machine_of(Config::new(Geometry::K4_V48, &[BbmLevel::Zero]));
            let cpu = machine.cpu(0);
            before(cpu);
            write(cpu);
            cpu.isb();
            after(cpu);
            cpu.access(page(3), Access::Load);
            if good { passes(&machine) } else { breaks(&machine, Rule::CpuContexts) }
        }
    }
}

#[test]
fn a_ttbr_with_cnp_is_reported() {
    let writes: [fn(OnCpu<'_>, u64); 2] = [|cpu, value| cpu.write_ttbr0(value), |cpu, value| cpu.write_ttbr1(value)];
    for write in writes {
        for (cnp, good) in [(0, true), (1, false)] {
            let machine = machine(BbmLevel::Zero);
            write(machine.cpu(0), ROOT.0 | cnp);
            if good { passes(&machine) } else { breaks(&machine, Rule::CpuContexts) }
        }
    }
    // The value's other fields are the base and the ASID.
    let machine = machine(BbmLevel::Zero);
    machine.cpu(0).write_ttbr0(7 << 48 | NEW.0);
    machine.cpu(0).write_ttbr1(9 << 48 | ROOT.0);
    machine.cpu(0).isb();
    machine.cpu(0).access(page(3), Access::Load);
    passes(&machine);
}

#[test]
fn mmu_on_needs_an_isb_behind_the_register_writes() {
    for (isb, good) in [(true, true), (false, false)] {
        let machine = Machine::new(Config::new(Geometry::K4_V48, &[BbmLevel::Zero]));
        let cpu = machine.cpu(0);
        cpu.tlbi(Tlbi::VMALLE1);
        cpu.dsb(Dsb::Nsh);
        cpu.set_mair(0xff);
        cpu.set_ttbr1(ROOT);
        if isb {
            cpu.isb();
        }
        cpu.mmu_on();
        cpu.isb();
        if good { passes(&machine) } else { breaks(&machine, Rule::ContextSynchronisation) }
    }
}

#[test]
fn mmu_on_needs_a_local_tlbi_before_it() {
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
        if good { passes(&machine) } else { breaks(&machine, Rule::CpuContexts) }
    }
}

#[test]
fn a_cpu_loads_the_linear_map_only_once_admitted() {
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
        if good { passes(&machine) } else { breaks(&machine, Rule::CpuContexts) }
    }
}

#[test]
fn access_flags_are_set_and_hardware_updates_off() {
    let leaf = Attributes::NORMAL.leaf(output(5), Level::L2);
    for (leaf, good) in [(leaf, true), (without_af(leaf), false), (without_af(leaf).made_invalid(), true)] {
        let machine = machine(BbmLevel::Zero);
        machine.cpu(0).store(slot(L2, 5), leaf);
        if good { passes(&machine) } else { breaks(&machine, Rule::HardwareUpdate) }
    }
    // In a table that is linked as a whole, too.
    let linked = machine(BbmLevel::Zero);
    fill(linked.cpu(0), NEW, without_af(leaf));
    linked.cpu(0).dsb_ishst();
    linked.cpu(0).store(slot(L2, 5), Descriptor::table(NEW));
    breaks(&linked, Rule::HardwareUpdate);
    for (tcr, good) in [(1 << 39, false), (1 << 40, false), (1 << 38, true)] {
        let machine = machine_of(Config::new(Geometry::K4_V48, &[BbmLevel::Zero]));
        machine.cpu(0).set_tcr(tcr);
        machine.cpu(0).isb();
        if good { passes(&machine) } else { breaks(&machine, Rule::HardwareUpdate) }
    }
}
