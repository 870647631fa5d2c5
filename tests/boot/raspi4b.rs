// SPDX-License-Identifier: MIT OR Apache-2.0
//! The Raspberry Pi 4: four Cortex-A72 without FEAT_BBM, a GIC-400, memory in pieces.
//!
//! Started by a spin-table as from its own firmware, or over TF-A's BL31, with the device tree of the real board and
//! with the least there can be. QEMU's machine shows neither its caches nor its timing: docs/hardware.md.

use crate::gdb::{Machine, PC};
use crate::image::{ROOT, image};
use crate::inspect::Inspected;
use crate::qemu::Board::{SpinTable, Tfa};
use crate::qemu::Boot;
use crate::words::PASS_LINE;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Begins the line of the last-resort console.
const LAST_RESORT: &str = "cleave: PANIC before there was a console: ";
/// The address at which QEMU loads the image.
const IMAGE: u64 = 0x20_0000;
/// The offset in the image's header at which it names its board, and the name (boot/head.S).
const MARK_AT: u64 = 32;
const MARK: &[u8; 4] = b"RPI4";

/// Both trees, both fills, both images' places. A release word that is not written, cleaned or mapped, a record that is
/// not found by its MPIDR, or a GIC that is driven as secure fails these; so does a tree with `ranges` left out.
#[test]
fn the_spin_table_starts_four_cpus_that_repaint() {
    for (tree, word, place) in [("board", "selftest", 0x20_0000), ("minimal", "fill=window", 0x8_0000)] {
        let run = Boot::on_raspi4b(SpinTable, tree).word(word).text_offset(place).run();
        run.passed().split();
        run.claim(run.number("/decision/level") == 0, "a Cortex-A72 has no level of FEAT_BBM");
        // QEMU's register reads 0; that it was read, on every CPU, is the claim.
        let read = run.list("/cpus").iter().all(|cpu| cpu["smpen"].is_boolean());
        run.claim(read, "SMPEN was not read on every CPU");
        // QEMU leaves the UART off, and answers the mailbox. The minimal tree names neither pins nor clock.
        let asked = run.console.contains("console: set up by the kernel, its clock has 3000000 Hz");
        run.claim(asked == (tree == "board"), "the firmware was not asked for the UART's clock");
    }
}

/// Over the firmware's own EL3: SMC, CPU_ON, and SYSTEM_OFF as the end, by which QEMU's status is 0 without
/// semihosting. A GIC driven as if it had no security extensions fails these.
#[test]
fn tf_a_starts_four_cpus_that_repaint_and_turns_the_board_off() {
    for (tree, word, place) in [("board", "fill=window", 0x8_0000), ("minimal", "selftest", 0x20_0000)] {
        let run = Boot::on_raspi4b(Tfa, tree).word(word).text_offset(place).run();
        run.passed().split();
        run.claim(!run.console.contains("semihosting"), "semihosting was asked for");
    }
}

/// As many CPUs as the tree lists, and no other is let go.
#[test]
fn a_tree_with_fewer_cpus_gets_so_many() {
    for (cpus, board) in [(1, SpinTable), (2, Tfa), (3, SpinTable)] {
        let run = Boot::on_raspi4b(board, "minimal").smp(cpus).run();
        run.passed().split();
    }
}

/// The second GiB is a piece of its own, with the VideoCore's share between it and the first.
#[test]
fn two_gib_are_two_pieces() {
    for (board, first) in [(SpinTable, 0x3c00_0000_u64), (Tfa, 0x3b40_0000)] {
        let run = Boot::on_raspi4b(board, "board").mem("2G").run();
        run.passed().split();
        let regions = run.list("/memory/regions");
        run.claim(regions.len() == 2 && regions[0][1] == first, "the pieces are others");
        run.claim(regions[1] == serde_json::json!([0x4000_0000_u64, 0x8000_0000_u64]), "the second GiB is another");
    }
}

/// The page of the release words is mapped, or they could not be written, and never given away.
#[test]
fn the_release_words_are_reserved() {
    let run = Boot::on_raspi4b(SpinTable, "minimal").smp(2).run();
    run.passed();
    let covers = |name: &str, address: u64| {
        run.list(name).iter().any(|range| range[0].as_u64() <= Some(address) && Some(address) < range[1].as_u64())
    };
    run.claim(covers("/memory/regions", 0xe0), "the release words are not mapped");
    run.claim(covers("/memory/reserved", 0xe0), "the release words are free memory");
}

