// SPDX-License-Identifier: MIT OR Apache-2.0
//! Concurrent filling of the replacement's page tables by the leader and every CPU that is free.

use core::sync::atomic::Ordering;

use super::layout::Layout;
use super::successor::{Successor, successor};
use crate::atomics::{Atomic, Atomics, Native};
use crate::tables::{Cpu, Descriptor, Kind, Level, PhysAddr, TableMemory, slot};

/// The number of page tables that one claim covers.
const TABLES_PER_CHUNK: u64 = 8;

/// The filling of a replacement's page tables, shared by every CPU.
///
/// CPUs claim chunks one after the other. Each stops at its share, so that no CPU does most of the work because the
/// others were slow to begin; the leader goes on alone when they do not come. Filling is idempotent until the commit.
pub struct Fill<A: Atomics = Native> {
    open: A::Bool,
    chunks: A::U64,
    share: A::U64,
    /// The filling in bits 63:32, so that a CPU that stalled in an earlier one counts for nothing in this; chunks
    /// claimed in bits 31:0.
    next: A::U64,
    /// The filling likewise; chunks filled.
    done: A::U64,
}

/// Returns the number of chunks in a word of [`Fill`].
const fn count(word: u64) -> u64 {
    word & 0xffff_ffff
}

/// Returns the number of the filling in a word of [`Fill`], in place.
const fn filling(word: u64) -> u64 {
    word & !0xffff_ffff
}

/// The most chunks that a CPU takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Share {
    /// Its part of an even division, and two fifths more.
    Fair,
    /// All that is left.
    Everything,
}

crate::atomics::constructors! {
    /// Returns a filling that has nothing to fill.
    Fill<A> = Self {
        open: <A as Atomics>::Bool::new(false),
        chunks: <A as Atomics>::U64::new(0),
        share: <A as Atomics>::U64::new(0),
        next: <A as Atomics>::U64::new(0),
        done: <A as Atomics>::U64::new(0),
    }
}

impl<A: Atomics> Fill<A> {
    /// Opens the filling of the replacement of `layout` to `cpus` CPUs. The upper was built by this CPU.
    pub fn open<C: Cpu>(&self, layout: &Layout<'_>, cpu: &C, cpus: u64) {
        let chunks: u64 = chunk_spans(layout).map(|(_, chunks)| chunks).sum();
        self.chunks.store(chunks, Ordering::Relaxed);
        // With even shares no CPU is idle only if all are equally fast. Two fifths more let the fast CPUs help, and
        // still keep any of four CPUs below 40 % of the tables.
        self.share.store((chunks * 7 / (cpus * 5)).max(chunks.div_ceil(cpus)), Ordering::Relaxed);
        let filling = filling(self.next.load(Ordering::Relaxed)).wrapping_add(1 << 32);
        self.done.store(filling, Ordering::Relaxed);
        // The upper is plain data to the other fillers: the releases below hand it over, the first to a CPU that
        // looked at `open` in an earlier filling. It is also table memory that a walker will see one day: this CPU's
        // DSB makes its stores visible to walkers.
        cpu.dsb_ishst();
        self.next.store(filling, Ordering::Release);
        self.open.store(true, Ordering::Release);
    }

    /// Returns true when there is work to claim.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
            && count(self.next.load(Ordering::Relaxed)) < self.chunks.load(Ordering::Relaxed)
    }

    /// Returns true when every chunk is filled. The fillers' stores are then visible to the caller.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        count(self.done.load(Ordering::Acquire)) == self.chunks.load(Ordering::Relaxed)
    }

    /// Returns true when no CPU is in the middle of filling tables: every claimed chunk is done. For a filling that is
    /// closed, of which the leader has claimed all the chunks that the others left, so that no CPU can claim another.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        // Acquire: the fillers' reads and stores come before all that the caller does next.
        self.done.load(Ordering::Acquire) == self.next.load(Ordering::Relaxed)
    }

    /// Returns true when a CPU that has claimed `mine` chunks may claim more under [`Share::Fair`].
    #[must_use]
    pub fn share_left(&self, mine: u64) -> bool {
        mine < self.share.load(Ordering::Relaxed)
    }

    /// Closes the filling: CPUs that look from now on find no work.
    pub fn close(&self) {
        self.open.store(false, Ordering::Release);
    }

    /// Claims and fills chunks until none is left or `share` is used up, and returns how many tables it filled.
    /// `mine` counts the caller's chunks in this filling so far.
    pub fn work<M: TableMemory, R: TableMemory, C: Cpu>(
        &self,
        map: &ReplacementMap<'_, M, R>,
        cpu: &C,
        share: Share,
        mine: &mut u64,
    ) -> u64 {
        let mut tables = 0;
        while self.open.load(Ordering::Acquire) {
            if share == Share::Fair && !self.share_left(*mine) {
                break;
            }
            let Some(claimed) = self.claim() else { break };
            tables += map.fill_chunk(count(claimed));
            *mine += 1;
            // This CPU's stores are visible to walkers before it says so; the leader's acquire of `done` then puts
            // them before the store that links the replacement.
            cpu.dsb_ishst();
            let step = |done: u64| (filling(done) == filling(claimed)).then_some(done + 1);
            let _ = self.done.fetch_update(Ordering::Release, Ordering::Relaxed, step);
        }
        tables
    }

    /// Claims the next free chunk, and returns it with the number of its filling. Never counts beyond the last chunk: a
    /// late claim must not disturb the next filling.
    fn claim(&self) -> Option<u64> {
        // Acquire: with the word of a filling comes what was stored before it was opened, the number of chunks first.
        let step = |next: u64| (count(next) < self.chunks.load(Ordering::Relaxed)).then_some(next + 1);
        self.next.fetch_update(Ordering::Acquire, Ordering::Acquire, step).ok()
    }
}

