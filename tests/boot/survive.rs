// SPDX-License-Identifier: MIT OR Apache-2.0
//! Faults that must be survived: a named error, the map and the allocators as before, every CPU still online.

use crate::{
    qemu::Boot,
    words::{CPU, fault},
};

/// A frame is missing at the first, an early and a late step of the reservation: everything is given back. A patch
/// that forgets to give back, or that reserves inside the window, fails this.
#[test]
fn without_frames_the_blocks_stay() {
    for fault in [fault::RESERVE_FIRST, fault::RESERVE_FIFTH, fault::RESERVE_LATE] {
        for fill in ["fill=ahead", "fill=window"] {
            let run = Boot::on("cortex-a72").word(fill).fault(fault).run();
            run.survived().unchanged();
            run.claim(run.value("/decision/action") == "split", "the decision is not to split");
            run.claim(run.value("/decision/outcome") == "out-of-memory", "the outcome is not out-of-memory");
            run.claim(!run.list("/errors").is_empty(), "nothing in errors");
            run.claim(run.value("/ticks/window").is_null(), "there was a window, and nothing to do in it");
        }
    }
}

/// A CPU that takes a lock is called to the rendezvous, at every lock: no call is taken before the lock is released, or
/// the kernel panics. A lock that does not mask interrupts fails this.
#[test]
fn a_call_at_every_lock_finds_no_lock_held() {
    for gic in [2, 3] {
        let run = Boot::on("cortex-a72").gic(gic).fault(fault::LOCK_CALL).run();
        run.passed().split();
        run.claim(run.console.contains("called at "), "no lock was called");
        run.claim(!run.console.contains("called at 0 locks"), "no lock was called");
    }
}

/// An SError that says of itself that it was corrected is counted and named. A kernel that takes every SError for the end fails
/// this. The syndrome is made up: QEMU has no such error.
#[test]
fn a_corrected_error_is_named_and_survived() {
    let run = Boot::on("cortex-a72").smp(1).mem("128M").fault(fault::CORRECTED).run();
    run.survived().split();
    run.claim(run.error_says("1 SError(s) survived") && run.error_says("SError, corrected"), "the error is not named");
}

/// A run that requires the split fails without it. Ignoring the reservation's error fails this.
#[test]
fn without_frames_a_required_split_fails() {
    let run = Boot::on("cortex-a72").word("linear=require").fault(fault::RESERVE_FIFTH).run();
    run.failed().unchanged();
    run.claim(run.value("/decision/outcome") == "out-of-memory", "the outcome is not out-of-memory");
}

/// A CPU misses the deadline once: nothing has changed, it is named, and another attempt succeeds. A leader that
/// waits for ever, or that begins without the CPU, fails this.
#[test]
fn a_late_cpu_delays_the_split_and_loses_nothing() {
    for fill in ["fill=ahead", "fill=window"] {
        let run = Boot::on("cortex-a72").word("rendezvous.deadline=50").word(fill).fault(fault::LATE_ONCE).run();
        run.survived().split();
        let attempts = run.number("/decision/attempts");
        run.claim((2..=3).contains(&attempts), format_args!("{attempts} attempts"));
        run.claim(run.error_says(&format!("{CPU}2")), "the late CPU is not named");
    }
}

/// A CPU stops while it fills tables, for longer than the leader waits: what it may still write to is kept back and
/// counted, and the kernel goes on in blocks. A leader that gives those frames away, or forgets them, fails this.
#[test]
fn a_cpu_that_stops_while_filling_tables_costs_only_frames() {
    let run = Boot::on("cortex-a72").word("rendezvous.deadline=200").fault(fault::STALLED).run();
    run.survived().unchanged();
    run.claim(run.value("/decision/outcome") == "aborted", "the outcome is not aborted");
    run.claim(run.error_says("a CPU stopped while it filled tables"), "the frames that are kept are not named");
}

/// A translation fault on a page that is mapped by the time the handler looks is a stale one: the access is made again. A
/// handler that does not ask the MMU ends this run with a panic.
#[test]
fn a_stale_translation_fault_is_retried() {
    let run = Boot::on("cortex-a72").fault(fault::STALE_FAULT).run();
    run.passed().split();
    run.claim(run.console.contains("stale translation faults retried: 1"), "the fault was not retried");
}

/// A TLB conflict abort on the linear map is met by an invalidation, and the access is made again: the only way to see that in
/// QEMU, which raises none. A handler that does not go on ends this run with a panic.
#[test]
fn a_tlb_conflict_on_the_linear_map_is_survived() {
    for el in [1, 2] {
        let run = Boot::on("max").smp(2).mem("128M").el(el).fault(fault::CONFLICT_FAULT).run();
        run.survived();
        run.claim(run.console.contains("TLB conflicts retried: 1"), "the access was not made again");
        run.claim(run.number("/map/conflicts") == 1, "the conflict is not counted");
    }
}

