// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's checks can fail: each finds the fault it is there for, and says so in its result.

use crate::{
    qemu::{Boot, Run},
    words::{CPU, fault},
};

fn with(fault: &str) -> Run {
    let run = Boot::on("cortex-a72").fault(fault).run();
    run.failed();
    run
}

/// Changed bytes are found: one by the CPU that works on it, one by the last look at every line. A load that compares
/// nothing while it runs, or nothing at the end, fails this. And lines of other frames are: two that a CPU works on, two at
/// the end. A load that holds a line against the address in it, and not against the place it was read from, fails this.
#[test]
fn the_load_finds_changed_bytes_and_lines_of_other_frames() {
    let run = with(&format!("{},{}", fault::LOAD_FLIP, fault::LOAD_SWAP));
    run.claim(run.number("/load/mismatches") == 2 + 4, "a CPU did not see a changed byte, or another frame's line");
}

/// A frame that is gone fails the run. A check of the frames that says so and does not fail the run, fails this.
#[test]
fn a_frame_that_is_not_given_back_fails_the_run() {
    let run = Boot::on("cortex-a72").smp(1).mem("128M").fault(fault::FRAME_LEAK).run();
    run.failed().split();
    run.claim(run.error_says("frames were free"), "the frames are not named");
    run.claim(run.list("/errors").len() == 1, "another error than that of the frames");
}

/// Each check of the audit's finds the fault that it alone can find, and names it: a page that cannot be written, a hole that
/// is mapped, code under a second, writable address, constants that are executable, a stack without its guard page, a count
/// that is wrong, a CPU without WXN. A check that is left out fails this, by the name that is missing and by the count.
#[test]
fn the_audit_finds_and_names_one_fault_for_each_of_its_checks() {
    let faults = fault::AUDITED.map(|(fault, _)| fault).join(",");
    let run = Boot::on("cortex-a72").smp(2).mem("128M").fault(&faults).run();
    run.failed();
    for (fault, says) in fault::AUDITED {
        run.claim(run.error_says(says), format_args!("{fault}: no error says {says:?}"));
    }
    // The page and the hole; the hole's page and its table, and the count; the code.
    for (count, expected) in [("translation_mismatches", 2), ("census_mismatches", 3), ("aliases", 1), ("wx", 0)] {
        run.claim(run.number(&format!("/audit/{count}")) == expected, format_args!("the audit's {count}"));
    }
    run.claim(run.error_says("sections wrong 2, registers wrong 1"), "another number of sections or registers");
}

/// A leaf that points elsewhere is found. An audit that asks the tables instead of the memory map fails this.
#[test]
fn the_audit_finds_a_changed_leaf() {
    let run = with(fault::AUDIT_FLIP);
    run.claim(run.number("/audit/translation_mismatches") > 0, "the audit did not see the changed leaf");
}

/// A page both writable and executable is found. An audit that skips the kernel area fails this.
#[test]
fn the_audit_finds_a_page_writable_and_executable() {
    let run = with(fault::WX);
    run.claim(run.number("/audit/wx") > 0, "the audit did not see the page");
    // The map is dumped then, and the page stands out in it.
    let marked = run.console.lines().find(|line| line.trim_end().ends_with("the linear map") && line.contains(" W+X!"));
    run.claim(marked.is_some_and(|line| line.contains(" rwx ")), "the dump does not mark the page");
    run.claim(run.console.contains("WARNING: 1 ranges are writable and executable"), "the dump does not warn");
}

/// So is a word about a CPU that is not there. Four CPUs are 0 to 3.
#[test]
fn a_word_about_a_cpu_that_is_not_there_fails_the_run() {
    let strange = ["cpu4.bbm=0", "fault=cpu5.absent", "fault=cpu6.late:1", "fault=cpu7.psci:-2", "fault=cpu8.ban.log"];
    let run = Boot::on("cortex-a72").mem("128M").word(&strange.join(" ")).word("cpu3.bbm=0").run();
    run.failed().split();
    for (word, cpu) in strange.into_iter().zip(4..) {
        let says = format!("{}: there is no {CPU}{cpu}", word.trim_start_matches("fault="));
        run.claim(run.error_says(&says), format_args!("no error says {says:?}"));
    }
    run.claim(run.list("/errors").len() == strange.len(), "an error too many");
}

/// A known word with a bad value is a mistake that its author wants to hear of.
#[test]
fn a_bad_value_of_a_known_bootarg_fails_the_run() {
    let bad = ["linear=sideways", "rendezvous.deadline=soon", "fault=teapot"];
    let run = Boot::on("cortex-a72").word(&bad.join(" ")).run();
    run.failed();
    for word in bad.map(|word| word.trim_start_matches("fault=")) {
        run.claim(run.error_says(word), format_args!("{word} is not named"));
    }
    run.claim(run.list("/kernel/unknown_bootargs").is_empty(), "a known word is called unknown");
}
