// SPDX-License-Identifier: MIT OR Apache-2.0
//! The data cache, as far as an MMU that is off matters: stores around the cache, and reads through it.
//!
//! Table walks go through the cache or around it as TCR says, and a walker may walk any table that it can reach: all of
//! them are looked at when they come into its reach. Where the machine was told of no cache (no CPU stores with its
//! MMU off, maintains a line, or walks around the cache) there is nothing to look at.
//!
//! The instruction side is no business of this file: code that was written through the data cache and is fetched
//! through an instruction cache, or around both, needs maintenance of its own (Arm ARM B2.7.4), which the machine does
//! not know.

use super::memory::ByNumber;
use super::rule::RuleText;
use super::table_place::Half;
use super::{Rule, State, Violation};
use cleave::tables::{PhysAddr, slot};

/// The text of M16.
pub(super) const CACHE_MAINTENANCE: RuleText = RuleText {
    id: "M16",
    name: "caches",
    sentence: "tables or data written with the MMU off and read cached, or the reverse, without the maintenance in between, \
               complete by a DSB of loads and stores, for every line; what is only in a cache invalidated, not cleaned",
    source: "Arm ARM B2.10 Memory types and attributes: Mismatched memory attributes; D7.5 Cache support: Ordering and \
             completion of data and instruction cache instructions (a cache may also hold and evict lines from before); \
             CTR_EL0.DminLine; the arm64 Linux boot protocol (firmware leaves caches in any state)",
};

/// Details of a bad store with the MMU off; the second is for a CPU that is booted by hand later.
const UNCACHED_OVER_DIRTY: &str = "written with the MMU off while a cache may hold a dirty line that can land on it";
const STORED_BEFORE_BOOT: &str = "stored before `boot`, so with the MMU off, while a cache may hold a dirty line that can \
                                  land on it: set tables up by `poke` or `adopt`, or tell the maintenance of a real boot";

/// TCR_EL1.IRGN0 and IRGN1: 0 where walks are inner non-cacheable.
const IRGN0: u64 = 0b11 << 8;
const IRGN1: u64 = 0b11 << 24;

/// The state of a cache line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Line {
    /// Firmware, or an earlier user of the memory, may have left it dirty.
    #[default]
    Unknown,
    /// In no cache, or the same there as in memory.
    Clean,
    /// Newer in a cache than in memory.
    Dirty,
    /// Newer in memory than what a cache may hold: written with the MMU off, or around the cache.
    Around,
    /// It was newer in a cache and was dropped: what memory has is old.
    Lost,
}

/// Lines and the maintenance that waits for its DSB.
#[derive(Debug)]
pub(super) struct Caches {
    /// The bytes of the smallest line of any cache (CTR_EL0.DminLine).
    size: u64,
    lines: ByNumber<Line>,
    waiting: Vec<(usize, u64, Line)>,
    /// Set when some CPU walks around the cache, so that every store through it counts.
    watched: Watched,
}

/// Says whether stores through the cache are noted although no access has gone around it yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Watched {
    No,
    Yes,
}

impl Caches {
    pub(super) fn new(size: u64) -> Self {
        Self { size, lines: ByNumber::default(), waiting: Vec::new(), watched: Watched::No }
    }

    /// Returns true where the machine was told of no cache.
    fn is_idle(&self) -> bool {
        self.lines.is_empty() && self.watched == Watched::No
    }

    fn line(&self, at: PhysAddr) -> Line {
        self.lines.get(&(at.0 / self.size)).copied().unwrap_or_default()
    }

    fn set(&mut self, at: PhysAddr, line: Line) {
        let number = at.0 / self.size;
        // Maintenance that has not completed says nothing of what is stored after it.
        self.waiting.retain(|&(_, waiting, _)| waiting != number);
        self.lines.insert(number, line);
    }
}

impl State {
    fn stale(&mut self, cpu: usize, at: PhysAddr, detail: &'static str) {
        let now = self.memory.get(at.align_down(8));
        self.violated(Rule::CacheMaintenance, cpu, None, at, (now, now), detail);
    }

    /// Notes a store with the MMU off.
    pub(super) fn store_uncached(&mut self, cpu: usize, at: PhysAddr) {
        if matches!(self.caches.line(at), Line::Unknown | Line::Dirty) {
            self.stale(cpu, at, UNCACHED_OVER_DIRTY);
        }
        self.caches.set(at, Line::Around);
    }

    /// A boot that is not told has maintained what was written around the cache. A store that was told as one of set-up
    /// is called by that name: otherwise its violation reads like one of the code under test.
    pub(super) fn settle_caches(&mut self) {
        let around = self.caches.lines.values_mut().filter(|line| **line == Line::Around);
        around.for_each(|line| *line = Line::Clean);
        let before_boot = |violation: &&mut Violation| violation.detail == UNCACHED_OVER_DIRTY;
        let found = self.noted.kinds_mut().iter_mut().filter(before_boot);
        found.for_each(|violation| violation.detail = STORED_BEFORE_BOOT);
    }

    /// Checks a load with the MMU off, or a walk around the cache.
    pub(super) fn load_uncached(&mut self, cpu: usize, at: PhysAddr) {
        match self.caches.line(at) {
            Line::Dirty => self.stale(cpu, at, "read around the cache while its writer's cache has it"),
            Line::Lost => self.stale(cpu, at, "read after its newest value was invalidated in the cache, not cleaned"),
            Line::Unknown | Line::Clean | Line::Around => {}
        }
    }

