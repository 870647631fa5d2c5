// SPDX-License-Identifier: MIT OR Apache-2.0
//! Another kernel's page-table code on the machine: the example `check_your_tables`, and which rule each of its mistakes breaks.

#[path = "../../examples/check_your_tables.rs"]
mod example;

use cleave::tables::VirtAddr;
use cleave_model::Rule;
use example::{ADDRESS, BLOCK, Modelled, entry, machine, split_and_use, unmap, unsplit};

/// Fails if a verdict looks at no more than the steps that were made: this kernel breaks no rule before a CPU uses the
/// page.
#[test]
fn another_kernels_unmap_without_a_tlbi_is_caught() {
    let machine = machine();
    unmap(&Modelled(machine.cpu(0)), entry());
    machine.so_far().unwrap();
    let violation = machine.verdict().unwrap_err().first;
    assert_eq!((violation.rule, violation.address), (Rule::MakeWithoutTlbi, Some(VirtAddr(ADDRESS))), "{violation}");
}

#[test]
fn another_kernels_split_passes_and_its_collapse_does_not() {
    let machine = machine();
    split_and_use(&machine);
    machine.verdict().unwrap();

    unsplit(&Modelled(machine.cpu(0)), entry(), BLOCK, ADDRESS);
    let violation = machine.verdict().unwrap_err().first;
    assert_eq!((violation.rule, violation.address), (Rule::TlbiCoverage, Some(VirtAddr(ADDRESS))), "{violation}");
}