/// A CPU misses every deadline: the kernel gives up, names the CPU, and runs on in blocks.
#[test]
fn a_cpu_that_never_comes_in_time_leaves_the_blocks() {
    let late = || Boot::on("cortex-a72").word("rendezvous.deadline=50").fault(fault::LATE_FOR_EVER);
    let run = late().run();
    run.survived().unchanged();
    run.claim(run.value("/decision/outcome") == "aborted", "the outcome is not aborted");
    run.claim(run.number("/decision/attempts") == 3, "not one attempt and two retries");
    run.claim(run.error_says(&format!("{CPU}2")), "the late CPU is not named");
    // The timeline is the last attempt's: called, and CPU 2 was not there.
    let late_cpu = run.value("/timeline/2");
    run.claim(
        late_cpu["kicked"].is_u64() && late_cpu["arrived"].is_null(),
        "the timeline does not name the missing CPU",
    );
    let survived = "result      pass (with 4 errors survived; linear=require makes it a failure)";
    run.claim(run.line(survived).is_some(), format_args!("the console does not say {survived:?}"));

    let run = late().word("linear=require").run();
    run.failed().unchanged();
    run.claim(run.value("/decision/outcome") == "aborted", "the outcome is not aborted");
}

/// A CPU that was started and never checks in is named, and the others go on without it. Counting it in would abort
/// the rendezvous, waiting for it for ever would time out.
#[test]
fn a_cpu_that_never_checks_in_is_named_and_left_out() {
    let run = Boot::on("cortex-a72").word("rendezvous.deadline=2000").fault(fault::ABSENT).run();
    run.survived().split();
    run.claim(run.value("/cpus/3/online") == false, "CPU 3 is online");
    run.claim(run.error_says(&format!("{CPU}3")), "the absent CPU is not named");
}

/// Memory that the boot CPU cannot address is left out, and so is a CPU that cannot address all of the rest: both are named,
/// and the others go on. Painting that memory, or letting that CPU into the linear map, faults on a board.
#[test]
fn memory_and_a_cpu_that_cannot_reach_it_are_named_and_left_out() {
    let run = Boot::on("cortex-a72").mem("1025M").out_of_reach(1 << 20).word("cpu0.pa=31 cpu2.pa=30").run();
    run.survived().split();
    run.claim(run.error_says("memory: 1048576 bytes are not used"), "the memory left out is not named");
    run.claim(run.value("/cpus/2/online") == false, "CPU 2 is online");
    let why = "its physical addresses end at 0x40000000 (PARange), and memory at 0x80000000";
    run.claim(run.value("/cpus/2/error") == why, "CPU 2 does not say why");
    run.claim(run.error_says(&format!("{CPU}2: {why}")), "CPU 2 is not named in errors");
}

/// A CPU that the firmware refuses to start is named with the firmware's answer, and the others go on without it.
#[test]
fn a_cpu_that_firmware_refuses_is_named_and_left_out() {
    for (fault, cpu, code) in [(fault::PSCI_INVALID, 1, "-2"), (fault::PSCI_INTERNAL, 3, "-6")] {
        let run = Boot::on("cortex-a72").fault(fault).run();
        run.survived().split();
        run.claim(run.value(&format!("/cpus/{cpu}/online")) == false, format_args!("CPU {cpu} is online"));
        let why = run.value(&format!("/cpus/{cpu}/error")).as_str().unwrap_or_default();
        run.claim(why.contains(code), format_args!("the answer {code} is not given: {why}"));
        run.claim(run.error_says(&format!("{CPU}{cpu}")), "the missing CPU is not named in errors");
    }
}

/// A second caller is told that the rendezvous is busy, and neither of the two is harmed. Letting it wait for the
/// lock would stand still for ever.
#[test]
fn a_second_caller_of_the_rendezvous_is_turned_away() {
    Boot::on("cortex-a72").fault(fault::SECOND).run().survived().split();
}

/// Boot arguments of other programs are listed and harmless.
#[test]
fn an_unknown_bootarg_is_listed_and_harmless() {
    let run = Boot::on("cortex-a72").word("frobnicate=1 console=ttyAMA0,115200").run();
    run.passed().split();
    let unknown = run.list("/kernel/unknown_bootargs");
    run.claim(unknown == ["frobnicate=1", "console=ttyAMA0,115200"], "the unknown words are not those");
}
