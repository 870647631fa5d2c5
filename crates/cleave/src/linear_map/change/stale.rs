// SPDX-License-Identifier: MIT OR Apache-2.0
//! The addresses whose cached entries a step of a change makes stale, until their invalidation.

use crate::tables::{Cpu, Geometry, TlbiLevels, TlbiRange, TlbiRepeat, VirtAddr, invalidate};

/// The most TLBIs by address or by range for one invalidation. What takes more invalidates everything.
///
/// Each is a broadcast that every CPU has to answer. One TLBI of everything is a single broadcast, and costs walks afterwards, at
/// most one for each entry of a TLB: 1024 in a Cortex-A72 (TRM, 5.2). docs/protocol.md says what is not known about the limit.
pub(super) const MOST_TLBIS: u64 = 64;

/// The most pieces of memory that are remembered. More invalidate everything.
const MOST_RUNS: usize = 16;

/// Addresses at equal distances: one in each leaf that changed.
#[derive(Clone, Copy, Debug)]
struct Run {
    start: VirtAddr,
    stride: u64,
    count: u64,
}

/// The addresses that a step makes stale.
pub(super) struct StaleAddresses {
    runs: [Run; MOST_RUNS],
    used: usize,
    /// There were more runs than fit.
    everything: bool,
}

impl StaleAddresses {
    pub(super) const fn new() -> Self {
        let none = Run { start: VirtAddr(0), stride: 0, count: 0 };
        Self { runs: [none; MOST_RUNS], used: 0, everything: false }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Adds `count` addresses from `start` on, each `stride` bytes behind the one before.
    pub(super) fn add(&mut self, start: VirtAddr, stride: u64, count: u64) {
        let last = self.runs[..self.used].last_mut();
        // The linear map may end at the top of the address space.
        if let Some(last) = last.filter(|last| last.stride == stride)
            && last.start.0.wrapping_add(last.stride * last.count) == start.0
        {
            last.count += count;
        } else if self.used < MOST_RUNS {
            self.runs[self.used] = Run { start, stride, count };
            self.used += 1;
        } else {
            self.everything = true;
        }
    }

    /// Makes the stores so far visible to walkers, and the entries of `levels` for the addresses gone from every TLB. By range only
    /// where `by_range` says that every CPU can.
    pub(super) fn invalidate<C: Cpu>(
        &mut self,
        cpu: &C,
        repeat: TlbiRepeat,
        levels: TlbiLevels,
        geometry: Geometry,
        by_range: bool,
    ) {
        let runs = &self.runs[..self.used];
        let pieces = |run: &Run| Pieces { left: *run, geometry, by_range };
        let tlbis = runs.iter().flat_map(pieces).take(MOST_TLBIS as usize + 1).count() as u64;
        invalidate(cpu, repeat, |cpu| {
            if self.everything || tlbis > MOST_TLBIS {
                return cpu.tlbi_vmalle1is();
            }
            for piece in runs.iter().flat_map(pieces) {
                match piece {
                    Piece::Address(address) => cpu.tlbi_address(address, levels),
                    Piece::Range(range) => cpu.tlbi_range(range, levels),
                }
            }
        });
        (self.used, self.everything) = (0, false);
    }
}

/// The operand of a TLBI.
enum Piece {
    Address(VirtAddr),
    Range(TlbiRange),
}

/// The operands that name the addresses of a run.
struct Pieces {
    left: Run,
    geometry: Geometry,
    by_range: bool,
}

impl Iterator for Pieces {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        let Run { start, stride, count } = self.left;
        if count == 0 {
            return None;
        }
        let pages = stride >> self.geometry.page_shift();
        // One leaf takes one address, of any size it is.
        let range =
            TlbiRange::first_of(start, count * pages, self.geometry.granule).filter(|_| self.by_range && count > 1);
        // A range is of whole leaves: their sizes are powers of two, and its digit is the lowest of a multiple of them.
        let leaves = range.map_or(1, |range| range.pages() / pages);
        self.left = Run { start: VirtAddr(start.0.wrapping_add(leaves * stride)), stride, count: count - leaves };
        Some(range.map_or(Piece::Address(start), Piece::Range))
    }
}
