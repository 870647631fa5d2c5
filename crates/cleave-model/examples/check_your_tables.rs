// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs a stranger's page-table code on the model: a split that is right, and two changes that are not.
//!
//! `cargo run -p cleave-model --example check_your_tables` prints what the model says of each. Replace the trait
//! [`Hardware`] and the three functions by your own; docs/abstract-machine.md of the repository explains each step.

use std::process::ExitCode;

use cleave::aarch64::BbmLevel;
use cleave::tables::{Descriptor, Geometry, PhysAddr, VirtAddr, slot};
use cleave_model::{Access, Config, Dsb, Findings, Flag, Machine, OnCpu, Outcome, Tlbi};

/// The hardware as this kernel sees it: a trait of its own, not the library's.
pub(crate) trait Hardware {
    fn write_entry(&self, at: u64, value: u64);
    fn dsb_ishst(&self);
    fn dsb_ish(&self);
    fn isb(&self);
    fn tlbi_vaae1is(&self, address: u64);
    fn tlbi_vaale1is(&self, address: u64);
}

/// Splits a block of 2 MiB by break-before-make.
pub(crate) fn split(hardware: &impl Hardware, entry: u64, block: u64, table: u64, address: u64) {
    for index in 0..512 {
        hardware.write_entry(table + 8 * index, (block + (index << 12)) | 0b10);
    }
    hardware.write_entry(entry, 0);
    hardware.dsb_ishst();
    hardware.tlbi_vaae1is(address);
    hardware.dsb_ish();
    hardware.write_entry(entry, table | 0b11);
    hardware.dsb_ishst();
    hardware.isb();
}

/// Joins the pages again, with a mistake: a table goes, and the TLBI is of the last level only. It leaves the table entry in the
/// walk caches.
pub(crate) fn unsplit(hardware: &impl Hardware, entry: u64, block: u64, address: u64) {
    hardware.write_entry(entry, 0);
    hardware.dsb_ishst();
    for page in 0..512 {
        hardware.tlbi_vaale1is(address + page * 0x1000);
    }
    hardware.dsb_ish();
    hardware.write_entry(entry, block);
    hardware.dsb_ishst();
    hardware.isb();
}

/// Unmaps, with a mistake: there is no TLBI at all.
pub(crate) fn unmap(hardware: &impl Hardware, entry: u64) {
    hardware.write_entry(entry, 0);
    hardware.dsb_ishst();
}

/// The trait, on a CPU of the model: all that has to be written.
pub(crate) struct Modelled<'a>(pub(crate) OnCpu<'a>);

impl Hardware for Modelled<'_> {
    fn write_entry(&self, at: u64, value: u64) {
        self.0.store(PhysAddr(at), Descriptor(value));
    }
    fn dsb_ishst(&self) {
        self.0.dsb(Dsb::Ishst);
    }
    fn dsb_ish(&self) {
        self.0.dsb(Dsb::Ish);
    }
    fn isb(&self) {
        self.0.isb();
    }
    fn tlbi_vaae1is(&self, address: u64) {
        self.0.tlbi(Tlbi::vaae1is(VirtAddr(address)));
    }
    fn tlbi_vaale1is(&self, address: u64) {
        self.0.tlbi(Tlbi::vaale1is(VirtAddr(address)));
    }
}

const ROOT: PhysAddr = PhysAddr(0x1000);
const L1: PhysAddr = PhysAddr(0x2000);
const L2: PhysAddr = PhysAddr(0x3000);
const NEW: u64 = 0x4000;
pub(crate) const BLOCK: u64 = 0x0060_0000_4020_0701;
pub(crate) const ADDRESS: u64 = 0xffff_0000_0020_0000;

/// Returns the physical address of the entry that maps [`ADDRESS`].
pub(crate) fn entry() -> u64 {
    slot(L2, 1).0
}

/// Returns a machine of two CPUs, one without FEAT_BBM and one of its level 2, that run on this kernel's tables: the state
/// before the code under test.
pub(crate) fn machine() -> Machine {
    let machine = Machine::new(Config::new(Geometry::K4_V48, &[BbmLevel::Zero, BbmLevel::Two]));
    // Three tables, one behind the other; the third has the block.
    let mut tables = [0; 3 * 512];
    tables[0] = Descriptor::table(L1).0;
    tables[512] = Descriptor::table(L2).0;
    tables[2 * 512 + 1] = BLOCK;
    machine.adopt(&[(ROOT, &tables)], ROOT);
    machine
}

/// Splits the block on CPU 0 and lets CPU 1 use one of the pages.
pub(crate) fn split_and_use(machine: &Machine) {
    split(&Modelled(machine.cpu(0)), entry(), BLOCK, NEW, ADDRESS);
    // CPU 1 learns of it as on the device: by a flag that it acquires, and it synchronises its context.
    machine.cpu(0).store_flag(7, Flag::Ordered);
    machine.cpu(1).load_flag(7, Flag::Ordered);
    machine.cpu(1).branch();
    machine.cpu(1).isb();
    let outcome = machine.cpu(1).access(VirtAddr(ADDRESS + 0x3000), Access::Store);
    assert_eq!(outcome, Outcome::Memory(PhysAddr(0x4020_3000)));
}

/// Prints what the model says of a run.
fn show(title: &str, verdict: &Result<(), Box<Findings>>) {
    println!("== {title}");
    match verdict {
        Ok(()) => println!("no rule broken, nothing old left in a TLB\n"),
        Err(findings) => println!("{findings}"),
    }
}

/// Runs the three on a machine each.
#[allow(dead_code, reason = "a test includes this file for the code above")]
fn main() -> ExitCode {
    let right = machine();
    split_and_use(&right);
    let right = right.verdict();
    show("split by break-before-make", &right);

    let joined = machine();
    split_and_use(&joined);
    unsplit(&Modelled(joined.cpu(0)), entry(), BLOCK, ADDRESS);
    let joined = joined.verdict();
    show("joined again, with TLBIs of the last level only", &joined);

    let unmapped = machine();
    unmap(&Modelled(unmapped.cpu(0)), entry());
    let unmapped = unmapped.verdict();
    show("unmapped without a TLBI", &unmapped);

    if right.is_ok() && joined.is_err() && unmapped.is_err() {
        println!("check_your_tables: the right code passed, both mistakes were found");
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
