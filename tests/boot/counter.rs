// SPDX-License-Identifier: MIT OR Apache-2.0
//! Firmware that leaves CNTFRQ_EL0 wrong. A few instructions in front of the image do what such firmware does: at EL1, where
//! there is no level above, the register can be written.

use crate::{
    entry::{OFFSET, RAM, TREE},
    gdb::{Machine, PC},
    qemu::Boot,
    words::{PANIC_LINE, PASS_LINE},
};

/// A machine whose boot CPU finds this in CNTFRQ_EL0; that of every other CPU is QEMU's, 62.5 MHz.
fn with_cntfrq(smp: u64, hertz: u64) -> Machine {
    const MSR_CNTFRQ_EL0_X1: u32 = 0xd51b_e001;
    const BR_X2: u32 = 0xd61f_0040;
    let firmware = RAM + 0x1000;
    let mut machine = Machine::halted(&Boot::on("cortex-a72").smp(smp).mem("256M").text_offset(OFFSET));
    machine.write(firmware, &[MSR_CNTFRQ_EL0_X1, BR_X2].map(u32::to_le_bytes).concat());
    machine.set_register(0, TREE);
    machine.set_register(1, hertz);
    machine.set_register(2, RAM + OFFSET);
    machine.set_register(PC, firmware);
    machine
}

/// Puts `clock-frequency` into the tree's timer, where QEMU has no such property: in the place of the second of two
/// `compatible` strings, which is as long as a property of one cell.
fn state_frequency(machine: &mut Machine, hertz: u32) {
    const FDT_PROP: u32 = 3;
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().expect("a cell"));
    let header = machine.read(TREE, 40);
    let field = |at: usize| number(&header[at..at + 4]) as usize;
    let mut block = |offset: usize, size: usize| {
        // A packet of QEMU's holds half a page.
        let part = |at: usize| machine.read(TREE + (offset + at) as u64, 1024.min(size - at));
        (0..size).step_by(1024).flat_map(part).collect::<Vec<u8>>()
    };
    // off_dt_struct and size_dt_struct, off_dt_strings and size_dt_strings.
    let (structure, strings) = (block(field(8), field(36)), block(field(12), field(32)));
    let find = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).position(|found| found == what);
    let compatible = find(&structure, b"arm,armv8-timer\0arm,armv7-timer\0").expect("the timer's strings");
    let name = find(&strings, b"\0clock-frequency\0").expect("a name of QEMU's UART clock") as u32 + 1;
    let length = compatible - 8;
    assert_eq!(number(&structure[length..length + 4]), 32, "the length of compatible");
    let at = TREE + field(8) as u64;
    machine.write(at + length as u64, &16_u32.to_be_bytes());
    let property = [FDT_PROP, 4, name, hertz].map(u32::to_be_bytes).concat();
    machine.write(at + compatible as u64 + 16, &property);
}

/// Without a frequency every wait would end at once, and every CPU would be called one that does not come.
#[test]
fn a_machine_without_a_counter_frequency_panics_with_the_reason() {
    let mut machine = with_cntfrq(1, 0);
    machine.runs_until_it_says("firmware left CNTFRQ_EL0 at 0");
    let console = machine.console();
    assert!(console.contains(PANIC_LINE) && !console.contains("did not check in"), "{console}");
}

/// The tree's number is used where firmware left none, and each CPU with another note is named. A frequency taken from
/// whichever CPU asks, or a comparison of the boot CPU alone, fails this.
#[test]
fn the_trees_frequency_is_used_where_firmware_left_none() {
    let mut machine = with_cntfrq(2, 0);
    state_frequency(&mut machine, 50_000_000);
    machine.runs_until_it_says(PASS_LINE);
    let console = machine.console();
    for (cpu, noted) in [(0, 0), (1, 62_500_000)] {
        let text =
            format!("CPU {cpu}: firmware left CNTFRQ_EL0 at {noted}; the frequency used on every CPU is 50000000 Hz");
        assert!(console.contains(&text), "no {text:?} in\n{console}");
    }
}

/// Without the tree's number the boot CPU's holds for all.
#[test]
fn a_cpu_with_another_counter_frequency_is_named() {
    let mut machine = with_cntfrq(2, 31_250_000);
    machine.runs_until_it_says(PASS_LINE);
    let console = machine.console();
    let text = "CPU 1: firmware left CNTFRQ_EL0 at 62500000; the frequency used on every CPU is 31250000 Hz";
    assert!(console.contains(text) && !console.contains("CPU 0: firmware left"), "{console}");
}
