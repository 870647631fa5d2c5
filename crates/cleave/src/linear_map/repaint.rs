// SPDX-License-Identifier: MIT OR Apache-2.0
//! A repaint from the reservation to the old tables' return: the order of the steps, in one place for every kernel.
//!
//! Each step is a function of its own in this module and may be called by itself. Here they stand in the only order that is
//! sound, with the undoing of each when a later one fails. The trait [`Kernel`] has all that differs from kernel to kernel.

use core::fmt;
use core::hint::black_box;

use super::exchange::{InPlace, RootSpan, TemporaryMapping, exchange};
use super::fill::Share;
use super::kernel::{Kernel, Step};
use super::layout::Layout;
use super::lock::Busy;
use super::map::LinearMap;
use super::paint::{LargestLeaf, paint, tables_bound};
use super::pool::{OutOfMemory, Pool};
use super::replacement::UpperTables;
use super::retire::{foreign_table, free_tables};
use crate::atomics::Atomics;
use crate::rendezvous::{Host, Leader, Measured, Parked, Refused};
use crate::tables::{FrameSource, MapStats, PhysAddr, PhysRange, TableTree, TwoViews, clear_entries, copy_entries};

/// The number of rendezvous tried before the map stays as it is.
pub const ATTEMPTS: u32 = 3;

impl<A: Atomics> LinearMap<'_, A> {
    /// Splits the whole map while every CPU that `leader` stops stands still. The map's lock is held
    /// from the reservation until the old tables are back. Unless the outcome is [`Outcome::Done`], map and allocator are as
    /// before, but for the frames that a CPU left behind may still write to ([`FrameCounts::lost`]).
    pub fn repaint<K: Kernel, H: Host>(&self, kernel: &mut K, leader: &Leader<'_, H, A>, form: Form) -> Repainted {
        let mut repaint = Repaint { map: self, kernel, leader, stats: MapStats::default(), done: Repainted::default() };
        repaint.done.outcome = match self.lock.try_lock() {
            Ok(_held) => {
                let mut counts = self.counts.get();
                repaint.stats = counts.stats;
                let outcome = match form {
                    // A CPU left behind in the middle of filling tables reads the live ones, which this would give back.
                    Form::Ahead if !self.fill.is_idle() => Outcome::Busy,
                    Form::Ahead => repaint.ahead(),
                    Form::InWindow => repaint.in_window(),
                };
                if outcome == Outcome::Done {
                    counts.split_to_pages(self.layout.geometry());
                    self.counts.set(&counts);
                }
                outcome
            }
            Err(Busy) => Outcome::Busy,
        };
        repaint.done
    }
}

/// The time at which tables are filled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Form {
    /// Before the window, which then has a constant length.
    #[default]
    Ahead,
    /// Inside it, by the leader alone, in place: the classic form.
    InWindow,
}

/// The outcome of a repaint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Every leaf but the kernel alias is a page.
    Done,
    /// The tables could not be reserved; nothing has changed.
    OutOfMemory(OutOfMemory),
    /// The frame allocator does not own this table of the map, so that it could not be given back; nothing has changed.
    ForeignTable(PhysAddr),
    /// Not every CPU came, or one that had promised to fill tables did not; nothing has changed.
    Aborted,
    /// Another CPU is changing the map, or has not yet finished a table of an earlier repaint; nothing has changed.
    Busy,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => write!(f, "every leaf but the kernel alias is a page"),
            Self::OutOfMemory(missing) => missing.fmt(f),
            Self::ForeignTable(table) => write!(f, "table {table} is no frame of the allocator"),
            Self::Aborted => write!(f, "not every CPU came to the rendezvous"),
            Self::Busy => write!(f, "the map is being changed already"),
        }
    }
}

/// The frames taken and returned.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct FrameCounts {
    /// Frames the counts ask for.
    pub needed: u64,
    /// Frames reserved.
    pub reserved: u64,
    /// Frames that became tables of the new map.
    pub used: u64,
    /// Frames reserved, neither used nor needed after all: a defect of the counts unless it is 0.
    pub surplus: u64,
    /// Old tables given back.
    pub returned: u64,
    /// Frames that must never be allocated again: a CPU that stopped may still write to them.
    pub lost: u64,
    /// Rendezvous tried.
    pub attempts: u32,
}

impl FrameCounts {
    /// Returns how many frames fewer the allocator has than before; a negative number when it has more, as after a collapse.
    #[must_use]
    pub const fn kept(&self) -> i64 {
        (self.used + self.lost) as i64 - self.returned as i64
    }
}

