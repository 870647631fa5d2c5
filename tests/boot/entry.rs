// SPDX-License-Identifier: MIT OR Apache-2.0
//! The way in: where the image is loaded, and what happens without a device tree.

use crate::{
    elf::symbol,
    gdb::{Machine, PC},
    image::image,
    inspect::Inspected,
    qemu::Boot,
    words::{PARK, PASS_LINE, reason},
};
use std::{fs, path::PathBuf};

/// QEMU's virt machine: where memory starts, and where its loader puts the tree of a machine with 128M or more.
pub(crate) const RAM: u64 = 0x4000_0000;
pub(crate) const TREE: u64 = 0x4800_0000;
/// Offset of the loads that are poked at.
pub(crate) const OFFSET: u64 = 0x20_0000;

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

/// The header, field by field, from Linux's arm64 booting document (section "Call the kernel image") and not from the
/// sources. QEMU looks at the magic and at text_offset; other loaders place the image by the rest.
#[test]
fn the_image_header_says_what_the_boot_protocol_asks_for() {
    let file = fs::read(image()).expect("the image under test");
    let field = |at: usize| u64::from_le_bytes(file[at..at + 8].try_into().expect("eight bytes"));
    // code0 is B, 0b000101 in bits 31 to 26: executed if the loader jumps to the first byte. No code1.
    assert_eq!((field(0) as u32 >> 26, field(0) >> 32), (0b00_0101, 0), "code0 and code1");
    assert_eq!(field(8), 0, "text_offset");
    assert_eq!(field(16), symbol("cleave_image_end").offset, "image_size");
    assert!(field(16) >= file.len() as u64, "image_size does not cover the file");
    // Bit 0: 0 for little endian. Bits 2:1: 1 for 4 KiB pages. Bit 3: 1 for anywhere in memory. The others are 0.
    assert_eq!(field(24), 0b1010, "flags");
    assert_eq!([field(32), field(40), field(48)], [0; 3], "res2 to res4");
    assert_eq!(&file[56..60], b"ARM\x64", "magic");
    // No PE header: nothing here is an EFI application.
    assert_eq!(&file[60..64], [0; 4], "res5");
}

/// Starts at the image's first instruction with this in x0, after `poke`; the CPU must park with `expected`.
#[track_caller]
fn parks(x0: u64, el: u64, expected: [u8; 4], poke: impl FnOnce(&mut Machine)) {
    let boot = Boot::on("cortex-a72").smp(1).mem("256M").el(el).text_offset(OFFSET);
    parks_at(&boot, RAM + OFFSET, x0, expected, poke);
}

