// SPDX-License-Identifier: MIT OR Apache-2.0
//! The other ways a kernel edits live tables: pages mapped where nothing was, a temporary mapping and its end, one leaf
//! replaced, and the order in which a boot CPU comes up.

use super::small::*;
use crate::*;
use cleave::aarch64::BbmLevel;
use cleave::tables::{
    Attributes, Cpu, Descriptor, Geometry, Granule, Level, PhysAddr, PhysRange, TableTree, TemporaryBlocks, TlbiRepeat,
    VaBits, VirtAddr, change_permissions, map_blocks, replace_leaf, slot, unlink,
};

const FLAG: usize = 0x300;

fn tables(machine: &Machine) -> View<'_> {
    machine.view(0, Through::Physical)
}

#[test]
fn pages_mapped_live_are_usable_after_an_isb_in_each_geometry() -> Result<(), String> {
    for granule in [Granule::K4, Granule::K16, Granule::K64] {
        for va_bits in [VaBits::V39, VaBits::V48] {
            let geometry = Geometry { granule, va_bits };
            let machine = Machine::new(Config::new(geometry, &[BbmLevel::Zero; 2]));
            for entry in 0..geometry.entries(geometry.root_level()) {
                machine.poke(slot(ROOT, entry), Descriptor::EMPTY);
            }
            machine.add_frames(PhysRange::new(FRAMES, FRAMES.offset(64 * geometry.page_size())));
            machine.boot_all(ROOT);
            let (first, second) = (machine.cpu(0), machine.cpu(1));
            let page = geometry.page_size();
            // Across two page tables, and then beside what is there, in tables that are live by now.
            let edge = VirtAddr((2 * geometry.size(Level::L2)).wrapping_neg());
            for (address, output) in
                [(edge.0 - page, 0x4000_0000), (edge.0 + page, 0x5000_0000), (edge.0 - 9 * page, 0x6000_0000)]
            {
                let (address, output) = (VirtAddr(address), PhysAddr(output));
                let tree = TableTree { memory: tables(&machine), geometry, root: ROOT };
                let pages = PhysRange::new(output, output.offset(2 * page));
                tree.map_pages(&first, &mut machine.frames(0), address, pages, Attributes::NORMAL)
                    .map_err(|error| error.to_string())?;
                assert_eq!(first.access(address, Access::Store), Outcome::Memory(output));
                first.store_flag(FLAG, Flag::Ordered);
                second.load_flag(FLAG, Flag::Ordered);
                second.branch();
                second.isb();
                assert_eq!(second.access(address.offset(page), Access::Load), Outcome::Memory(output.offset(page)));
            }
            machine.verdict().map_err(|findings| format!("{geometry:?}: {findings}"))?;
        }
    }
    Ok(())
}

#[test]
fn a_mapping_used_before_its_isb_may_fault() -> Result<(), String> {
    let machine = machine(BbmLevel::Zero);
    let (frames, output) = (&mut machine.frames(0), PhysAddr(0x5000_0000));
    let address = VirtAddr(BASE + (1 << 30));
    let tree = TableTree { memory: tables(&machine), geometry: Geometry::K4_V48, root: ROOT };
    let page = PhysRange::new(output, output.offset(0x1000));
    tree.map_pages(&machine.cpu(0), frames, address, page, Attributes::NORMAL).map_err(|error| error.to_string())?;
    passes(&machine);
    machine.cpu(1).access(address, Access::Load);
    breaks(&machine, Rule::ContextSynchronisation);
    Ok(())
}

