// SPDX-License-Identifier: MIT OR Apache-2.0
//! gdb on a running machine: `scripts/gdb/cleave.py` in `gdb-multiarch -batch`, as `make debug` starts it.

use crate::{
    image::{ROOT, symbols},
    qemu::{Board, Boot},
    words::fault,
};
use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

/// A session: gdb's commands, and what both sides said.
pub(crate) struct Session {
    /// The output of gdb.
    pub(crate) text: String,
}

impl Session {
    /// Boots halted by `scripts/debug`, the program behind `make debug`, and gives gdb these commands.
    #[track_caller]
    pub(crate) fn of(boot: &Boot, commands: &[&str]) -> Self {
        // Free now; were it taken before QEMU has it, the connection would fail, not the wrong machine answer.
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
        let console = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("gdb-console-{}.txt", port.port()));
        let mut command = Command::new("timeout");
        command.args(["60", "scripts/debug"]).arg(symbols()).args(["-nx", "-batch"]);
        command.args(commands.iter().flat_map(|command| ["-ex", command])).args(["-ex", "kill"]);
        command.current_dir(ROOT).stdin(Stdio::null());
        boot.environment(&mut command);
        command.env("GDB_PORT", port.port().to_string()).env("CLEAVE_CONSOLE", &console).env_remove("GDB");
        let output = command.output().expect("scripts/debug starts");
        let parts = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let kernel = fs::read_to_string(&console).unwrap_or_default();
        let _ = fs::remove_file(&console);
        let text = parts.concat();
        assert!(output.status.success(), "{}\n{text}\n{kernel}", output.status);
        Self { text }
    }

    /// Fails the test, with the whole session, unless these texts are in it, one behind the other.
    #[track_caller]
    pub(crate) fn has(&self, wanted: &[&str]) {
        let mut rest = self.text.as_str();
        for part in wanted {
            let found = rest.find(part);
            assert!(found.is_some(), "no {part:?} (behind what comes before it in {wanted:?}) in\n{}", self.text);
            rest = &rest[found.unwrap_or_default() + part.len()..];
        }
    }
}

/// Names and source lines in the physical half, with the MMU off, and in the virtual one; a stop in the window with the
/// way there. Symbols at one half only, or a label that the optimiser has thrown away, fail this.
#[test]
fn gdb_knows_both_halves_and_stops_in_the_window() {
    let boot = Boot::on("cortex-a72").mem("256M");
    let session = Session::of(
        &boot,
        &[
            "break _start",
            "continue",
            "info symbol $pc",
            "break kernel_main",
            "continue",
            "bt",
            "cleave break window",
            "continue",
            "bt",
        ],
    );
    session.has(&[
        "(2 locations)",
        "in _start ()",
        "boot/head.S:",
        ": _start: b       cleave_primary",
        "_start in section .text",
        "hit Breakpoint 2",
        " at ",
        "cleave::kernel_main (tree=",
        " at src/main.rs:",
        "hit Breakpoint 3, ",
        "in cleave_window ()",
        " cleave::mm::repaint::",
        " cleave::kernel_main (",
    ]);
}

/// An address of the linear map that every machine here has, away from the image's alias.
const PLAIN: &str = "cleave pt 0xffff000048001234";

/// Reading tables and state by physical address with the MMU off, when nothing is there yet. A command that reads by
/// virtual address fails this.
#[test]
fn gdb_reads_the_kernels_state_before_the_mmu_is_on() {
    let looks = [
        "cleave cpus",
        PLAIN,
        "cleave map",
        "cleave rendezvous",
        "cleave timeline",
        "cleave frames",
        "cleave pt 0x1000",
    ];
    let session = Session::of(&Boot::on("cortex-a72").mem("256M"), &looks);
    session.has(&[
        "CPU  thread  state       EL  parked  function",
        "booting      1  no      0x40000000",
        "off ",
        "0xffff000048001234: the linear map; root 0x",
        "(cleave_root, the MMU is off)",
        "nothing",
        "not mapped",
        "TTBR1: root 0x",
        "nothing is mapped",
        "rendezvous 0: Idle",
        "no rendezvous has taken place yet",
        "there is no frame allocator yet",
        "no TTBR0 table: the MMU is off",
    ]);
}