/// Release words that cannot be written are their CPU's error, and the others work. Writing them all the same faults, or
/// hits what the firmware keeps.
#[test]
fn a_release_word_that_cannot_be_written_costs_its_cpu_alone() {
    let source = fs::read_to_string(Path::new(ROOT).join("scripts/rpi4/minimal.dts")).expect("the minimal tree");
    let source =
        source.replace("/bits/ 64 <0xe8>", "/bits/ 64 <0xec>").replace("/bits/ 64 <0xf0>", "/bits/ 64 <0x3e000000>");
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("release-words.dts");
    fs::write(&path, source).expect("a file for the tree");
    let run = Boot::on_raspi4b(SpinTable, path.to_str().expect("a path in UTF-8")).run();
    run.survived().split();
    for (cpu, why) in [(2, "no multiple of 8"), (3, "not in memory that may be mapped")] {
        run.claim(run.error_says(&format!("CPU {cpu}: its release address")), format_args!("CPU {cpu} is not named"));
        run.claim(run.error_says(why), format_args!("no error says {why:?}"));
    }
    let online = run.list("/cpus").iter().filter(|cpu| cpu["online"] == true).count();
    run.claim(online == 2, "two of four CPUs can be started");
}

/// A disabled CPU waits for its release word like any other; one that failed is left alone, in the report with the reason,
/// and the one behind it has the next number. Two more holes in memory than a list can hold cost the two smallest gaps
/// between them, and one piece that is too many; the bytes are named. Leaving out both CPUs, starting both, or a panic over a
/// full list fails this.
#[test]
fn failed_cpus_and_excess_memory_pieces_are_left_out_and_named() {
    let (first, apart, hole, holes) = (0x2000_0000_u64, 0x10_0000_u64, 0x1000_u64, 66);
    let children = (0..holes).map(|n| {
        let start = first + n * apart;
        format!("hole@{start:x} {{ reg = <0 {start:#x} {hole:#x}>; no-map; }};\n")
    });
    let nodes: String = children.collect();
    let reserved = format!("reserved-memory {{ #address-cells = <2>; #size-cells = <1>; ranges;\n{nodes} }};\n");
    let source = fs::read_to_string(Path::new(ROOT).join("scripts/rpi4/minimal.dts")).expect("the minimal tree");
    let source = source
        .replacen("cpus {", &format!("{reserved}\tcpus {{"), 1)
        .replace("reg = <1>;", "reg = <1>; status = \"disabled\";")
        .replace("reg = <2>;", "reg = <2>; status = \"fail\";");
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("left-out.dts");
    fs::write(&path, source).expect("a file for the tree");
    let boot = Boot::on_raspi4b(SpinTable, path.to_str().expect("a path in UTF-8")).unusable(2);
    let run = boot.unmapped(holes * hole + 3 * (apart - hole)).run();
    run.survived().split();
    let online: Vec<_> = run.list("/cpus").iter().map(|cpu| cpu["online"] == true).collect();
    run.claim(online == [true, true, false, true], "other CPUs are online");
    run.claim(run.error_says("CPU 2: the device tree gives it the status fail"), "the status is not named");
    run.claim(run.list("/memory/regions").len() == 64, "not as many pieces as there is room for");
    run.claim(run.error_says("bytes are not used: it is in more than 64 pieces"), "what is lost is not named");
}

/// A board has no debugger that takes a semihosting call: unless the runner asks for one the verdict is printed, and
/// the CPUs sleep. A call made unasked ends QEMU, where this one has to be stopped.
#[test]
fn without_psci_the_end_is_a_verdict_and_sleep() {
    let mut command = Boot::on_raspi4b(SpinTable, "minimal").runner();
    command.args(["--timeout", "12"]).arg(image()).args(["--raw-args", "-append", "load=on"]);
    let output = command.output().expect("scripts/qemu starts");
    let console = String::from_utf8_lossy(&output.stdout);
    assert!(console.lines().any(|line| line == PASS_LINE), "{console}");
    assert!(console.contains("no verdict: timeout"), "{console}");
}