/// The result of a repaint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Repainted {
    /// The outcome.
    pub outcome: Outcome,
    /// The frames taken and returned.
    pub frame_counts: FrameCounts,
    /// The rendezvous in which the map was changed.
    pub measured: Option<Measured>,
}

impl Default for Repainted {
    fn default() -> Self {
        Self { outcome: Outcome::Busy, frame_counts: FrameCounts::default(), measured: None }
    }
}

/// A repaint under way.
struct Repaint<'r, 'a, K, H, A: Atomics> {
    map: &'r LinearMap<'a, A>,
    kernel: &'r mut K,
    leader: &'r Leader<'r, H, A>,
    stats: MapStats,
    done: Repainted,
}

impl<K: Kernel, H: Host, A: Atomics> Repaint<'_, '_, K, H, A> {
    /// Builds a complete replacement before the stop window, and exchanges root entries in it.
    fn ahead(&mut self) -> Outcome {
        let LinearMap { layout, roots, .. } = self.map;
        let (geometry, entries) = (layout.geometry(), layout.root_entries());
        let needed = self.stats.tables_to_split(geometry) + self.stats.tables;
        let root_view = black_box(self.kernel.roots());
        let mut tree = TableTree { memory: self.kernel.memory(), geometry, root: roots.live };
        let find = |frames: &mut K::Frames| foreign_table(&tree, &root_view, entries.clone(), frames);
        if let Some(table) = self.kernel.with_frames(find) {
            return Outcome::ForeignTable(table);
        }
        let mut pool = match self.reserve(needed) {
            Ok(pool) => pool,
            Err(missing) => return Outcome::OutOfMemory(missing),
        };
        let (map, cpus) = (self.map, self.leader.online.count());
        let (built, complete) = self.kernel.timed(Step::Fill, |kernel| {
            let built = UpperTables::build(&map.replacement(kernel.memory(), &root_view), &mut pool);
            let complete = fill(kernel, map, cpus, &built);
            (built, complete)
        });
        self.done.frame_counts.surplus = pool.frames();
        self.kernel.with_frames(|frames| pool.release(&tree.memory, frames));
        if !complete {
            // A CPU that claimed tables and did not finish them may still write to them, so they cannot be given back.
            self.done.frame_counts.lost = built.tables;
            clear_entries(&root_view, roots.replacement, entries);
            return Outcome::Aborted;
        }
        // The live root's entries, for giving the old tables back.
        copy_entries(&root_view, roots.live, roots.spare, entries.clone());
        // Worked out in front of the stop window, which is counted in instructions: the compiler must not move it in there.
        let span = black_box(RootSpan::of(layout, roots.live, roots.replacement));
        let repeat = self.kernel.repeat();
        let committed = self.stop(|kernel, parked| {
            let cpu = kernel.stopped(parked);
            exchange(&root_view, &cpu, span, repeat, parked);
        });
        // Outside the stop window again: the tables no walker reaches any more. After an abort those are the replacement's.
        tree.root = if committed { roots.spare } else { roots.replacement };
        let freed = self.kernel.with_frames(|frames| free_tables(&tree, &root_view, entries.clone(), frames));
        clear_entries(&root_view, roots.spare, entries.clone());
        clear_entries(&root_view, roots.replacement, entries);
        if !committed {
            return Outcome::Aborted;
        }
        self.done.frame_counts.used = built.tables;
        self.done.frame_counts.returned = freed;
        Outcome::Done
    }