#[test]
fn a_temporary_mapping_is_replaced_by_another() {
    let machine = machine(BbmLevel::Zero);
    let (view, cpu, entry) = (tables(&machine), machine.cpu(0), slot(L1, 7));
    for start in [0x8000_0000, 0xc000_0000] {
        let piece = PhysRange::new(PhysAddr(start), PhysAddr(start + 0x80_0000));
        map_blocks(&view, &cpu, Geometry::K4_V48, TemporaryBlocks { piece, table: NEW, entry }, Attributes::NORMAL);
        let address = VirtAddr(BASE + (7 << 30));
        assert_eq!(cpu.access(address.offset(0x7f_f000), Access::Store), Outcome::Memory(PhysAddr(start + 0x7f_f000)));
        assert_eq!(cpu.access(address.offset(0x80_0000), Access::Load), Outcome::Fault);
        unlink(&view, &cpu, entry, TlbiRepeat::Once);
        assert!(machine.is_settled());
        assert_eq!(machine.cpu(1).access(address, Access::Load), Outcome::Fault);
    }
    passes(&machine);
    // The table is written again while its last mapping may be cached.
    let piece = PhysRange::new(PhysAddr(0x8000_0000), PhysAddr(0x8020_0000));
    let blocks = TemporaryBlocks { piece, table: NEW, entry };
    map_blocks(&view, &cpu, Geometry::K4_V48, blocks, Attributes::NORMAL);
    cpu.store(entry, Descriptor::EMPTY);
    map_blocks(&view, &cpu, Geometry::K4_V48, blocks, Attributes::NORMAL);
    breaks(&machine, Rule::FrameReuse);
}

#[test]
fn replace_leaf_keeps_every_rule_for_any_new_leaf() {
    for (repeat, erratum, good) in
        [(TlbiRepeat::Once, false, true), (TlbiRepeat::Twice, true, true), (TlbiRepeat::Once, true, false)]
    {
        let mut config = Config::new(Geometry::K4_V48, &[BbmLevel::Zero; 2]);
        if erratum {
            config = config.with_repeat_erratum();
        }
        let machine = machine_of(config);
        replace_leaf(&tables(&machine), &machine.cpu(0), slot(L3, 3), page_leaf(9), repeat);
        if good { passes(&machine) } else { breaks(&machine, Rule::DsbAfterTlbi) }
    }
}

/// Permissions change without a break, and the other CPU uses the page all the while: without the invalidation it may
/// go on as before.
#[test]
fn permissions_may_change_while_a_cpu_uses_the_page() {
    let machine = machine(BbmLevel::Zero);
    machine.cpu(1).access(page(3), Access::Load);
    let new = read_only(page_leaf(3));
    change_permissions(&tables(&machine), &machine.cpu(0), slot(L3, 3), new, TlbiRepeat::Once);
    assert!(machine.is_settled());
    assert_eq!(machine.cpu(1).access(page(3), Access::Load), Outcome::Memory(output(PAGES).offset(3 * 0x1000)));
    passes(&machine);
}

/// Does by hand the steps that a boot CPU does in assembly: nothing of that runs here. Each step is needed.
#[test]
fn a_boot_cpu_that_leaves_a_step_out_is_caught() {
    let table = ROOT;
    let boot = |left_out: usize| {
        let machine = Machine::new(Config::new(Geometry::K4_V48, &[BbmLevel::Zero]));
        let cpu = machine.cpu(0);
        for step in 1..=9 {
            if step == left_out {
                continue;
            }
            match step {
                1 | 4 => cpu.maintain_cache(table, Maintenance::Invalidate),
                2 | 5 => cpu.dsb(Dsb::Sy),
                3 => cpu.store(table, Descriptor::EMPTY),
                6 => cpu.tlbi(Tlbi::VMALLE1),
                7 => cpu.dsb_nsh(),
                8 => cpu.set_ttbr1(table),
                _ => Cpu::isb(&cpu),
            }
        }
        cpu.mmu_on();
        cpu.isb();
        cpu.load_cached(table);
        machine
    };
    passes(&boot(0));
    for (left_out, rule) in
        // The barrier behind the second invalidation of the cache may be that of the TLB's.
        [
            (1, Rule::CacheMaintenance),
            (2, Rule::CacheMaintenance),
            (4, Rule::CacheMaintenance),
            (6, Rule::CpuContexts),
            (7, Rule::CpuContexts),
            (9, Rule::ContextSynchronisation),
        ]
    {
        breaks(&boot(left_out), rule);
    }
}
