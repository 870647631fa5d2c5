// SPDX-License-Identifier: MIT OR Apache-2.0
//! A deadline on the counter, with a guard against one wrong reading.

/// A wait with an end: a start and a patience, in ticks of one counter.
///
/// On some cores a single reading of the counter can be far from the truth, and the next one is right again (Cortex-A73
/// erratum 858921, Freescale A-008585, HiSilicon 161010101, Allwinner A64). A deadline believed at once would call off a
/// rendezvous, or leave CPUs out for ever, at a moment that was early. It has passed only when two looks in a row say so.
///
/// ```
/// use cleave::deadline::Deadline;
///
/// let mut deadline = Deadline::new(1_000, 50);
/// assert!(!deadline.has_passed(1_049));
/// assert!(!deadline.has_passed(1_049 + (1 << 32)), "one wrong reading");
/// assert!(!deadline.has_passed(1_049));
/// assert!(!deadline.has_passed(1_050), "the first look that says so");
/// assert!(deadline.has_passed(1_051));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    start: u64,
    patience: u64,
    /// The look before said that it has passed.
    seen: bool,
}

impl Deadline {
    /// Begins the wait at `start`, for `patience` ticks.
    #[must_use]
    pub const fn new(start: u64, patience: u64) -> Self {
        Self { start, patience, seen: false }
    }

    /// Returns true when the deadline has passed at `now`, the counter's present reading, and had at the look before. The
    /// caller waits a little between two looks, so that they are two readings of a counter that has moved.
    #[must_use]
    pub const fn has_passed(&mut self, now: u64) -> bool {
        let passed = now.wrapping_sub(self.start) >= self.patience;
        let again = passed && self.seen;
        self.seen = passed;
        again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_passes_at_the_second_look_in_a_row() {
        let mut deadline = Deadline::new(u64::MAX - 10, 20);
        assert!(!deadline.has_passed(u64::MAX), "the counter may wrap");
        assert!(!deadline.has_passed(8));
        assert!(!deadline.has_passed(9));
        assert!(deadline.has_passed(9), "the counter need not have moved");
        assert!(deadline.has_passed(100));
    }

    /// Every kind of one wrong reading, forwards and backwards, at any bit. A deadline that counts at once fails this.
    #[test]
    fn no_single_wrong_reading_ends_a_wait() {
        for bit in 0..64 {
            let mut deadline = Deadline::new(1 << 40, 1 << 20);
            for now in (1 << 40..).step_by(1 << 10).take(8) {
                assert!(!deadline.has_passed(now), "bit {bit}");
                assert!(!deadline.has_passed(now ^ 1 << bit), "bit {bit}");
            }
        }
    }
}
