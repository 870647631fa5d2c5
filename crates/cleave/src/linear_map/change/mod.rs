// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changes of a linear map that is in use: permissions, validity, and the sizes of leaves, range by range.
//!
//! A change reserves every frame first, and cannot fail after that. The CPUs decide how it is put into force: in place where
//! they allow it ([`in_place`]), else by new tables on the way to what changes ([`rewrite`]) and a rendezvous that exchanges
//! the root entries, as in a repaint.

mod difference;
mod in_place;
mod rewrite;
mod rule;
mod stale;

use core::fmt;

use self::difference::each_only_in;
use self::in_place::{BATCH, InPlaceChange};
use self::rewrite::{Counting, Kinds, Rewrite};
use self::rule::Rule;
use super::counts::MapCounts;
use super::exchange::{RootSpan, exchange};
use super::kernel::Kernel;
use super::lock::{Busy, MapLockGuard};
use super::map::LinearMap;
use super::pool::{OutOfMemory, Pool};
use super::repaint::{FrameCounts, stop};
use super::retire::foreign_table;
use crate::aarch64::BbmLevel;
use crate::atomics::Atomics;
use crate::rendezvous::{Host, Leader, Measured, Refused};
use crate::tables::{
    Cpu, Descriptor, FrameSource, Geometry, Level, PhysAddr, PhysRange, TableMemory, TableTree, clear_entries,
    copy_entries, slot,
};

pub use self::rule::Change;

/// The way in which a change was put into force.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Switch {
    /// No descriptor had to change.
    Nothing,
    /// By stores to live entries; no CPU stopped.
    InPlace,
    /// By an exchange of root entries while every CPU stood still.
    Stop,
}

/// A change that was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Changed {
    /// The way in which it was put into force.
    pub switch: Switch,
    /// The frames taken and returned.
    pub frame_counts: FrameCounts,
    /// The rendezvous, where there was one.
    pub measured: Option<Measured>,
}

/// The reason that a change was not made. Map and frames are as before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ChangeError {
    /// Another change is under way, or a CPU still fills tables of an earlier repaint.
    Busy,
    /// A range is empty, or does not begin and end at a page, or overlaps the one before it.
    BadRange(PhysRange),
    /// Memory from this address on is not in the linear map.
    NotMapped(PhysAddr),
    /// Permissions and validity of this part of the kernel image's alias do not change.
    KernelAlias(PhysRange),
    /// The kernel needs this range as it is: tables, stacks, free frames.
    InUse(PhysRange),
    /// The ranges are not the whole map, the only one for which the change is.
    NotWhole,
    /// The tables could not be reserved.
    OutOfFrames(OutOfMemory),
    /// The change takes tables, and the caller may take no frames here.
    WouldAllocate {
        /// The tables that it takes.
        needed: u64,
    },
    /// The frame allocator does not own this table of the map, so that it could not be given back.
    ForeignTable(PhysAddr),
    /// The CPUs must be stopped for it, and the caller has interrupts masked.
    WouldWait,
    /// Not every CPU came to the rendezvous, in any attempt.
    Unanswered {
        /// The CPUs that came to the last one, the leader included.
        arrived: u32,
        /// The CPUs that were to come.
        expected: u32,
    },
    /// A rendezvous holds fewer CPUs than there are.
    TooManyCpus,
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => Busy.fmt(f),
            Self::BadRange(range) => write!(f, "{range} is empty, not whole pages, or overlaps the range before it"),
            Self::NotMapped(address) => write!(f, "{address} is not in the linear map"),
            Self::KernelAlias(range) => write!(f, "{range} is the alias of the kernel's text and constants"),
            Self::InUse(range) => write!(f, "{range} is in use"),
            Self::NotWhole => f.write_str("the attribute is that of the whole map"),
            Self::OutOfFrames(missing) => missing.fmt(f),
            Self::WouldAllocate { needed } => write!(f, "{needed} tables are needed, and no frame may be taken here"),
            Self::ForeignTable(table) => write!(f, "table {table} is no frame of the allocator"),
            Self::WouldWait => f.write_str("every CPU must stop for it, and interrupts are masked here"),
            Self::Unanswered { arrived, expected } => {
                write!(f, "only {arrived} of {expected} CPUs came to the rendezvous")
            }
            Self::TooManyCpus => Refused::TooMany.fmt(f),
        }
    }
}

