// SPDX-License-Identifier: MIT OR Apache-2.0
//! The report of a fault: the decoded syndrome, the mapping and the reason of the refusal, names in the backtrace, and
//! the places of the other CPUs.

use crate::{
    monitor::Typed,
    qemu::{Board, Boot},
    words::fault,
};

/// Takes a fault on the monitor; these must be in its report, one behind the other.
#[track_caller]
fn report_of(boot: &Boot, kind: &str, wanted: &[&str]) {
    let typed = Typed::lines(boot, &[&format!("fault {kind}")]);
    typed.ended_with(3).has(&["cleave: PANIC on CPU 0: synchronous exception: "]).has(wanted);
    typed.has(&[
        "  backtrace:",
        " cleave::monitor::poke::fault+0x",
        " kernel_main+0x",
        "  CPU 1: stopped at\n  #0  0x",
        " cleave::cpu::smp::secondary::work+0x",
        "  CPU 2: stopped at",
        "  CPU 3: stopped at",
    ]);
}

/// Every kind of address, each with its reason. A report that decodes the syndrome only, or that reads the tables through
/// what has just faulted, fails this; so does one that lets the other CPUs run on.
#[test]
fn a_faults_report_says_what_the_address_lacks_and_why() {
    let pages = Boot::on("cortex-a72").mem("256M");
    let blocks = Boot::on("cortex-a72").mem("256M").word("linear=block");
    let board = Boot::on_raspi4b(Board::SpinTable, "board");
    report_of(
        &pages,
        "null",
        &["data abort (write): translation fault", "a null pointer", "not mapped", "lowest addresses"],
    );
    report_of(
        &pages,
        "hole",
        &[
            "data abort (write): translation fault",
            "not mapped",
            "why: a hole: there is no memory that the kernel may map",
        ],
    );
    let guard = [
        "stack overflow on CPU 0: guard page of its thread stack",
        "L3 [",
        "nothing",
        "not mapped",
        "why: a guard page",
    ];
    report_of(&pages, "guard", &guard);
    report_of(&board, "guard", &guard);
    let alias = [
        "data abort (write): permission fault",
        "the kernel alias in the linear map",
        " ro PXN UXN AF inner",
        "why: it is mapped read-only: the alias of the kernel's text and read-only data",
    ];
    report_of(&pages, "alias", &alias);
    report_of(&blocks, "alias", &alias);
}

/// A branch to nowhere and a full stack leave their callers on the stack, and those have names.
#[test]
fn a_wild_branch_and_a_full_stack_are_traced_back_by_name() {
    let boot = Boot::on("cortex-a72").mem("128M");
    Typed::lines(&boot, &["fault branch"]).ended_with(3).has(&[
        "instruction abort (fetch): translation fault",
        "why: a hole: nothing is mapped there",
        " cleave::monitor::poke::fault+0x",
        "CPU 3: stopped at",
    ]);
    Typed::lines(&boot, &["fault overflow"]).ended_with(3).has(&[
        "stack overflow on CPU 0: guard page of its thread stack",
        "why: a guard page",
        " cleave::check::inject::overflow+0x",
        "  (more)",
        "CPU 3: stopped at",
    ]);
    Typed::lines(&boot, &["panic now"]).ended_with(3).has(&[
        "cleave: PANIC on CPU 0: asked for on the monitor: now, at src/monitor/poke.rs:",
        " kernel_main+0x",
        "CPU 3: stopped at",
    ]);
}

/// From inside the window: the map is broken, the others are parked, and the report is whole all the same.
#[test]
fn a_fault_in_the_window_is_reported_with_the_map_broken() {
    let run = Boot::on("cortex-a72").mem("128M").fault(fault::WINDOW_TOUCH).run();
    for part in [
        "the linear map; root 0x",
        "  L0 [  0] 0x",
        "nothing\n",
        "why: the linear map is broken: a rendezvous is in its stop window",
        " cleave::check::watch::repaint+0x",
        "  CPU 1: parked in the rendezvous",
        "  CPU 3: parked in the rendezvous",
    ] {
        let console = run.console.replace('\r', "");
        run.claim(console.contains(part), format_args!("the report lacks {part:?}"));
    }
}
