// SPDX-License-Identifier: MIT OR Apache-2.0
//! Another kernel's page-table code on the machine: how little it takes. docs/abstract-machine.md tells the same at length.

use cleave::aarch64::BbmLevel;
use cleave::tables::{Descriptor, Geometry, PhysAddr, VirtAddr, slot};
use cleave_model::{Access, Config, Dsb, Flag, Machine, OnCpu, Outcome, Rule, Tlbi};

/// What that kernel asks of its hardware: a seam of its own, not this library's.
trait Hardware {
    fn write_entry(&self, at: u64, value: u64);
    fn dsb_ishst(&self);
    fn dsb_ish(&self);
    fn isb(&self);
    fn tlbi_vaae1is(&self, address: u64);
    fn tlbi_vaale1is(&self, address: u64);
}

/// Its code: splits a block of 2 MiB by break-before-make.
fn split(hardware: &impl Hardware, entry: u64, block: u64, table: u64, address: u64) {
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

/// Its code with a mistake: it takes the table away again and invalidates the last level only.
fn unsplit(hardware: &impl Hardware, entry: u64, block: u64, address: u64) {
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

/// The seam, on a CPU of the machine.
struct Modelled<'a>(OnCpu<'a>);

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
const BLOCK: u64 = 0x0060_0000_4020_0701;
const ADDRESS: u64 = 0xffff_0000_0020_0000;

fn machine() -> Machine {
    let machine = Machine::new(Config::new(Geometry::K4_V48, &[BbmLevel::Zero, BbmLevel::Two]));
    // The kernel's three tables, one behind the other.
    let mut tables = [0; 3 * 512];
    tables[0] = Descriptor::table(L1).0;
    tables[512] = Descriptor::table(L2).0;
    tables[2 * 512 + 1] = BLOCK;
    machine.adopt(&[(ROOT, &tables)], ROOT);
    machine
}

/// Fails if a verdict looks at no more than the steps that were made: this one breaks nothing before somebody uses the page.
#[test]
fn its_unmap_without_an_invalidation_is_no_good_end() {
    let machine = machine();
    let hardware = Modelled(machine.cpu(0));
    hardware.write_entry(slot(L2, 1).0, 0);
    hardware.dsb_ishst();
    machine.so_far().unwrap();
    let violation = machine.verdict().unwrap_err().first;
    assert_eq!((violation.rule, violation.address), (Rule::M3, Some(VirtAddr(ADDRESS))), "{violation}");
}

#[test]
fn its_split_is_right_and_its_reverse_is_not() {
    let machine = machine();
    let entry = slot(L2, 1).0;
    split(&Modelled(machine.cpu(0)), entry, BLOCK, NEW, ADDRESS);
    // The other CPU hears of it, and goes on.
    machine.cpu(0).store_flag(7, Flag::Ordered);
    machine.cpu(1).load_flag(7, Flag::Ordered);
    machine.cpu(1).branch();
    machine.cpu(1).isb();
    let outcome = machine.cpu(1).access(VirtAddr(ADDRESS + 0x3000), Access::Store);
    assert_eq!(outcome, Outcome::Memory(PhysAddr(0x4020_3000)));
    machine.verdict().unwrap();

    unsplit(&Modelled(machine.cpu(0)), entry, BLOCK, ADDRESS);
    let violation = machine.verdict().unwrap_err().first;
    assert_eq!((violation.rule, violation.address), (Rule::M5, Some(VirtAddr(ADDRESS))), "{violation}");
}
