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
/// nothing while it runs, or nothing at the end, fails this.
#[test]
fn the_load_finds_a_changed_byte() {
    let run = with(fault::LOAD_FLIP);
    run.claim(run.number("/load/mismatches") == 2, "somebody did not see a changed byte");
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