/// QEMU's firmware leaves UART and pins as reset does. The kernel gives the pins of the tree's `pinctrl-0`, 30 to 33, their
/// function, 7, and divides the clock of 3 MHz for 115200 baud: seen by the monitor of QEMU in the registers.
#[test]
fn a_uart_that_firmware_left_off_is_set_up() {
    let image = image().to_str().expect("a path in UTF-8");
    let tree = ".cache/rpi4/bcm2711-rpi-4-b.dtb";
    let mut machine = Inspected::start(["-machine", "raspi4b", "-dtb", tree, "-append", "load=off", "-kernel", image]);
    // GPFSEL3; then UARTIBRD, UARTFBRD (1 + 40/64), UARTLCR_H, UARTCR.
    machine.shows("xp /1wx 0xfe20000c", "00000000fe20000c: 0x00000fff");
    machine.shows("xp /4wx 0xfe201024", "00000000fe201024: 0x00000001 0x00000028 0x00000070 0x00000301");
}

/// Returns the console's text once the machine, started with this in x0 after `poke`, sleeps for ever.
fn last_words(x0: u64, poke: impl FnOnce(&mut Machine)) -> String {
    last_words_at(&Boot::on_raspi4b(SpinTable, "none"), IMAGE, x0, poke)
}

/// The same for the image at `base`.
fn last_words_at(boot: &Boot, base: u64, x0: u64, poke: impl FnOnce(&mut Machine)) -> String {
    let mut machine = Machine::halted(boot);
    machine.set_register(0, x0);
    machine.set_register(PC, base);
    poke(&mut machine);
    let halted = machine.halts();
    assert!(halted, "still running\n{}", machine.console());
    machine.console()
}

/// Only this board prints the reason of a CPU that cannot continue before a console exists, with the image at a page boundary
/// or off one. A reason that is only in x0 is silence here.
#[test]
fn the_board_prints_why_it_parks_before_it_has_a_console() {
    let granule = last_words(0x100, |machine| machine.lacks_4_kib_pages(IMAGE));
    assert!(granule.contains(&format!("{LAST_RESORT}GRAN")), "{granule}");
    let base = 0x100_0804;
    let loader = format!("-device 'loader,file={},addr={base:#x},force-raw=on'", image().display());
    // The runner marks what it loads itself.
    let marked = |machine: &mut Machine| machine.write(base + MARK_AT, MARK);
    let align = last_words_at(&Boot::on_raspi4b(SpinTable, "none").qemu(&loader), base, 0x100, marked);
    assert!(align.contains(&format!("{LAST_RESORT}ALGN")), "{align}");
}

/// QEMU's ATAG list without `-dtb`, and other data that is no tree, are named on the board's own UART although no tree gives
/// its address. A last-resort console left out is silence.
#[test]
fn without_a_device_tree_the_board_says_so() {
    let atags = last_words(0x100, |_| ());
    assert!(atags.contains(LAST_RESORT) && atags.contains("DTBM") && atags.contains("ATAG list"), "{atags}");
    assert!(atags.contains("x0 = 0x0000000000000100"), "{atags}");
    let nothing = last_words(0, |_| ());
    assert!(nothing.contains("DTB0, no device tree came") && !nothing.contains("ATAG"), "{nothing}");
}

/// Another chip with a Cortex-A72 may have memory, or a bus that never answers, where this board has its UART. An image that
/// was not made for the board reads nothing there, before the MMU is on and after: one that does says something here.
#[test]
fn an_image_for_another_machine_does_not_read_the_boards_uart() {
    let unmarked = |machine: &mut Machine| machine.write(IMAGE + MARK_AT, &[0; MARK.len()]);
    let early = last_words(0x100, unmarked);
    let late = last_words(0x800_0000, |machine| {
        unmarked(machine);
        machine.write(0x800_0000, MALFORMED);
    });
    for said in [early, late] {
        assert!(!said.contains("cleave: PANIC"), "{said}");
    }
}

/// The magic and the size of a tree.
const MALFORMED: &[u8; 8] = b"\xd0\x0d\xfe\xed\0\0\0\x28";

/// A tree that has the magic and nothing behind it: the MMU is on by the time it is found out.
#[test]
fn a_malformed_device_tree_is_named_on_the_board() {
    let said = last_words(0x800_0000, |machine| machine.write(0x800_0000, MALFORMED));
    assert!(said.contains("cleave: PANIC the device tree is not usable"), "{said}");
}
