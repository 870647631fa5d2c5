// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guarded pool: opened at any time, on any CPU; each misuse of it is named; nothing is left of it.

use crate::{
    monitor::Typed,
    panics::panics,
    qemu::{Boot, Run},
    words::fault,
};

const STOPPED: &str = "opened with every CPU stopped on CPU ";
const IN_PLACE: &str = "opened in place on CPU ";

/// The kinds of CPUs and maps: their names, the boot arguments, and how the pool is opened before a repaint and after it.
const KINDS: [(&str, u64, &str, [&str; 2]); 4] = [
    ("cortex-a72", 1, "linear=block", [STOPPED, STOPPED]),
    ("cortex-a72", 1, "linear=require", [STOPPED, IN_PLACE]),
    ("max", 2, "linear=auto", [IN_PLACE, IN_PLACE]),
    ("cortex-a72", 2, "linear=page", [IN_PLACE, IN_PLACE]),
];

/// The pool is opened before the other CPUs are started, after the decision, and at last on another CPU, where the CPUs must stop
/// for it and where they need not. Before there is a map, from the start of the CPUs to the decision and during another change
/// the answer is `Busy`; where CPUs must stop and interrupts are masked, `WouldWait`. Once it is open, its objects may be had
/// from every context. A pool that splits its memory later, waits for a lock, or is lost in the repaint, fails this.
#[test]
fn a_pool_opens_at_each_time_and_serves_every_context() {
    for (cpu, el, linear, [before, after]) in KINDS {
        for (time, asked, how, id) in [("early", 1, before, 0), ("decided", 2, after, 0), ("late", 2, after, 2)] {
            let boot = Boot::on(cpu).el(el).smp(3).mem("128M").word(linear);
            let run = boot.word("selftest").word(&format!("pool=9@{time}")).run();
            run.passed();
            says(&run, &format!("{asked} of {asked} requests before this time were answered Busy"));
            for context in ["with interrupts masked", "in an interrupt"] {
                let wait = format!("not opened {context}: every CPU must stop for it, and interrupts are masked here");
                says(&run, &if how == STOPPED { wait } else { format!("opened and closed {context}") });
            }
            says(&run, &format!("{how}{id}"));
            for context in ["by a thread", "with interrupts masked", "in an interrupt"] {
                says(&run, &format!("an object was used {context}"));
            }
            says(&run, "guarded pool: self-test passed");
            if linear == "linear=require" {
                run.claim(run.value("/decision/outcome") == "done", "the map with a pool was not split");
                run.claim(run.number("/leaves/after/2M") == 0, "blocks are left");
            }
        }
    }
}

#[track_caller]
fn says(run: &Run, text: &str) {
    run.claim(run.console.contains(text), format_args!("the console does not say {text:?}"));
}

/// An overflow faults at the store that does it, and a use after free at the load: the report names the object and the code that
/// allocated and freed it. Fails when a page is not unmapped, and when a report reads the record of another object.
#[test]
fn an_overflow_and_a_use_after_free_name_the_allocation() {
    for (words, cpu) in
        [("pool=3@late linear=block", "cortex-a72"), ("pool=3@early", "cortex-a72"), ("pool=3@decided", "max")]
    {
        let boot = || Boot::on(cpu).smp(2).mem("128M").word(words);
        let run = panics(boot().fault(fault::POOL_OVERFLOW), ": 8 bytes past the end of an object of the guarded pool");
        let allocated = "allocated on CPU 0 by:";
        in_order(
            &run,
            &[
                "guarded pool: 8 bytes past the end of the object of 96 bytes at 0xffff",
                allocated,
                "#0 ",
                "cleave::check::pool::allocate_for_fault+0x",
                "cleave::check::pool::overflow+0x",
                "why: a page that the guarded pool keeps unmapped",
                "backtrace:",
                "cleave::check::pool::overflow+0x",
            ],
        );
        let run = panics(boot().fault(fault::POOL_FREED), ": use after free: byte 24 of an object of the guarded pool");
        in_order(
            &run,
            &[
                "guarded pool: use after free: byte 24 of the object of 96 bytes at 0xffff",
                allocated,
                "cleave::check::pool::allocate_for_fault+0x",
                "and freed on CPU 0 by:",
                "cleave::check::pool::free_for_fault+0x",
                "cleave::check::pool::use_after_free+0x",
                "backtrace:",
                "cleave::check::pool::use_after_free+0x",
            ],
        );
    }
}

#[track_caller]
fn in_order(run: &Run, texts: &[&str]) {
    let mut rest = &run.console[..];
    for text in texts {
        let found = rest.find(text);
        run.claim(found.is_some(), format_args!("no {text:?} behind what comes before it in {texts:?}"));
        rest = &rest[found.unwrap_or_default() + text.len()..];
    }
}