    /// Splits the broken map on the leader while every CPU stands still, through a temporary mapping that is painted for it.
    fn in_window(&mut self) -> Outcome {
        let LinearMap { layout, roots, .. } = self.map;
        let geometry = layout.geometry();
        let mut pool = match self.reserve(self.stats.tables_to_split(geometry)) {
            Ok(pool) => pool,
            Err(missing) => return Outcome::OutOfMemory(missing),
        };
        let root_view = self.kernel.roots();
        let tree = TableTree { memory: self.kernel.memory(), geometry, root: roots.spare };
        let plan = layout.temporary_mapping();
        let painted = paint_temporary(self.kernel, &plan, roots.spare);
        let (mut committed, mut used) = (false, 0);
        if painted.is_ok() {
            let temporary = TemporaryMapping { view: self.kernel.temporary(), root: roots.spare, empty: roots.empty };
            let (repeat, pool) = (self.kernel.repeat(), &mut pool);
            committed = self.stop(|kernel, parked| {
                let cpu = kernel.stopped(parked);
                used = kernel.timed(Step::Fill, |_| {
                    let split = InPlace {
                        layout,
                        roots: &root_view,
                        live: roots.live,
                        save: roots.replacement,
                        temporary: &temporary,
                    };
                    split.run(&cpu, pool, repeat, parked)
                });
            });
            self.done.frame_counts.used = used;
        }
        if committed {
            self.done.frame_counts.surplus = pool.frames();
        }
        self.kernel.with_frames(|frames| {
            pool.release(&tree.memory, frames);
            // No TTBR0 names the temporary mapping any more, and nothing of it is cached: or it was never used.
            free_tables(&tree, &root_view, plan.root_entries(), frames);
        });
        clear_entries(&root_view, roots.spare, plan.root_entries());
        clear_entries(&root_view, roots.replacement, layout.root_entries());
        match painted {
            Err(missing) => Outcome::OutOfMemory(missing),
            Ok(()) if committed => Outcome::Done,
            Ok(()) => Outcome::Aborted,
        }
    }

    fn reserve(&mut self, needed: u64) -> Result<Pool, OutOfMemory> {
        self.done.frame_counts.needed = needed;
        let pool = self.kernel.timed(Step::Reserve, |kernel| kernel.reserve(needed));
        self.done.frame_counts.reserved = pool.as_ref().map_or(0, Pool::frames);
        pool
    }

    /// As [`stop`].
    #[inline(always)]
    fn stop(&mut self, commit: impl FnMut(&mut K, &Parked<'_>)) -> bool {
        self.done.measured = stop(self.kernel, self.leader, &mut self.done.frame_counts.attempts, commit).ok();
        self.done.measured.is_some()
    }
}

/// Stops every CPU for `commit`; tries again when one did not come in time, and counts `attempts`. Returns the rendezvous in
/// which it was done.
///
/// # Errors
/// The reason that the last rendezvous did not take place.
#[inline(always)]
pub(super) fn stop<K: Kernel, H: Host, A: Atomics>(
    kernel: &mut K,
    leader: &Leader<'_, H, A>,
    attempts: &mut u32,
    mut commit: impl FnMut(&mut K, &Parked<'_>),
) -> Result<Measured, Refused> {
    loop {
        *attempts += 1;
        let deadline = kernel.before_stop(*attempts);
        match leader.stop(deadline, |parked| commit(kernel, parked)) {
            Ok(((), measured)) => return Ok(measured),
            Err(refused) => {
                kernel.refused(*attempts, &refused);
                if *attempts == ATTEMPTS {
                    return Err(refused);
                }
            }
        }
    }
}

/// Fills the replacement's page tables with every CPU at hand. Returns false when a CPU has claimed tables and does not finish
/// them.
fn fill<K: Kernel, A: Atomics>(kernel: &mut K, map: &LinearMap<'_, A>, cpus: u32, built: &UpperTables) -> bool {
    kernel.before_fill(built);
    map.fill.open(&map.layout, &kernel.cpu(), cpus.into());
    kernel.call_for_help();
    kernel.work(map, Share::Fair);
    kernel.wait_until(|| !map.fill.is_open());
    // The chunks that no other CPU has claimed.
    kernel.work(map, Share::Everything);
    kernel.wait_until(|| map.fill.is_complete());
    // Acquires the stores of the fillers, each of whom ended with DSB ISHST: walkers see them before the commit's stores.
    let complete = map.fill.is_complete();
    map.fill.close();
    complete
}

/// Paints the temporary mapping. Its tables are no part of the repaint's account: they come and go.
fn paint_temporary<K: Kernel>(kernel: &mut K, plan: &Layout<'_>, root: PhysAddr) -> Result<(), OutOfMemory> {
    let root_bytes = 8 * plan.geometry().entries(plan.geometry().root_level()) as u64;
    let range = PhysRange::new(root, root.offset(root_bytes));
    let memory = TwoViews { range, near: kernel.roots(), far: kernel.memory() };
    let cpu = kernel.cpu();
    kernel.with_frames(|frames| {
        let needed = tables_bound(plan, LargestLeaf::Block);
        let missing = OutOfMemory { needed, available: frames.available() };
        if missing.available < needed {
            return Err(missing);
        }
        let painted = paint(plan, LargestLeaf::Block, &memory, &cpu, frames, root);
        painted.map(|_stats| ()).map_err(|_| missing)
    })
}
