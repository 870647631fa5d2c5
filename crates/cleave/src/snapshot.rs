// SPDX-License-Identifier: MIT OR Apache-2.0
//! Numbers that belong together: one CPU at a time replaces them, any CPU reads them whole, and neither waits for the other.

use core::sync::atomic::Ordering;

use crate::atomics::{Atomic, Atomics, Native};

/// `N` numbers in two copies, of which one is current while the other is written.
///
/// A reader begins again when the numbers were replaced meanwhile. It never waits for a writer that stopped half-way, so the
/// report of a panic may read what the CPU that panicked was about to replace.
pub struct Snapshot<const N: usize, A: Atomics = Native> {
    /// The number of replacements; its lowest bit is the current copy.
    replaced: A::U64,
    copies: [[A::U64; N]; 2],
}

impl<const N: usize, A: Atomics> Snapshot<N, A> {
    /// Returns a snapshot that holds `values`.
    #[must_use]
    pub fn new(values: [u64; N]) -> Self {
        let copy = |values: [u64; N]| values.map(<A as Atomics>::U64::new);
        Self { replaced: <A as Atomics>::U64::new(0), copies: [copy(values), copy([0; N])] }
    }

    /// Replaces the numbers by `values`. One CPU at a time: the caller holds a lock.
    pub fn replace(&self, values: &[u64; N]) {
        // The lock orders it behind the store of the writer before.
        let replaced = self.replaced.load(Ordering::Relaxed) + 1;
        for (cell, value) in self.copies[(replaced % 2) as usize].iter().zip(values) {
            // Release: a reader of an older snapshot that finds this value finds `replaced` moved on as well.
            cell.store(*value, Ordering::Release);
        }
        // Release: a reader that finds the number finds the copy whole.
        self.replaced.store(replaced, Ordering::Release);
    }

    /// Returns the numbers as one replacement left them.
    #[must_use]
    pub fn read(&self) -> [u64; N] {
        loop {
            let replaced = self.replaced.load(Ordering::Acquire);
            let copy = &self.copies[(replaced % 2) as usize];
            // Acquire: behind a value of a later replacement the load below finds a later number.
            let values = copy.each_ref().map(|cell| cell.load(Ordering::Acquire));
            if self.replaced.load(Ordering::Relaxed) == replaced {
                return values;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_holds_what_was_put_there_last() {
        let snapshot: Snapshot<3> = Snapshot::new([1, 2, 3]);
        assert_eq!(snapshot.read(), [1, 2, 3]);
        for first in 4..9 {
            snapshot.replace(&[first, 5, 6]);
            assert_eq!(snapshot.read(), [first, 5, 6]);
        }
    }

    /// A writer that was stopped between two stores: the numbers before it are whole.
    #[test]
    fn a_half_written_copy_is_not_read() {
        let snapshot: Snapshot<2> = Snapshot::new([1, 1]);
        snapshot.copies[1][0].store(2, Ordering::Relaxed);
        assert_eq!(snapshot.read(), [1, 1]);
    }
}
