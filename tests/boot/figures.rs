// SPDX-License-Identifier: MIT OR Apache-2.0
//! Figures that repeat to the instruction: `ICOUNT=1` makes a tick of the counter one executed instruction.
//!
//! Exact with one CPU; with more the clock counts the instructions of every CPU. Nothing here depends on the host's
//! speed.

use crate::qemu::{Boot, Run};

/// Ticks the window may take.
const WINDOW_MAX: u64 = 60;
/// Ticks of the reservation for one table.
const RESERVE_MAX: u64 = 20;
/// Ticks of painting, up to 16 GiB.
const PAINT_MAX: u64 = 60_000;
/// Ticks from the kernel's entry to the end of the repaint, of 1 GiB.
const READY_MAX: u64 = 1_300_000;

fn measured(smp: u64, mem: &'static str) -> Run {
    let run = Boot::on("cortex-a72").smp(smp).mem(mem).counted().word("load=off").run();
    run.passed().split();
    run
}

/// Neither the window nor painting grows with memory, and filling costs less than two instructions a PTE. A loop over
/// memory inside the window, or a volatile store for each descriptor, fails this.
#[test]
fn the_window_is_constant() {
    let windows = ["1G", "4G", "16G"].map(|mem| {
        let run = measured(1, mem);
        let tables = run.number("/tables/used");
        let fill = run.number("/ticks/fill");
        // 1.9 ticks for each of the 512 descriptors of a table.
        run.claim(fill * 10 <= tables * 512 * 19, format_args!("{fill} ticks to fill {tables} tables"));
        let reserve = run.number("/ticks/reserve");
        run.claim(reserve <= tables * RESERVE_MAX, format_args!("{reserve} ticks to reserve {tables} tables"));
        let paint = run.number("/ticks/paint");
        run.claim(paint <= PAINT_MAX, format_args!("{paint} ticks to paint"));
        let window = run.number("/ticks/window");
        run.claim(window <= WINDOW_MAX, format_args!("{window} ticks in the window"));
        if mem == "1G" {
            let ready = run.number("/ticks/ready");
            run.claim(ready <= READY_MAX, format_args!("{ready} ticks to be ready"));
        }
        window
    });
    let (least, most) = (windows.iter().min(), windows.iter().max());
    let spread = most.zip(least).map(|(most, least)| (most - least) * 10 <= *least);
    assert_eq!(spread, Some(true), "the windows differ by more than a tenth: {windows:?}");
}

/// Four CPUs are ready as early as one has to be, in instructions of all four. A wait that spins fails this.
#[test]
fn four_cpus_are_ready_in_time() {
    let run = measured(4, "1G");
    let ready = run.number("/ticks/ready");
    run.claim(ready <= READY_MAX, format_args!("{ready} ticks to be ready"));
}