/// The same for the image at `base`.
#[track_caller]
fn parks_at(boot: &Boot, base: u64, x0: u64, expected: [u8; 4], poke: impl FnOnce(&mut Machine)) {
    let mut machine = Machine::halted(boot);
    assert_eq!(machine.read(base + 56, 4), b"ARM\x64", "the image is not where it was asked to be");
    assert_eq!(machine.read(TREE, 4), [0xd0, 0x0d, 0xfe, 0xed], "the tree is not where QEMU used to put it");
    machine.set_register(0, x0);
    machine.set_register(PC, base);
    poke(&mut machine);
    let park = symbol(PARK);
    let physical = base + park.offset;
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
fn a_boot_without_a_device_tree_parks_with_the_reason() {
    parks(TREE + 4, 1, reason::TREE_ALIGN, |_| ());
    parks(RAM + OFFSET, 1, reason::TREE_MAGIC, |_| ());
    parks(TREE, 2, reason::TREE_MAGIC, |machine| machine.write(TREE, b"\xd0\x0d\xfe\xee"));
}

/// A core without 4 KiB pages cannot run this kernel. Without the check the MMU comes on with a granule it does not have.
#[test]
fn a_core_without_4_kib_pages_parks_with_the_reason() {
    for el in [1, 2] {
        parks(TREE, el, reason::GRANULE, |machine| machine.lacks_4_kib_pages(RAM + OFFSET));
    }
}

/// HCR_EL2.E2H is found by its effect. If it is 1, the other layouts of CPTR_EL2 and CNTHCTL_EL2 and the other name
/// of SCTLR_EL1 are used. No model of QEMU's has the bit stuck, so the answer of the probe is changed; the bit is writable,
/// so from there on the CPU is one with E2H = 1. Going by the register's content fails this. On the way the event stream:
/// EVNTEN, and events of 2^12 ticks, the power of two below 100 us of 62.5 MHz. Emulation shows no sleep without it.
#[test]
fn a_cpu_whose_e2h_is_stuck_at_1_boots() {
    const MRS_X1_FAR_EL1: u32 = 0xd538_6001;
    const MSR_ELR_EL2_X30: u32 = 0xd51c_403e;
    const MSR_CNTKCTL_EL1_X0: u32 = 0xd518_e100;
    const E2H: u64 = 1 << 34;
    let base = RAM + OFFSET;
    for (cpu, answer, e2h) in [("max,cntfrq=62500000", 2, E2H), ("cortex-a72", 1, 0)] {
        let boot = Boot::on(cpu).smp(1).mem("256M").el(2).text_offset(OFFSET);
        let mut machine = Machine::halted(&boot);
        machine.set_register(0, TREE);
        machine.set_register(PC, base);
        machine.run_to_code(base, "cleave_drop_to_el1", MRS_X1_FAR_EL1, 1);
        assert_eq!(machine.register(1), 1, "{cpu}: the probe finds E2H = 1 where it is 0");
        machine.set_register(1, answer);
        machine.run_to_code(base, "cleave_drop_to_el1", MSR_ELR_EL2_X30, 0);
        assert_eq!(machine.register(22), e2h, "{cpu}: what the probe found");
        machine.run_to_code(base, "cleave_init_el1", MSR_CNTKCTL_EL1_X0, 0);
        assert_eq!(machine.register(0), 1 << 2 | 11 << 4, "{cpu}: CNTKCTL_EL1");
        machine.runs_until_it_says(PASS_LINE);
    }
}

/// Off a page boundary every address the early code works out is wrong, those of its vectors too. At EL2 a Cortex-A72 looks
/// for the last-resort console first, where this machine has nothing: a fault of that look which is not caught runs wild.
#[test]
fn an_image_off_a_page_parks_the_cpu_with_the_reason() {
    for (el, off) in [(1, 0x804), (2, 0x4), (2, 0x200), (2, 0x604), (2, 0x7fc), (2, 0xffc)] {
        let base = 0x4400_0000 + off;
        let loader = format!("-device 'loader,file={},addr={base:#x},force-raw=on'", image().display());
        let boot = Boot::on("cortex-a72").smp(1).mem("256M").el(el).qemu(&loader);
        parks_at(&boot, base, TREE, reason::ALIGN, |_| ());
    }
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

/// Memory that the loader filled for another program is kept: reserved, mapped like all memory, and after the repaint and the
/// stress test unchanged, byte for byte, as QEMU sees memory when the machine has switched itself off. An allocator that
/// allocates it lets the stress test write to it.
#[test]
fn an_initrd_is_reserved_mapped_and_never_written() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/LICENSE-APACHE");
    let text = fs::read(file).expect("a file of some length");
    let bytes = text.len() as u64;
    let found = |reserved: &[serde_json::Value]| {
        let ranges = reserved.iter().map(|range| [0, 1].map(|edge| range[edge].as_u64().expect("an address")));
        ranges.into_iter().find(|[start, end]| end - start == bytes)
    };
    let run = Boot::on("cortex-a72").mem("128M").qemu(&format!("-initrd '{file}'")).run();
    run.passed().split();
    run.claim(found(run.list("/memory/reserved")).is_some(), "the initrd is not reserved");

    let mut machine = Inspected::start([
        // Switched off, QEMU stays, and memory with it.
        "-no-shutdown",
        "-machine",
        "virt,gic-version=3",
        "-cpu",
        "cortex-a72",
        "-smp",
        "4",
        "-m",
        "128M",
        "-initrd",
        file,
        "-append",
        "report=json",
        "-kernel",
        image().to_str().expect("a path in UTF-8"),
    ]);
    let line = machine.line("CLEAVE-REPORT ");
    let report: serde_json::Value = serde_json::from_str(&line["CLEAVE-REPORT ".len()..]).expect("a report");
    machine.line(PASS_LINE);
    assert_eq!(report["decision"]["outcome"], "done", "{report}");
    machine.shows("info status", "shutdown");
    let [start, _] = found(report["memory"]["reserved"].as_array().expect("a list")).expect("the initrd's range");
    let copy = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("initrd-{}.bin", std::process::id()));
    machine.ask(&format!("pmemsave {start:#x} {bytes:#x} \"{}\"", copy.display()));
    let kept = fs::read(&copy).expect("QEMU's copy of memory");
    let _ = fs::remove_file(&copy);
    let first = kept.iter().zip(&text).position(|(now, before)| now != before);
    assert!(kept.len() == text.len() && first.is_none(), "the initrd was written to, first at its byte {first:?}");
}

/// An SError that was pending when the kernel was entered is firmware's: named, and survived, by an ESB where there is FEAT_RAS
/// and as an exception where there is not. A kernel that unmasks SError before its console is silent here; one that takes the
/// error for its own panics.
///
/// The error is a virtual SError: as the kernel leaves EL2, HCR_EL2 gets VSE (bit 8), and AMO (bit 5) without which that is none.
#[test]
fn an_error_that_firmware_left_pending_is_named_and_survived() {
    const MSR_HCR_EL2: u32 = 0xd51c_1100;
    for cpu in ["cortex-a72", "max"] {
        let boot = Boot::on(cpu).smp(1).mem("128M").el(2).text_offset(OFFSET);
        let mut machine = Machine::halted(&boot);
        let base = RAM + OFFSET;
        let leaves = symbol("cleave_drop_to_el1");
        let code = machine.read(base + leaves.offset, leaves.size as usize);
        let words = code.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().expect("four bytes")));
        let mut writes = words.enumerate().filter(|(_, word)| word & !31 == MSR_HCR_EL2);
        let (at, word) = writes.next().expect("HCR_EL2 is not written");
        machine.run_to(base + leaves.offset + 4 * at as u64);
        let register = word & 31;
        let value = machine.register(register);
        machine.set_register(register, value | 1 << 8 | 1 << 5);
        let (status, console) = machine.finish();
        assert!(status == Some(0) && console.contains("left by firmware: 1 SError(s) pending"), "{cpu}\n{console}");
    }
}

/// A loader that leaves the CPU at EL3 has not done its part. A kernel that ran on would do so with the secure state's
/// registers unset; it parks with the reason.
#[test]
fn entry_at_el3_parks_the_cpu_with_the_reason() {
    // Without `-kernel`, and with EL3 there, QEMU starts the CPU at the image's first instruction at EL3.
    let loader = format!("loader,file={},addr=0x40200000,force-raw=on,cpu-num=0", image().display());
    let machine = ["-machine", "virt,secure=on,gic-version=3", "-cpu", "cortex-a72", "-m", "256M", "-device", &loader];
    let expected = format!("X00={:016x}", u32::from_be_bytes(reason::EL3));
    Inspected::start(machine).shows("info registers", &expected);
}