impl From<Refused> for ChangeError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Busy => Self::Busy,
            Refused::InterruptsMasked => Self::WouldWait,
            Refused::Deadline { arrived, expected, .. } => Self::Unanswered { arrived, expected },
            Refused::TooMany => Self::TooManyCpus,
        }
    }
}

/// The tables of a map: the two roots by one view, all others by another.
#[derive(Clone, Copy)]
struct Tables<M, R> {
    memory: M,
    roots: R,
    live: PhysAddr,
    replacement: PhysAddr,
    /// All but the offset in a root.
    mask: u64,
}

impl<M: TableMemory, R: TableMemory> TableMemory for Tables<M, R> {
    fn load(&self, slot: PhysAddr) -> Descriptor {
        if self.is_root(slot) { self.roots.load(slot) } else { self.memory.load(slot) }
    }
    fn store(&self, slot: PhysAddr, value: Descriptor) {
        if self.is_root(slot) {
            self.roots.store(slot, value);
        } else {
            self.memory.store(slot, value);
        }
    }
    // All of a run is in one table, which is a root or is none.
    fn store_run(&self, first: PhysAddr, value: Descriptor, stride: u64, count: usize) {
        if self.is_root(first) {
            self.roots.store_run(first, value, stride, count);
        } else {
            self.memory.store_run(first, value, stride, count);
        }
    }
    fn is_run(&self, first: PhysAddr, value: Descriptor, stride: u64, count: usize) -> bool {
        if self.is_root(first) {
            self.roots.is_run(first, value, stride, count)
        } else {
            self.memory.is_run(first, value, stride, count)
        }
    }
}

impl<M, R> Tables<M, R> {
    fn is_root(&self, slot: PhysAddr) -> bool {
        let table = PhysAddr(slot.0 & self.mask);
        table == self.live || table == self.replacement
    }
}

impl<A: Atomics> LinearMap<'_, A> {
    /// Makes `change` in `ranges` of memory, which are sorted and do not overlap, each whole pages within one region of the
    /// layout. Each range is a piece of its own: no leaf that the change touches reaches over the end of one, so that pages
    /// which are ranges of their own become leaves of their own. When it returns, no CPU uses an old translation of them. The
    /// caller holds the map's lock, and is the leader where every CPU must stop.
    ///
    /// # Errors
    /// [`ChangeError`]: nothing has changed then.
    ///
    /// # Panics
    /// When the lock is another map's.
    pub fn change<K: Kernel, H: Host>(
        &self,
        held: &mut MapLockGuard<'_, A>,
        kernel: &mut K,
        leader: &Leader<'_, H, A>,
        change: Change,
        ranges: &[PhysRange],
    ) -> Result<Changed, ChangeError> {
        assert!(held.is_of(&self.lock), "the lock of another map");
        // A CPU left behind in the middle of filling tables reads the live ones.
        if !self.fill.is_idle() {
            return Err(ChangeError::Busy);
        }
        let rule = Rule { layout: &self.layout, change, ranges, sizes_only: false };
        self.check_change(change, ranges)?;
        if let Some(&used) = ranges.iter().find(|&&range| change.is_edit() && kernel.is_in_use(range)) {
            return Err(ChangeError::InUse(used));
        }
        let geometry = self.layout.geometry();
        let mut changing = Changing {
            map: self,
            kernel,
            leader,
            rule,
            done: Changed { switch: Switch::Nothing, frame_counts: FrameCounts::default(), measured: None },
        };
        let tables = changing.tables(geometry);
        let live = changing.kernel.bbm_level() >= BbmLevel::Two;
        if live && change == Change::Collapse {
            // It takes no tables, so there is nothing to count.
            changing.in_place(&tables, Counting::default(), true)?;
            return Ok(changing.done);
        }
        let (needed, kinds) = changing.count(&tables);
        match (kinds.sizes, kinds.edits) {
            (false, false) => {}
            _ if change.is_of_whole_map() => changing.stop(&tables, needed)?,
            (false, true) => changing.in_place(&tables, needed, false)?,
            (true, _) if live => changing.in_place(&tables, needed, true)?,
            (true, _) => changing.stop(&tables, needed)?,
        }
        Ok(changing.done)
    }

    /// Checks `ranges` by the layout alone, as [`LinearMap::change`] does first.
    ///
    /// # Errors
    /// [`ChangeError::BadRange`], [`ChangeError::NotMapped`], [`ChangeError::KernelAlias`] and [`ChangeError::NotWhole`].
    pub fn check_change(&self, change: Change, ranges: &[PhysRange]) -> Result<(), ChangeError> {
        let page = self.layout.geometry().page_size();
        let mut end = PhysAddr(0);
        for &range in ranges {
            if range.is_empty() || range.start < end || !range.start.is_aligned(page) || !range.end.is_aligned(page) {
                return Err(ChangeError::BadRange(range));
            }
            end = range.end;
            if !self.layout.regions().iter().any(|region| region.contains_range(range)) {
                let region = self.layout.regions().iter().find(|region| region.contains(range.start));
                return Err(ChangeError::NotMapped(region.map_or(range.start, |region| region.end)));
            }
            if change.is_edit() && range.overlaps(self.layout.alias()) {
                return Err(ChangeError::KernelAlias(range.intersection(self.layout.alias())));
            }
        }
        if change.is_of_whole_map() && ranges != self.layout.regions() {
            return Err(ChangeError::NotWhole);
        }
        Ok(())
    }
}

