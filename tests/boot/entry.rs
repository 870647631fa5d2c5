//! The way in: where the image is loaded, and what happens without a device tree.

use crate::{
    elf::symbol,
    gdb::{Machine, PC},
    image::image,
    qemu::Boot,
    words::{PARK, reason},
};
use std::{
    env,
    io::Write,
    process::{Command, Stdio},
    thread::sleep,
    time::Duration,
};

/// QEMU's virt machine: where memory starts, and where its loader puts the tree of a machine with 128M or more.
const RAM: u64 = 0x4000_0000;
const TREE: u64 = 0x4800_0000;
/// Offset of the loads that are poked at.
const OFFSET: u64 = 0x20_0000;

/// The image runs from any page. An absolute address in the early code, or a load at a 2 MiB boundary taken for
/// granted, fails this.
#[test]
fn the_image_runs_from_any_page() {
    for offset in [0x1000, 0x8_0000, 0x8_1000, 0x20_0000, 0x3f_f000, 0x123_4000] {
        for el in [1, 2] {
            Boot::on("cortex-a72").smp(2).mem("128M").el(el).text_offset(offset).run().passed().split();
        }
    }
}

/// Starts at the image's first instruction with this in x0, after `poke`; the CPU must park with `expected`.
#[track_caller]
fn parks(x0: u64, el: u64, expected: [u8; 4], poke: impl FnOnce(&mut Machine)) {
    let boot = Boot::on("cortex-a72").smp(1).mem("256M").el(el).text_offset(OFFSET);
    let mut machine = Machine::halted(&boot);
    assert_eq!(machine.read(RAM + OFFSET + 56, 4), b"ARM\x64", "the image is not where it was asked to be");
    assert_eq!(machine.read(TREE, 4), [0xd0, 0x0d, 0xfe, 0xed], "the tree is not where QEMU used to put it");
    machine.set_register(0, x0);
    machine.set_register(PC, RAM + OFFSET);
    poke(&mut machine);
    let park = symbol(PARK);
    let physical = RAM + OFFSET + park.offset;
    let parked = machine.run_until(physical..physical + park.size);
    if let Err(pc) = parked {
        panic!("not parked at {physical:#x} but at {pc:#x}\n{}", machine.console());
    }
    let found = machine.register(0);
    let text = u32::try_from(found).unwrap_or_default().to_be_bytes();
    let console = machine.console();
    assert_eq!(text, expected, "reason {:?} ({found:#x})\n{console}", String::from_utf8_lossy(&text));
}

/// A loader without a device tree leaves 0 in x0. A check left out would read address 0, or run on with garbage.
#[test]
fn without_a_device_tree_the_cpu_parks_with_the_reason() {
    for el in [1, 2] {
        parks(0, el, reason::TREE_NONE, |_| ());
    }
}

/// x0 that cannot point at a tree, as the ATAG list at 0x100 is none.
#[test]
fn something_else_than_a_device_tree_parks_the_cpu_with_the_reason() {
    parks(TREE + 4, 1, reason::TREE_ALIGN, |_| ());
    parks(RAM + OFFSET, 1, reason::TREE_MAGIC, |_| ());
    parks(TREE, 2, reason::TREE_MAGIC, |machine| machine.write(TREE, b"\xd0\x0d\xfe\xee"));
}

/// A pointer to where nothing is faults before the MMU is on, and the early vectors say so.
#[test]
fn a_device_tree_in_nowhere_parks_the_cpu_with_the_fault() {
    // Above all memory, below the high redistributors and PCIe, which would answer.
    parks(0x20_0000_0000, 1, reason::FAULT_EL1, |_| ());
}

/// A tree that has the magic and is cut short, or claims to be endless, is refused once the kernel can look at all
/// of it: there is no console yet, so the CPU parks with the reason.
#[test]
fn a_malformed_device_tree_never_boots() {
    // totalsize is at offset 4, off_dt_struct at 8, off_dt_strings at 12, all big endian.
    for (at, value) in [(4, 0x28_u32), (4, 0xffff_ffff), (8, 0xffff_fff0), (12, 0x7fff_ffff)] {
        let boot = Boot::on("cortex-a72").smp(1).mem("256M").text_offset(OFFSET);
        let mut machine = Machine::halted(&boot);
        machine.set_register(0, TREE);
        machine.set_register(PC, RAM + OFFSET);
        machine.write(TREE + at, &value.to_be_bytes());
        let halted = machine.halts();
        assert!(halted, "offset {at} of the tree = {value:#x}: still running\n{}", machine.console());
        let found = u32::try_from(machine.register(0)).unwrap_or_default().to_be_bytes();
        assert_eq!(found, reason::TREE_MALFORMED, "offset {at} of the tree = {value:#x}\n{}", machine.console());
    }
}

/// What the loader put into memory for somebody is kept for somebody: it is reserved, and mapped like all memory. An
/// allocator that hands it out would let the load write to it.
#[test]
fn an_initrd_is_reserved_and_mapped() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/LICENSE-APACHE");
    let bytes = std::fs::metadata(file).expect("a file of some length").len();
    let run = Boot::on("cortex-a72").mem("128M").qemu(&format!("-initrd '{file}'")).run();
    run.passed().split();
    let lengths = run.list("/memory/reserved").iter().map(|range| {
        let [start, end] = [0, 1].map(|edge| range[edge].as_u64().expect("an address"));
        end - start
    });
    run.claim(lengths.into_iter().any(|length| length == bytes), "the initrd is not reserved");
}

/// A loader that leaves the CPU at EL3 has not done its part. A kernel that ran on would do so with the secure state's
/// registers unset; it parks with the reason.
#[test]
fn entry_at_el3_parks_the_cpu_with_the_reason() {
    // Without `-kernel`, and with EL3 there, QEMU starts the CPU at the image's first instruction at EL3.
    let loader = format!("loader,file={},addr=0x40200000,force-raw=on,cpu-num=0", image().display());
    let chosen = env::var_os("QEMU").filter(|path| !path.is_empty());
    let mut qemu = Command::new(chosen.unwrap_or_else(|| "qemu-system-aarch64".into()))
        .args(["-machine", "virt,secure=on,gic-version=3", "-cpu", "cortex-a72", "-m", "256M", "-nic", "none"])
        .args(["-display", "none", "-serial", "none", "-monitor", "stdio", "-device", &loader])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("QEMU starts");
    sleep(Duration::from_secs(2));
    let monitor = qemu.stdin.take().expect("a pipe");
    // QEMU ends with `quit`; should it not, closing the pipe and killing it below ends it.
    let asked = { &monitor }.write_all(b"info registers\nquit\n");
    sleep(Duration::from_secs(1));
    drop(monitor);
    let _ = qemu.kill();
    let output = qemu.wait_with_output().expect("QEMU's output");
    let text = String::from_utf8_lossy(&output.stdout);
    asked.expect("the monitor listens");
    let expected = format!("X00={:016x}", u32::from_be_bytes(reason::EL3));
    assert!(text.contains(&expected), "{expected} is not in\n{text}");
}
