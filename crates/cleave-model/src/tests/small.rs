// SPDX-License-Identifier: MIT OR Apache-2.0
//! A small tree of tables to do right and wrong things to.

use crate::*;
use cleave::aarch64::BbmLevel;
use cleave::tables::{Attributes, Descriptor, Geometry, Level, PhysAddr, PhysRange, VirtAddr, slot};

pub(super) const ROOT: PhysAddr = PhysAddr(0x10_0000);
pub(super) const L1: PhysAddr = PhysAddr(0x11_0000);
pub(super) const L2: PhysAddr = PhysAddr(0x12_0000);
pub(super) const L3: PhysAddr = PhysAddr(0x13_0000);
/// Room for a new table that no allocator has.
pub(super) const NEW: PhysAddr = PhysAddr(0x20_0000);
/// The frames of the machine's allocator.
pub(super) const FRAMES: PhysAddr = PhysAddr(0x80_0000);
pub(super) const BASE: u64 = 0xffff_0000_0000_0000;

/// Entries of the table of level 2: the page table, a block, and the first of a contiguous group.
pub(super) const PAGES: usize = 0;
pub(super) const BLOCK: usize = 1;
pub(super) const GROUP: usize = 16;

pub(super) fn output(index: usize) -> PhysAddr {
    PhysAddr(0x4000_0000 + index as u64 * 0x20_0000)
}

/// The address that entry `index` of the table of level 2 maps.
pub(super) fn address(index: usize) -> VirtAddr {
    VirtAddr(BASE + index as u64 * 0x20_0000)
}

pub(super) const fn page(index: usize) -> VirtAddr {
    VirtAddr(BASE + index as u64 * 0x1000)
}

pub(super) fn block() -> Descriptor {
    Attributes::NORMAL.leaf(output(BLOCK), Level::L2)
}

pub(super) fn page_leaf(index: usize) -> Descriptor {
    Attributes::NORMAL.leaf(output(PAGES).offset(index as u64 * 0x1000), Level::L3)
}

pub(super) fn read_only(leaf: Descriptor) -> Descriptor {
    Descriptor(leaf.0 | 1 << 7)
}

pub(super) fn without_af(leaf: Descriptor) -> Descriptor {
    Descriptor(leaf.0 & !(1 << 10))
}

/// Two CPUs of these levels with the tree in their TTBR1, all of it visible to all.
pub(super) fn machine_of(config: Config) -> Machine {
    let machine = Machine::new(config);
    for table in [ROOT, L1, L2, L3] {
        for index in 0..512 {
            machine.poke(slot(table, index), Descriptor::EMPTY);
        }
    }
    machine.poke(slot(ROOT, 0), Descriptor::table(L1));
    machine.poke(slot(L1, 0), Descriptor::table(L2));
    machine.poke(slot(L2, PAGES), Descriptor::table(L3));
    machine.poke(slot(L2, BLOCK), block());
    for index in GROUP..GROUP + 16 {
        machine.poke(slot(L2, index), Attributes::NORMAL.leaf(output(index), Level::L2).with_contiguous());
    }
    for index in 0..512 {
        machine.poke(slot(L3, index), page_leaf(index));
    }
    machine.add_frames(PhysRange::new(FRAMES, FRAMES.offset(0x10_0000)));
    machine.boot_all(ROOT);
    machine
}

pub(super) fn machine(level: BbmLevel) -> Machine {
    machine_of(Config::new(Geometry::K4_V48, &[level; 2]))
}

/// Fills a table with the pages of a leaf, its stores unordered.
pub(super) fn fill(cpu: OnCpu<'_>, table: PhysAddr, leaf: Descriptor) {
    cpu.store_run(table, leaf.split_child(Level::L3), 0x1000, 512);
}

/// DSB ISHST; TLBI VMALLE1IS; DSB ISH; ISB.
pub(super) fn invalidate(cpu: OnCpu<'_>) {
    cleave::tables::invalidate_everywhere(&cpu, cleave::tables::TlbiRepeat::Once);
}

/// The rules broken, each once, in order of the first time.
pub(super) fn broken(machine: &Machine) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    for violation in machine.violations() {
        if !rules.contains(&violation.rule) {
            rules.push(violation.rule);
        }
    }
    rules
}

/// Fails with the whole story when a rule was broken.
pub(super) fn passes(machine: &Machine) {
    if let Err(findings) = machine.so_far() {
        panic!("{findings}");
    }
}

/// Fails unless `rule` is the first one broken.
pub(super) fn breaks(machine: &Machine, rule: Rule) {
    match machine.so_far() {
        Ok(()) => panic!("{rule} was not noticed"),
        Err(findings) => assert_eq!(findings.first.rule, rule, "{findings}"),
    }
}

/// One action of some CPU.
pub(super) type Step = fn(OnCpu<'_>);
pub(super) const BRANCH: Step = |cpu| cpu.branch();
pub(super) const ISB: Step = |cpu| cpu.isb();
pub(super) const DSB_ISH: Step = |cpu| cpu.dsb(Dsb::Ish);
pub(super) const DSB_ISHST: Step = |cpu| cpu.dsb(Dsb::Ishst);

/// Parks every CPU.
pub(super) fn park_all(machine: &Machine) {
    (0..machine.cpus()).for_each(|cpu| machine.cpu(cpu).park());
}