    /// Notes a store through the cache.
    pub(super) fn store_cached(&mut self, cpu: usize, at: PhysAddr) {
        if self.caches.line(at) == Line::Around {
            self.stale(cpu, at, "written into a line that may hold what was there before it was written around");
        }
        self.caches.set(at, Line::Dirty);
    }

    /// Checks a load, or a table walk, through the cache.
    pub(super) fn load_cached(&mut self, cpu: usize, at: PhysAddr) {
        match self.caches.line(at) {
            Line::Around => {
                self.stale(
                    cpu,
                    at,
                    "read through a cache that may hold what was there before it was written around it",
                );
            }
            Line::Lost => self.stale(cpu, at, "read after its newest value was invalidated in the cache, not cleaned"),
            Line::Unknown | Line::Clean | Line::Dirty => {}
        }
    }

    /// Maintenance of a line: takes effect with the CPU's next DSB.
    pub(super) fn maintain(&mut self, cpu: usize, at: PhysAddr, maintenance: Maintenance) {
        // Behind what this CPU has begun on the line before.
        let number = at.0 / self.caches.size;
        let begun = self.caches.waiting.iter().rev().find(|&&(issuer, line, _)| (issuer, line) == (cpu, number));
        let now = begun.map_or_else(|| self.caches.line(at), |&(.., becomes)| becomes);
        let becomes = match (maintenance, now) {
            (_, Line::Lost) => Line::Lost,
            // Cleaning writes a dirty line back; it does not drop a stale clean one.
            (Maintenance::Clean, Line::Around) => Line::Around,
            (Maintenance::Invalidate, Line::Dirty) => Line::Lost,
            // What was written around is not under a dirty line, or that was a violation then.
            _ => Line::Clean,
        };
        self.caches.waiting.push((cpu, number, becomes));
    }

    /// Completes a CPU's maintenance, at a DSB that waits for loads and stores.
    pub(super) fn complete_maintenance(&mut self, cpu: usize) {
        if self.caches.waiting.is_empty() {
            return;
        }
        let (mine, others) = self.caches.waiting.drain(..).partition(|&(issuer, ..)| issuer == cpu);
        let mine: Vec<_> = mine;
        self.caches.waiting = others;
        self.caches.lines.extend(mine.into_iter().map(|(_, line, becomes)| (line, becomes)));
    }

    /// Returns the first byte of each line that holds some of `count` descriptors.
    fn lines_of(&self, first: PhysAddr, count: usize) -> impl Iterator<Item = PhysAddr> + use<> {
        let size = self.caches.size;
        let last = slot(first, count.max(1) - 1).0 / size;
        (first.0 / size..=last).map(move |line| PhysAddr((line * size).max(first.0)))
    }

    /// M16 for descriptors stored by a CPU with the MMU on or off.
    pub(super) fn store_through(&mut self, cpu: usize, first: PhysAddr, count: usize) {
        if self.cpus[cpu].mmu && self.caches.is_idle() {
            return;
        }
        for at in self.lines_of(first, count) {
            if self.cpus[cpu].mmu { self.store_cached(cpu, at) } else { self.store_uncached(cpu, at) }
        }
    }

    /// M16 for a descriptor loaded by a CPU with the MMU on or off.
    pub(super) fn load_through(&mut self, cpu: usize, at: PhysAddr) {
        if !self.caches.is_idle() {
            if self.cpus[cpu].mmu { self.load_cached(cpu, at) } else { self.load_uncached(cpu, at) }
        }
    }

    /// Returns true when the walks of a CPU go around the cache. A TCR that was never written says nothing.
    fn walks_around(&self, cpu: usize, inner: u64) -> bool {
        let tcr = self.cpus[cpu].registers.tcr;
        tcr != 0 && tcr & inner == 0
    }

    /// Notes a write of TCR.
    pub(super) fn walks_change(&mut self, tcr: u64) {
        if tcr != 0 && (tcr & IRGN0 == 0 || tcr & IRGN1 == 0) {
            self.caches.watched = Watched::Yes;
        }
    }

    /// M16: a walk of `cpu` reads a slot.
    pub(super) fn walked(&mut self, cpu: usize, half: Half, at: PhysAddr) {
        if self.caches.is_idle() {
            return;
        }
        let around = match half {
            Half::Lower => self.walks_around(cpu, IRGN0),
            Half::Upper => self.walks_around(cpu, IRGN1),
        };
        if around { self.load_uncached(cpu, at) } else { self.load_cached(cpu, at) }
    }

    /// M16 for a table that walks of `cpu` may come to from now on.
    pub(super) fn check_walkable(&mut self, cpu: usize, half: Half, table: PhysAddr, entries: usize) {
        if self.caches.is_idle() {
            return;
        }
        let before = self.noted.total;
        for at in self.lines_of(table, entries) {
            self.walked(cpu, half, at);
            if self.noted.total > before {
                break;
            }
        }
    }

    /// M16 for every table that a CPU reaches: what it translates with has changed.
    pub(super) fn check_everything_walkable(&mut self, cpu: usize) {
        if self.caches.is_idle() || !self.cpus[cpu].mmu {
            return;
        }
        let mut reached = self.reached_by(cpu);
        reached.sort_unstable_by_key(|(table, _)| table.0);
        for (table, place) in reached {
            self.check_walkable(cpu, self.half_of(place.base), table, self.geometry.entries(place.level));
        }
    }
}

/// Data cache maintenance by address to the point of coherency.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Maintenance {
    /// DC CVAC: what is dirty is written back and stays.
    Clean,
    /// DC IVAC: the line is dropped, and what was dirty with it.
    Invalidate,
    /// DC CIVAC: what is dirty is written back, and the line is dropped.
    CleanInvalidate,
}