/// Returns the first chunk and the number of chunks of each region, in order. A chunk belongs to the first region that
/// touches it.
fn chunk_spans(layout: &Layout<'_>) -> impl Iterator<Item = (u64, u64)> {
    let size = layout.geometry().size(Level::L2) * TABLES_PER_CHUNK;
    layout.regions().iter().scan(0, move |next, region| {
        let first = (region.start.0 / size).max(*next);
        let end = region.end.0.div_ceil(size);
        *next = end.max(first);
        Some((first, end.saturating_sub(first)))
    })
}

/// A live map and its replacement, and how to reach them.
#[derive(Debug)]
pub struct ReplacementMap<'a, M, R> {
    /// The plan of both.
    pub layout: &'a Layout<'a>,
    /// Reaches every table below the roots.
    pub memory: M,
    /// Reaches the roots.
    pub roots: R,
    /// The live root.
    pub live: PhysAddr,
    /// The root of the replacement.
    pub replacement: PhysAddr,
}

impl<M: TableMemory, R: TableMemory> ReplacementMap<'_, M, R> {
    /// Fills the page tables of one chunk and returns how many there were.
    fn fill_chunk(&self, chunk: u64) -> u64 {
        let geometry = self.layout.geometry();
        let mut ordinal = chunk;
        let Some(first) = chunk_spans(self.layout).find_map(|(first, chunks)| {
            let here = ordinal < chunks;
            let found = here.then_some(first + ordinal);
            if !here {
                ordinal -= chunks;
            }
            found
        }) else {
            return 0;
        };
        let size = geometry.size(Level::L2);
        let start = first * TABLES_PER_CHUNK * size;
        // A chunk never straddles two tables of level 2: both are powers of two.
        let Found::Table(replacement) = self.level2(self.replacement, start) else { return 0 };
        let live = self.level2(self.live, start);
        let (page, pages) = (geometry.page_size(), geometry.entries(Level::L3));
        let index = geometry.index(self.layout.address(PhysAddr(start)), Level::L2);
        let mut tables = 0;
        let mut indices = index..index + TABLES_PER_CHUNK as usize;
        // Where the root is of level 2 a chunk may reach into root entries that are not the plan's.
        if geometry.root_level() == Level::L2 {
            let ours = self.layout.root_entries();
            indices = indices.start.max(ours.start)..indices.end.min(ours.end);
        }
        for index in indices {
            let old = match live {
                Found::Table(table) => self.load(table, index),
                Found::Leaf(block) => Descriptor(block.split_child(Level::L2).0 + index as u64 * size),
                Found::Nothing => return tables,
            };
            if !matches!(successor(self.layout, old, Level::L2), Successor::Split(_)) {
                continue;
            }
            // Linked by the upper, for this very leaf.
            let new = self.load(replacement, index);
            if let Kind::Table(table) = new.kind(geometry, Level::L2) {
                self.memory.store_run(table, old.split_child(Level::L3), page, pages);
                tables += 1;
            }
        }
        tables
    }

    /// Loads entry `index` of a table: a root is reached by a view of its own.
    fn load(&self, table: PhysAddr, index: usize) -> Descriptor {
        let at = slot(table, index);
        if table == self.live || table == self.replacement { self.roots.load(at) } else { self.memory.load(at) }
    }

    /// Finds the table of level 2 on the way to `physical`, or the block of level 1 that maps it.
    fn level2(&self, root: PhysAddr, physical: u64) -> Found {
        let geometry = self.layout.geometry();
        let address = self.layout.address(PhysAddr(physical));
        let mut table = root;
        let mut level = geometry.root_level();
        while level != Level::L2 {
            let entry = self.load(table, geometry.index(address, level));
            match (entry.kind(geometry, level), level.next()) {
                (Kind::Table(below), Some(next)) => {
                    table = below;
                    level = next;
                }
                (Kind::Leaf(_) | Kind::InvalidLeaf(_), _) => return Found::Leaf(entry),
                _ => return Found::Nothing,
            }
        }
        Found::Table(table)
    }
}

/// The place where the way to an address ends.
#[derive(Clone, Copy)]
enum Found {
    Table(PhysAddr),
    Leaf(Descriptor),
    Nothing,
}
