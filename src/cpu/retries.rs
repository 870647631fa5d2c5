// SPDX-License-Identifier: MIT OR Apache-2.0
//! Faults that are met by making the access again, and the bounds of that.

use core::sync::atomic::{AtomicU64, Ordering};

/// The faults of one kind that a CPU has taken and retried, touched by that CPU alone, in its exception handler.
#[derive(Debug, Default)]
pub(crate) struct Retries {
    /// Those that were retried.
    pub(crate) total: AtomicU64,
    /// The ELR of the last one.
    pub(crate) last_elr: AtomicU64,
    /// For which address.
    pub(crate) last_far: AtomicU64,
    /// The number in a row that were the same.
    pub(crate) row: AtomicU64,
    /// The number of [`MAP_CHANGES`] at the last one.
    changes: AtomicU64,
}

/// The begins and ends of changes of the linear map in use: an odd number while one is under way.
static MAP_CHANGES: AtomicU64 = AtomicU64::new(0);

/// Does `work`, a change of the linear map in use: what a CPU meets meanwhile counts by itself, and is retried as often as the
/// change goes on. The map's lock keeps others away.
pub(crate) fn while_map_changes<T>(work: impl FnOnce() -> T) -> T {
    MAP_CHANGES.fetch_add(1, Ordering::Relaxed);
    let done = work();
    MAP_CHANGES.fetch_add(1, Ordering::Relaxed);
    done
}

/// The most faults in a row that are retried while no change is under way. The handler leaves nothing behind that could cause
/// the next, so a third is a defect.
const RETRIES: u64 = 2;
/// The most while one is: a group of leaves that is changed member by member may conflict again and again until the last one,
/// and the CPU that changes it may be interrupted meanwhile. The bound ends what would never end.
const RETRIES_IN_A_CHANGE: u64 = 1 << 20;

impl Retries {
    pub(crate) const fn new() -> Self {
        Self {
            total: AtomicU64::new(0),
            last_elr: AtomicU64::new(0),
            last_far: AtomicU64::new(0),
            row: AtomicU64::new(0),
            changes: AtomicU64::new(0),
        }
    }

    /// Counts one taken at `elr` for `far`; returns true when the access may be made again. The count begins anew at another
    /// instruction or address, and with each begin and end of a change of the map.
    pub(crate) fn may_retry(&self, elr: u64, far: u64) -> bool {
        self.counts(MAP_CHANGES.load(Ordering::Relaxed), elr, far)
    }

    /// Counts one as [`Retries::may_retry`] does, after `changes` begins and ends of changes.
    fn counts(&self, changes: u64, elr: u64, far: u64) -> bool {
        let same_change = self.changes.swap(changes, Ordering::Relaxed) == changes;
        let same_place = self.last_elr.swap(elr, Ordering::Relaxed) == elr;
        let same_address = self.last_far.swap(far, Ordering::Relaxed) == far;
        let row = if same_place && same_address && same_change { self.row.load(Ordering::Relaxed) + 1 } else { 1 };
        self.row.store(row, Ordering::Relaxed);
        let retried = row <= if changes.is_multiple_of(2) { RETRIES } else { RETRIES_IN_A_CHANGE };
        self.total.fetch_add(retried.into(), Ordering::Relaxed);
        retried
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The longest row of faults that are retried, of at most one more than may be in a change.
    fn row(retries: &Retries, changes: u64, elr: u64, far: u64) -> u64 {
        (0..=RETRIES_IN_A_CHANGE).take_while(|_| retries.counts(changes, elr, far)).count() as u64
    }

    /// Fails when the third at one place is retried, or when another place does not begin a row of its own.
    #[test]
    fn two_faults_in_a_row_are_retried_at_one_place() {
        let retries = Retries::new();
        assert_eq!([row(&retries, 0, 0x1000, 0x8000), row(&retries, 0, 0x1000, 0x8000)], [2, 0]);
        // Another address, another instruction, and the old one again.
        assert_eq!(
            [(0x1000, 0x9000), (0x1004, 0x9000), (0x1000, 0x8000)].map(|(elr, far)| row(&retries, 0, elr, far)),
            [2; 3]
        );
        assert_eq!(retries.total.load(Ordering::Relaxed), 4 * 2, "those that were retried");
    }

    /// Fails when a change does not begin the count anew, or has no bound.
    #[test]
    fn faults_during_a_change_have_a_bound_of_their_own() {
        let retries = Retries::new();
        let (before, during, after) = (4, 5, 6);
        assert_eq!(row(&retries, before, 0x1000, 0x8000), 2);
        assert_eq!(row(&retries, during, 0x1000, 0x8000), RETRIES_IN_A_CHANGE);
        assert_eq!(row(&retries, after, 0x1000, 0x8000), 2);
        assert_eq!(row(&retries, during + 2, 0x1000, 0x8000), RETRIES_IN_A_CHANGE);
    }
}