/// The window from its beginning to its end: every CPU parked, the map in blocks, then broken, then in pages. Reading
/// through the map that is being looked at fails this, and so does a state word that is taken apart wrongly.
#[test]
fn gdb_sees_the_map_whole_broken_and_whole_again() {
    let session = Session::of(
        &Boot::on("cortex-a72"),
        &[
            "cleave break window",
            "continue",
            "cleave cpus",
            "cleave rendezvous",
            PLAIN,
            "cleave map",
            "cleave frames",
            "set language c",
            "watch *(unsigned long *) &cleave_root",
            "continue",
            PLAIN,
            "delete",
            "cleave break release",
            "continue",
            "cleave rendezvous",
            PLAIN,
            "cleave map ttbr1",
            "cleave timeline",
        ],
    );
    session.has(&[
        "in cleave_window ()",
        "  0       1  online       1  parked  cleave_window",
        "  1       2  online       1  parked  cleave::",
        "  3       4  online       1  parked  cleave::",
        ": Run",
        "CPUs that have not arrived: 0",
        "CPU 3: in, has arrived in this one",
        "(TTBR1_EL1)",
        "L2 [ 64] ",
        "block 2M -> 0x48000000 normal rw PXN UXN AF inner contiguous",
        "-> 0x48001234",
        "TTBR0: root 0x",
        "nothing is mapped",
        "TTBR1: root 0x",
        "xcont2M  rw- normal",
        "the linear map",
        "r-x normal",
        "the kernel image (Text)",
        "the thread stack of CPU 3",
        "rw- device",
        "the device area",
        "the heap",
        "frames free",
        "Hardware watchpoint",
        "New value = 0",
        "L0 [  0] ",
        "0x0000000000000000  nothing",
        "not mapped",
        "in cleave_release ()",
        ": Release",
        "CPUs that have not left: ",
        "L3 [  1] ",
        "page 4K -> 0x48001000 normal rw PXN UXN AF inner",
        "-> 0x48001234",
        "x4K      rw- normal        -> 0x0040",
        "called at ",
        "  3 ",
    ]);
    let after = session.text.rsplit("TTBR1: root").next().unwrap_or_default();
    assert!(!after.contains("cont2M"), "a block is left in the linear map:\n{}", session.text);
    assert!(!session.text.contains("W+X!"), "{}", session.text);
}

/// Every command says what it is for, how it is used, and gives an example; wrong uses say what is right.
#[test]
fn the_help_of_gdbs_commands_is_complete() {
    let names = ["connect", "symbols", "break", "pt", "map", "cpus", "change", "rendezvous", "timeline", "frames"];
    let each: Vec<String> = names.iter().map(|name| format!("help cleave {name}")).collect();
    let wrong =
        ["cleave break nowhere", "cleave pt", "cleave pt 0x1000000000000000", "cleave map left", "cleave cpus 7"];
    let commands: Vec<&str> = ["help cleave"].into_iter().chain(each.iter().map(String::as_str)).chain(wrong).collect();
    let session = Session::of(&Boot::on("cortex-a72").mem("256M"), &commands);
    for name in names {
        session.has(&[&format!("\ncleave {name}"), "List of cleave subcommands:", &format!("\ncleave {name} --")]);
        session.has(&[&format!("Example: cleave {name}")]);
    }
    // What gdb has registered is what the list above was made of.
    let listed = session.text.matches(" -- cleave ").count();
    assert_eq!(listed, names.len(), "a command is not in this test:\n{}", session.text);
    session.has(&[
        "no symbol nowhere in this image",
        "usage: cleave pt VA",
        "is in neither half",
        "usage: cleave map [ttbr0|ttbr1]",
        "usage: cleave cpus",
    ]);
}