/// A change under way.
struct Changing<'c, 'a, K, H, A: Atomics> {
    map: &'c LinearMap<'a, A>,
    kernel: &'c mut K,
    leader: &'c Leader<'c, H, A>,
    rule: Rule<'c>,
    done: Changed,
}

impl<K: Kernel, H: Host, A: Atomics> Changing<'_, '_, K, H, A> {
    fn tables(&self, geometry: Geometry) -> Tables<K::Memory, K::Roots> {
        let roots = self.map.roots;
        let bytes = (8 * geometry.entries(geometry.root_level()) as u64).next_power_of_two();
        Tables {
            memory: self.kernel.memory(),
            roots: self.kernel.roots(),
            live: roots.live,
            replacement: roots.replacement,
            mask: !(bytes - 1),
        }
    }

    /// Counts the tables that the change takes, and tells its kinds.
    fn count<V: TableMemory>(&self, view: &V) -> (Counting, Kinds) {
        let mut count = Rewrite {
            rule: self.rule,
            view,
            supply: Counting::default(),
            counts: MapCounts::default(),
            kinds: Kinds::default(),
        };
        count.roots(self.map.roots.live, None);
        (count.supply, count.kinds)
    }

    fn reserve(&mut self, needed: u64) -> Result<Pool, ChangeError> {
        self.done.frame_counts.needed = needed;
        if needed != 0 && !self.kernel.may_allocate() {
            return Err(ChangeError::WouldAllocate { needed });
        }
        let pool = self.kernel.reserve(needed).map_err(ChangeError::OutOfFrames)?;
        self.done.frame_counts.reserved = pool.frames();
        Ok(pool)
    }

    /// Makes the change by stores to live entries.
    fn in_place<V: TableMemory>(&mut self, view: &V, needed: Counting, sizes: bool) -> Result<(), ChangeError> {
        let Self { map, rule, .. } = *self;
        let (geometry, entries) = (map.layout.geometry(), map.layout.root_entries());
        if rule.change == Change::Collapse {
            let tree = TableTree { memory: view, geometry, root: map.roots.live };
            let find = |frames: &mut K::Frames| foreign_table(&tree, view, entries, frames);
            if let Some(table) = self.kernel.with_frames(find) {
                return Err(ChangeError::ForeignTable(table));
            }
        }
        let mut pool = self.reserve(needed.splits)?;
        let (cpu, tlbis) = (self.kernel.cpu(), (self.kernel.repeat(), self.kernel.has_range_tlbi()));
        let kernel = &mut *self.kernel;
        let mut returned = 0;
        let free = |view: &V, table: PhysAddr, level: Level| {
            // As an entry of the level above.
            let (above, entry) = (Level::ALL[level.number() - 1], Descriptor::table(table));
            kernel.with_frames(|frames| {
                each_only_in(view, geometry, above, (entry, Descriptor::EMPTY), &mut |table| {
                    frames.free(table);
                    returned += 1;
                });
            });
        };
        let counts = MapCounts::default();
        let rewrite = Rewrite { rule, view, supply: &mut pool, counts, kinds: Kinds::default() };
        let mut room;
        let retired = if rule.change == Change::Collapse {
            room = [(PhysAddr(0), Level::L3); BATCH];
            &mut room[..]
        } else {
            &mut []
        };
        let mut change = InPlaceChange::new(rewrite, &cpu, tlbis, retired, free);
        if change.run(map.roots.live, sizes) {
            change.rewrite.counts.changes.transactions = 1;
            map.counts.add(&change.rewrite.counts);
            self.done.switch = Switch::InPlace;
        }
        self.done.frame_counts.used = needed.splits;
        self.done.frame_counts.returned = returned;
        self.release(view, pool);
        Ok(())
    }