/// A byte that was written in front of an object, in its own page, fails the run and is named, by the monitor too; a pool with an
/// object cannot be closed. A check that reads no slack, or reads the object with it, fails this.
#[test]
fn bytes_written_beside_an_object_are_found() {
    let boot = Boot::on("cortex-a72").smp(2).mem("128M").word("pool=3@decided").fault(fault::POOL_SLACK);
    Typed::lines(&boot, &["pool check", "pool close", "off"]).ended_with(1).has(&[
        "objects allocated: 1, free: 2, damaged: 1",
        "f9f was written to (0x00): 1 byte before the object of 96 bytes at 0xffff",
        "allocated on CPU 0 by:",
        "cleave::check::pool::allocate_for_fault+0x",
        "error: nothing has changed: objects allocated: 1; the object of 96 bytes at 0xffff",
        "cleave: FAIL",
    ]);
    let run = boot.run();
    run.failed();
    run.claim(run.error_says("1 byte before the object of 96 bytes"), "the byte is not named");
    run.claim(run.list("/errors").len() == 1, "another error");
}

/// A pool that cannot be opened is named with the facts, and fails the run; the map is as before.
#[test]
fn a_pool_that_cannot_be_opened_fails_the_run() {
    for (words, why) in [
        ("pool=256@late", "a pool has 1 to 255 objects, and 256 are asked for"),
        ("pool=8@early fill=window", "fill=window maps all memory for itself"),
        ("pool=8@early linear=block fault=reserve:2", "frames needed for tables, 1 available"),
    ] {
        let run = Boot::on("cortex-a72").smp(2).mem("128M").word(words).run();
        run.failed();
        run.claim(run.error_says(why), format_args!("no error says {why:?}"));
        run.claim(run.list("/errors").len() == 1, "another error");
    }
}

/// Opened, checked and closed from the monitor, the pool leaves the leaves and the free frames that there were, whatever the
/// switch, around a collapse of everything as well, which leaves the pool alone.
#[test]
fn a_closed_pool_leaves_no_trace() {
    for (cpu, words) in
        [("cortex-a72", "linear=block"), ("max", "linear=block bbml2=trust"), ("cortex-a72", "linear=require")]
    {
        let lines = [
            "leaves",
            "frames",
            "pool check",
            "pool open 0",
            "pool open 256",
            "pool open x",
            "pool shut",
            "pool open 40",
            "pool open 3",
            "pool check",
            "audit",
            "pool close",
            "audit",
            "leaves",
            "frames",
            "pool close",
            "off",
        ];
        let typed = Typed::lines(&Boot::on(cpu).smp(2).mem("128M").word(words), &lines);
        typed.ended_with(0).has(&[
            "error: no pool is open",
            "error: nothing has changed: a pool has 1 to 255 objects, and 0 are asked for",
            "and 256 are asked for",
            "error: x is no number of objects",
            "usage: pool open N|check|close",
            "40 objects in 0x",
            "changed ",
            "error: nothing has changed: the pool is open already",
            "objects allocated: 0, free: 40, damaged: 0",
            "translations wrong 0, census wrong 0",
            "is mapped and free again",
            "translations wrong 0, census wrong 0",
            "error: nothing has changed: no pool is open",
            "cleave: PASS",
        ]);
        for line in ["1G ", "cont2M ", "2M ", "cont4K ", "4K ", "frames: "] {
            let values: Vec<&str> = typed.text.lines().map(str::trim).filter(|text| text.starts_with(line)).collect();
            assert!(values.len() == 2 && values[0] == values[1], "{values:?} in\n{}", typed.text);
        }
    }
}

/// A collapse of the whole map leaves an open pool in pages, so that its objects change in place on any CPU still; and a page of
/// the pool is not given to another change. Fails when the pool's unmapped pages are joined.
#[test]
fn a_collapse_leaves_an_open_pool_in_pages() {
    let boot = Boot::on("cortex-a72").smp(2).mem("128M").word("linear=require");
    Typed::lines(&boot, &["pool open 200", "collapse", "audit", "fault pool"]).ended_with(3).has(&[
        "200 objects in 0x",
        "changed in place",
        "changed with every CPU stopped",
        "translations wrong 0, census wrong 0",
        "cleave: PANIC on CPU 0",
        "8 bytes past the end of an object of the guarded pool",
    ]);
}

/// A pool that was opened in blocks and is closed when the whole map has been split leaves the map in pages: the blocks that it
/// was opened in are no longer what the map should have.
#[test]
fn a_pool_closed_after_a_full_split_leaves_pages() {
    let boot = Boot::on("cortex-a72").smp(2).mem("128M").word("linear=block");
    let lines = ["pool open 9", "split", "pool close", "audit", "leaves", "off"];
    Typed::lines(&boot, &lines).ended_with(0).has(&[
        "9 objects in 0x",
        "changed with every CPU stopped",
        " of them in the window",
        "is mapped and free again",
        "it was so already",
        "translations wrong 0, census wrong 0",
        "  2M 0\n",
        "cleave: PASS",
    ]);
}