/// A change that stops every CPU, before it and in its stop window; the page is whole, then gone. Fails when the leader does not
/// record what it does, or when a change that is over is still shown.
#[test]
fn gdb_sees_a_change_under_way() {
    let boot = Boot::on("cortex-a72").mem("256M").word("linear=block").fault(fault::STALE_FAULT);
    let commands = [
        "cleave break main",
        "continue",
        "cleave change",
        "cleave break change",
        "continue",
        "cleave change",
        "cleave break window",
        "continue",
        "cleave change",
        "delete",
        "cleave break change",
        "continue",
        "cleave change",
    ];
    Session::of(&boot, &commands).has(&[
        "no change of the linear map is under way",
        "in cleave_change ()",
        "unmap of 0x",
        " (4 KiB), by CPU 0",
        "tables reserved: ",
        "no rendezvous yet",
        "in cleave_window ()",
        "unmap of 0x",
        "with every CPU stopped: attempt 1, rendezvous ",
        ": Run, 0 missing",
        "in cleave_change ()",
        "map of 0x",
        "tables reserved: 0",
        "no rendezvous yet",
    ]);
}

/// The kernel's own types are printed as what they mean.
#[test]
fn gdb_prints_addresses_descriptors_and_attributes() {
    let print = |what: &str| format!("print *($root as *const cleave::tables::{what})");
    let types = ["descriptor::Descriptor", "address::PhysAddr", "address::VirtAddr", "address::PhysRange"].map(print);
    let attributes = print("attributes::Attributes");
    let before = [
        "cleave break window",
        "continue",
        "set language c",
        "set $root = (unsigned long) &cleave_root",
        "set language rust",
    ];
    let other = ["set language c", "set $root = (unsigned long) &cleave_empty_root", "set language rust", &attributes];
    let commands: Vec<&str> = before.into_iter().chain(types.iter().map(String::as_str)).chain(other).collect();
    Session::of(&Boot::on("cortex-a72").mem("256M"), &commands).has(&[
        "003 (table 0x",
        " | page 4K -> 0x",
        "= PA 0x",
        "= VA 0x",
        "= PA 0x",
        "..0x0 (0 B)",
        "= Attributes Normal ReadWrite Global",
    ]);
}

/// The same on the Raspberry Pi 4: another load address, three memory regions, EL2 at first, a spin-table.
#[test]
fn gdb_sees_the_raspberry_pi_before_in_and_after_the_window() {
    const PLAIN: &str = "cleave pt 0xffff000008001234";
    let session = Session::of(
        &Boot::on_raspi4b(Board::SpinTable, "board"),
        &[
            "cleave cpus",
            PLAIN,
            "break _start",
            "continue",
            "delete",
            "cleave break window",
            "continue",
            "cleave cpus",
            "cleave rendezvous",
            PLAIN,
            "cleave map ttbr1",
            "set language c",
            "watch *(unsigned long *) &cleave_root",
            "continue",
            PLAIN,
            "delete",
            "cleave break release",
            "continue",
            PLAIN,
            "cleave frames",
            "cleave timeline",
        ],
    );
    session.has(&[
        "booting      2  no",
        "(cleave_root, the MMU is off)",
        "in _start ()",
        "boot/head.S:",
        ": _start: b       cleave_primary",
        "in cleave_window ()",
        "  0       1  online       1  parked  cleave_window",
        "  3       4  online       1  parked  cleave::",
        ": Run",
        "CPUs that have not arrived: 0",
        "block 2M -> 0x8000000 normal rw PXN UXN AF inner contiguous",
        "-> 0x8001234",
        "the kernel alias in the linear map",
        "the thread stack of CPU 3",
        "-> 0x00fe201000  the device area",
        "New value = 0",
        "0x0000000000000000  nothing",
        "not mapped",
        "in cleave_release ()",
        "page 4K -> 0x8001000 normal rw PXN UXN AF inner",
        "frames free",
        "called at ",
    ]);
}