    /// Makes the change by an exchange of root entries.
    fn stop<V: TableMemory>(&mut self, view: &V, needed: Counting) -> Result<(), ChangeError> {
        if !self.leader.host.interrupts_enabled() {
            return Err(ChangeError::WouldWait);
        }
        let Self { map, rule, .. } = *self;
        let (roots, entries) = (map.roots, map.layout.root_entries());
        let total = needed.copies + needed.splits;
        let mut pool = self.reserve(total)?;
        let counts = MapCounts::default();
        let mut rewrite = Rewrite { rule, view, supply: &mut pool, counts, kinds: Kinds::default() };
        rewrite.roots(roots.live, Some(roots.replacement));
        let mut counts = rewrite.counts;
        let cpu = self.kernel.cpu();
        // The new tables are visible to walkers before the stop window links them.
        cpu.dsb_ishst();
        let root_view = core::hint::black_box(self.kernel.roots());
        copy_entries(&root_view, roots.live, roots.spare, entries.clone());
        let foreign = self.foreign(view);
        let committed = match foreign {
            Some(table) => Err(ChangeError::ForeignTable(table)),
            None => {
                let span = core::hint::black_box(RootSpan::of(&map.layout, roots.live, roots.replacement));
                let repeat = self.kernel.repeat();
                let attempts = &mut self.done.frame_counts.attempts;
                let stopped = stop(self.kernel, self.leader, attempts, |kernel, parked| {
                    let cpu = kernel.stopped(parked);
                    exchange(&root_view, &cpu, span, repeat, parked);
                });
                stopped.map_err(ChangeError::from)
            }
        };
        // The invalidation is complete: no walker and no TLB leads to the tables of the old tree that the new one lacks, nor,
        // where the exchange was called off, to those of the new one.
        let (gone, kept) =
            if committed.is_ok() { (roots.spare, roots.replacement) } else { (roots.replacement, roots.live) };
        let freed = self.free_difference(view, gone, kept);
        clear_entries(&root_view, roots.spare, entries.clone());
        clear_entries(&root_view, roots.replacement, entries);
        self.release(view, pool);
        self.done.measured = Some(committed?);
        counts.changes.transactions = 1;
        map.counts.add(&counts);
        self.done.switch = Switch::Stop;
        self.done.frame_counts.used = total;
        self.done.frame_counts.returned = freed;
        Ok(())
    }

    fn release<V: TableMemory>(&mut self, view: &V, pool: Pool) {
        self.done.frame_counts.surplus = pool.frames();
        if pool.frames() != 0 {
            self.kernel.with_frames(|frames| pool.release(view, frames));
        }
    }

    /// Frees each table below the root `only` that is not below `other`, and returns how many there were.
    fn free_difference<V: TableMemory>(&mut self, view: &V, only: PhysAddr, other: PhysAddr) -> u64 {
        let mut freed = 0;
        self.each_difference(view, only, other, |frames, table| {
            frames.free(table);
            freed += 1;
        });
        freed
    }

    /// Returns a table that the change takes out of the live map and that the allocator does not own, if there is one.
    fn foreign<V: TableMemory>(&mut self, view: &V) -> Option<PhysAddr> {
        let (mut foreign, roots) = (None, self.map.roots);
        self.each_difference(view, roots.live, roots.replacement, |frames, table| {
            if !frames.owns(table) {
                foreign = Some(table);
            }
        });
        foreign
    }

    /// Calls `each` for each table below the root `only` that is not below `other`.
    fn each_difference<V: TableMemory>(
        &mut self,
        view: &V,
        only: PhysAddr,
        other: PhysAddr,
        mut each: impl FnMut(&mut K::Frames, PhysAddr),
    ) {
        let (layout, roots) = (&self.map.layout, self.kernel.roots());
        let (geometry, level) = (layout.geometry(), layout.geometry().root_level());
        self.kernel.with_frames(|frames| {
            for entry in layout.root_entries() {
                let pair = (roots.load(slot(only, entry)), roots.load(slot(other, entry)));
                each_only_in(view, geometry, level, pair, &mut |table| each(frames, table));
            }
        });
    }
}
