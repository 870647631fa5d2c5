//! The data cache, as far as an MMU that is off matters: what is written around the cache, and read through it.

use std::collections::HashMap;

use super::rule::Text;
use super::{Rule, State};
use crate::paging::PhysAddr;

/// M16.
pub(super) const M16: Text = Text {
    name: "caches",
    sentence: "tables or data written with the MMU off and read cached, or the reverse, without the maintenance in between",
    source: "Arm ARM B2.10 Memory types and attributes: Mismatched memory attributes; D7.5 Cache support (a cache may hold \
             and evict lines from before); the arm64 Linux boot protocol (firmware leaves caches in any state)",
};

/// The size of a cache line here: the largest the architecture's minimum leaves in use.
const LINE: u64 = 64;

/// What may be where of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Line {
    /// Firmware, or an earlier user of the memory, may have left it dirty.
    #[default]
    Unknown,
    /// In no cache, or the same there as in memory.
    Clean,
    /// Newer in a cache than in memory.
    Dirty,
    /// Newer in memory than what a cache may hold: written with the MMU off, or around the cache.
    Around,
}

/// Lines and the maintenance that waits for its DSB.
#[derive(Debug, Default)]
pub(super) struct Caches {
    lines: HashMap<u64, Line>,
    waiting: Vec<(usize, u64, Line)>,
}

impl State {
    fn line(&self, at: PhysAddr) -> Line {
        self.caches.lines.get(&(at.0 / LINE)).copied().unwrap_or_default()
    }

    fn stale(&mut self, cpu: usize, at: PhysAddr, detail: &'static str) {
        let now = self.memory.get(at.align_down(8));
        self.violated(Rule::M16, cpu, None, at, now, now, detail);
    }

    /// A store with the MMU off.
    pub(super) fn store_uncached(&mut self, cpu: usize, at: PhysAddr) {
        if matches!(self.line(at), Line::Unknown | Line::Dirty) {
            self.stale(cpu, at, "written with the MMU off while a cache may hold a dirty line that can land on it");
        }
        self.caches.lines.insert(at.0 / LINE, Line::Around);
    }

    /// A load with the MMU off.
    pub(super) fn load_uncached(&mut self, cpu: usize, at: PhysAddr) {
        if self.line(at) == Line::Dirty {
            self.stale(cpu, at, "read with the MMU off while its writer's cache has it");
        }
    }

    /// A store through the cache.
    pub(super) fn store_cached(&mut self, at: PhysAddr) {
        self.caches.lines.insert(at.0 / LINE, Line::Dirty);
    }

    /// A load, or a table walk, through the cache.
    pub(super) fn load_cached(&mut self, cpu: usize, at: PhysAddr) {
        if self.line(at) == Line::Around {
            self.stale(cpu, at, "read through a cache that may hold what was there before it was written around it");
        }
    }

    /// DC CVAC, or with `Line::Clean` to come from an invalidation DC IVAC: takes effect with the CPU's next DSB.
    pub(super) fn maintain(&mut self, cpu: usize, at: PhysAddr, invalidate: Maintenance) {
        let becomes = match (invalidate, self.line(at)) {
            // Cleaning writes a dirty line back; it does not drop a stale clean one.
            (Maintenance::Clean, Line::Dirty | Line::Unknown) => Line::Clean,
            (Maintenance::Clean, line) => line,
            (Maintenance::Invalidate, _) => Line::Clean,
        };
        self.caches.waiting.push((cpu, at.0 / LINE, becomes));
    }

    pub(super) fn complete_maintenance(&mut self, cpu: usize) {
        let (mine, others) = self.caches.waiting.drain(..).partition(|&(issuer, ..)| issuer == cpu);
        let mine: Vec<_> = mine;
        self.caches.waiting = others;
        self.caches.lines.extend(mine.into_iter().map(|(_, line, becomes)| (line, becomes)));
    }

    /// M16 for one descriptor stored by a CPU with the MMU on or off.
    pub(super) fn store_through(&mut self, cpu: usize, at: PhysAddr) {
        if self.caches.lines.is_empty() && self.cpus[cpu].mmu {
            return;
        }
        if self.cpus[cpu].mmu { self.store_cached(at) } else { self.store_uncached(cpu, at) }
    }
}

/// Data cache maintenance by address to the point of coherency.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Maintenance {
    /// DC CVAC.
    Clean,
    /// DC IVAC.
    Invalidate,
}
