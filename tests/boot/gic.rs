// SPDX-License-Identifier: MIT OR Apache-2.0
//! Interrupt controllers as firmware may leave them, and as they may fail. States that QEMU does not produce are
//! written through gdb before the kernel reads them.

use crate::{elf::symbol, gdb::Machine, qemu::Boot};

/// QEMU's virt machine: memory, its device tree, GICv2's and GICv3's distributor, GICv3's redistributors and their distance.
const RAM: u64 = 0x4000_0000;
const TREE: u64 = 0x4800_0000;
const GICD: u64 = 0x0800_0000;
const GICR: u64 = 0x080a_0000;
const STRIDE: u64 = 0x2_0000;
/// The load offset of the image.
const OFFSET: u64 = 0x20_0000;

/// Runs to the end, which must be the status, and returns the console.
#[track_caller]
fn ends(machine: Machine, status: i32) -> String {
    let (found, console) = machine.finish();
    assert_eq!(found, Some(status), "{console}");
    console
}

/// GICv4's redistributors have four frames, the others two. A walk that takes two for all finds no second CPU's.
#[test]
fn the_redistributors_of_a_gicv4_are_found() {
    let boot = Boot::on("cortex-a72").el(2).mem("128M").qemu("-machine gic-version=4");
    boot.run().passed().split();
}

/// A GICv2 whose private interrupts are all in group 1 and of the lowest priority, on the CPU that is started second: its calls
/// to the rendezvous arrive only if the kernel sets both. Either write left out ends in a rendezvous that is called off.
#[test]
fn a_gicv2s_groups_and_priorities_from_firmware_are_replaced() {
    let boot = Boot::on("cortex-a72").smp(2).mem("256M").gic(2).text_offset(OFFSET);
    let mut machine = Machine::halted(&boot);
    // GICD_IGROUPR0 and GICD_IPRIORITYR0 to 7 are banked: CPU 1 writes its own.
    machine.run_to(RAM + OFFSET + symbol("cleave_secondary_entry").offset);
    machine.store_device(GICD + 0x80, !0);
    for word in 0..8 {
        machine.store_device(GICD + 0x400 + 4 * word, !0);
    }
    let console = ends(machine, 0);
    assert!(console.contains("2 of 2 CPUs at work") && !console.contains("did not answer"), "{console}");
}

/// The same for a GICv3, whose LPIs are on besides: they are switched off, and named. With LPIs on the GIC goes on writing to
/// memory that is free to the kernel.
#[test]
fn a_gicv3s_priorities_and_lpis_from_firmware_are_replaced() {
    let boot = Boot::on("cortex-a72").smp(2).mem("256M").text_offset(OFFSET);
    let mut machine = Machine::halted(&boot);
    let redistributor = GICR + STRIDE;
    for word in 0..8 {
        machine.store_device(redistributor + 0x1_0400 + 4 * word, !0);
    }
    // GICR_PROPBASER, 16 bits of numbers, GICR_PENDBASER, and GICR_CTLR.EnableLPIs.
    for (offset, value) in [(0x70, 0x4700_000f), (0x78, 0x4710_0000), (0, 1)] {
        machine.store_device(redistributor + offset, value);
    }
    let console = ends(machine, 0);
    assert!(console.contains("left by firmware: LPIs of CPU 0x1 were on, and are off now"), "{console}");
    assert!(!console.contains("LPIs of CPU 0x0"), "{console}");
}

/// Registers of a redistributor that stays as it is: the device tree has flash where the redistributors should be, and flash
/// takes no store. The console, after the panic that must be the end.
fn stuck(control: u32, waker: u32) -> String {
    const FLASH: u64 = 0x0400_0000;
    let boot = Boot::on("cortex-a72").smp(1).mem("256M").text_offset(OFFSET);
    let mut machine = Machine::halted(&boot);
    // In a `reg`: two cells of the address, big endian.
    let (there, here) = (GICR.to_be_bytes(), FLASH.to_be_bytes());
    let tree: Vec<u8> = (0..16).flat_map(|chunk| machine.read(TREE + 1024 * chunk, 1024)).collect();
    let at = tree.windows(8).position(|bytes| bytes == there).expect("the redistributors' address in the tree");
    machine.write(TREE + at as u64, &here);
    // GICR_TYPER: the last one, affinity 0. GICR_PIDR2: GICv3.
    let registers = [(0, control), (0x8, 1 << 4), (0xc, 0), (0x14, waker), (0x70, 0x4700_000f), (0x74, 0)];
    for (offset, value) in registers.into_iter().chain([(0x78, 0x4710_0000), (0x7c, 0), (0xffe8, 0x3b)]) {
        machine.write(FLASH + offset, &value.to_le_bytes());
    }
    ends(machine, 3)
}

/// A redistributor without power never wakes up, and its LPIs may be there to stay. Both are named; a wait without a bound ends
/// here in a timeout.
#[test]
fn a_redistributor_that_does_not_wake_up_is_named() {
    // GICR_CTLR.EnableLPIs; GICR_WAKER.ChildrenAsleep and ProcessorSleep.
    let console = stuck(1, 0b110);
    assert!(console.contains("the GICv3 redistributor of CPU 0x0 does not wake up (GICR_WAKER"), "{console}");
    assert!(console.contains("LPIs of CPU 0x0 are on and cannot be switched off"), "{console}");
    let tables = "0x47000000 to 0x4700e000 (GICR_PROPBASER) and writes 0x47100000 to 0x47102000 (GICR_PENDBASER)";
    assert!(console.contains(tables), "{console}");
}

/// As above for a write that is never in effect.
#[test]
fn a_redistributor_that_does_not_finish_a_write_is_named() {
    // GICR_CTLR.RWP.
    let console = stuck(1 << 3, 0);
    assert!(console.contains("the GICv3 does not finish a write (GICR_CTLR.RWP stays set)"), "{console}");
}
