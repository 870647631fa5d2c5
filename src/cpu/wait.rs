// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bounded waits for a device, by the counter and by a number of rounds.
#![cfg(target_os = "none")]

use cleave::aarch64::{hint, timer};
use cleave::deadline::Deadline;

/// Waits until `done` or for `milliseconds`; says whether it was done.
pub(crate) fn wait(milliseconds: u64, mut done: impl FnMut() -> bool) -> bool {
    let mut late = deadline(milliseconds);
    loop {
        if done() {
            return true;
        }
        if late() {
            return false;
        }
        hint::yield_now();
    }
}

/// Returns a function that says whether `milliseconds` have passed since now. It also ends where the counter stands still,
/// as it does on boards whose firmware left it off.
pub(crate) fn deadline(milliseconds: u64) -> impl FnMut() -> bool {
    /// More than a read of a device register every 10 ns over the longest wait there is.
    const ROUNDS: u64 = 100_000_000;
    let mut deadline = Deadline::new(timer::count(), timer::frequency() / 1000 * milliseconds);
    let mut rounds = 0;
    move || {
        rounds += 1;
        deadline.has_passed(timer::count()) || rounds > ROUNDS
    }
}
